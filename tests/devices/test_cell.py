"""A cell as a whole: weight and conductance, the price of a pulse, and what it lacks."""

import subprocess
import sys

import pytest
import torch

from clnf import devices
from clnf.core.errors import DeviceLimitError
from clnf.devices import pulse_reference, pulses
from clnf.devices.cell import Cell, Pulse, Unknown, Window, known
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.materials import material, materials
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.response import cell_traits

ALL = {
    "window", "response", "pulse", "programming", "noise", "drift", "retention", "endurance",
    "temperature",
}  # fmt: skip
# What each row has laws for; everything else is left out, with a sentence.
HAS = {
    "gst_pcm": {"window", "programming", "noise", "drift", "retention", "endurance"},
    "pcm_hermes": {"window", "programming", "noise", "drift"},
    "pcm_hermes_pair": {"window", "programming", "noise", "drift"},
    "gst_pcm_training": {"response"},
    "hfo2_array": {"response"},
    "hfo2_array_optimised": {"response"},
    "hfo2_single": {"response"},
    "hfox_generic": {"endurance"},
    "hfo2_1t1r": {"window", "programming"},
    "reram_130nm": {"window", "programming", "noise", "drift"},
    "cmo_hfox": {"window", "programming", "noise", "drift"},
    "taox_cmos": {"endurance"},
    "ag_si": {"window", "pulse"},
    "ecram_li": {"response"},
    "ecram_metal_oxide": {"response"},
    "ecram_wo3": {"endurance"},
    "ecram_ysz": {"pulse"},
    "fefet_hzo": {"retention", "endurance"},
    "fefet_28nm": {"pulse"},
    "fefet_simulator": {"window", "pulse"},
    "hzo_wox": {"retention", "endurance"},
    "hzo_synapse": set(),
    "mos2_wafer": {"retention", "endurance"},
    "mos2_few_layer": {"retention", "endurance"},
    "sonos_40nm": set(),
    "capacitor_3t1c": {"response"},
}
WINDOWS = {
    "gst_pcm": (0.0, 25e-6), "pcm_hermes": (0.0, 10.35e-6), "pcm_hermes_pair": (0.0, 20.7e-6),
    "hfo2_1t1r": (50e-6, 225e-6), "reram_130nm": (0.0, 40e-6), "cmo_hfox": (10e-6, 100e-6),
    "ag_si": (3.08e-9, 38.5e-9), "fefet_simulator": (1 / 240e5, 1 / 240e3),
}  # fmt: skip


def test_every_row_has_these_laws_and_leaves_out_the_rest() -> None:
    assert set(HAS) == set(materials())
    for name in materials():
        assert set(cell(name).left_out) == ALL - HAS[name], name
        for sentence in cell(name).left_out.values():
            assert name in sentence
            assert sentence.count("\n") == 0


@pytest.mark.parametrize("part", sorted(ALL))
def test_a_part_that_is_unknown_is_an_error_that_names_the_value(part: str) -> None:
    one = cell("hzo_synapse")
    value = {
        "window": "conductance_max_s", "response": "slope_up", "pulse": "write_voltage_v",
        "programming": "programming_noise_g", "noise": "read_noise_scale", "drift": "law of drift",
        "retention": "retention_s", "endurance": "endurance_cycles",
        "temperature": "conductance_temperature_coefficient",
    }[part]  # fmt: skip
    with pytest.raises(DeviceLimitError, match=value):
        one.need(getattr(one, part))


def test_supplying_what_is_named_in_turn_leads_to_a_part() -> None:
    """Nobody is sent in circles: each error names a key, and with them all the part is there."""
    row, own = material("fefet_28nm"), {
        "conductance_max_s": 1e-5, "slope_up": 0.5, "slope_down": 0.5, "step": 0.01,
        "read_noise_scale": 0.01, "programming_noise_g": (1e-7,), "retention_s": 1e6,
        "endurance_cycles": 1e6, "conductance_temperature_coefficient": 1e-3,
    }  # fmt: skip
    for _ in range(len(own) + 1):
        lacking = {k: v for k, v in cell(row).left_out.items() if k != "drift"}
        if not lacking:
            break
        (key,) = (k for k in own if f"{k!r}" in next(iter(lacking.values())))
        row = row.supply(**{key: own[key]})
    assert set(cell(row).left_out) == {"drift"}


@pytest.mark.parametrize("name", WINDOWS)
def test_weight_and_conductance_are_inverse(name: str) -> None:
    one, (low_s, high_s) = cell(name), WINDOWS[name]
    w = torch.linspace(-1, 1, 101)
    g = one.conductance_s(w)
    assert g[[0, -1]].tolist() == pytest.approx([low_s, high_s], rel=1e-5, abs=1e-12)
    assert float(g[50]) == pytest.approx((low_s + high_s) / 2, rel=1e-5)
    assert torch.allclose(one.weight(g), w, atol=2e-6)
    assert torch.equal(w, torch.linspace(-1, 1, 101))
    assert not torch.allclose(one.weight(1.01 * g), w, atol=2e-6)


def test_weights_of_other_bounds_and_below_zero() -> None:
    one = cell(material("ecram_li").supply(conductance_max_s=1e-5, conductance_min_s=2e-6))
    ends = torch.tensor(one.bounds)
    assert ends.tolist() == pytest.approx([-0.8276, 1.1724])
    assert one.conductance_s(ends).tolist() == pytest.approx([2e-6, 1e-5], rel=1e-5)
    assert torch.allclose(one.weight(one.conductance_s(ends)), ends, atol=1e-6)
    below = torch.tensor([-3.0])
    assert float(one.conductance_s(below)) == 0.0
    with pytest.raises(DeviceLimitError, match="conductance_max_s"):
        cell("ecram_li").conductance_s(ends)


def charged(one: Cell, w: float, n: int) -> int:
    """Attojoules that the kernel charges for one train of pulses."""
    response = one.need(one.response)
    table = cell_traits(response, 1, 0)
    state = Cells(torch.tensor([w]), torch.tensor([w]), torch.zeros(1, dtype=torch.int32))
    job = PulseJob(torch.tensor([n], dtype=torch.int16), torch.ones(1), 0)
    args = job, state, one.law(), table, hash_key(0, "test", words=6)
    energy = run(pulses.pulse_cells, pulse_reference.pulse_cells, args)[1]
    assert isinstance(energy, int)
    return energy


@pytest.mark.parametrize("w", [-1.0, -0.25, 0.0, 1.0])
def test_a_pulse_costs_v_squared_g_t(w: float) -> None:
    # Ag:a-Si: 3.2 V up, -2.8 V down, 300 us, 3.08 to 38.5 nS; steps are ours.
    one = cell(material("ag_si").supply(step=0.02, slope_up=0.5, slope_down=0.5))
    conductance_s = 3.08e-9 + (w + 1) / 2 * (38.5e-9 - 3.08e-9)
    up, down = (volt**2 * conductance_s * 300e-6 * 1e18 for volt in (3.2, 2.8))
    assert charged(one, w, 1) == pytest.approx(up, rel=1e-6)
    assert charged(one, w, -1) == pytest.approx(down, rel=1e-6)
    assert charged(one, w, 7) == pytest.approx(7 * up, rel=1e-6)
    assert charged(one, w, 1) != pytest.approx(1.01 * up, rel=1e-6)


def test_a_pulse_costs_the_same_whatever_the_bounds_are_called() -> None:
    own = {"conductance_max_s": 1e-5, "conductance_min_s": 2e-6, "write_voltage_v": 2.0,
           "write_time_s": 1e-6}  # fmt: skip
    for name, low, high in (("ecram_li", -0.8276, 1.1724), ("gst_pcm_training", 0.0, 2.0)):
        one = cell(material(name).supply(**own))
        for share in (0.0, 0.3, 1.0):
            w = low + share * (high - low)
            aj = 4.0 * (2e-6 + share * 8e-6) * 1e-6 * 1e18
            assert charged(one, w, 1) == pytest.approx(aj, rel=1e-5)
            assert charged(one, w, -1) == pytest.approx(aj, rel=1e-5)


def test_unknown_pulses_cost_nothing_and_say_so() -> None:
    one = cell("hfo2_array")
    assert charged(one, 0.5, 3) == 0
    assert {"pulse", "window"} <= set(one.left_out)


def test_the_window_comes_from_the_ratio_where_only_that_is_known() -> None:
    one = cell("fefet_simulator")
    window = one.need(one.window)
    assert window.high_s / window.low_s == pytest.approx(100)
    assert cell(material("hfo2_array").supply(conductance_max_s=1e-5)).window == Window(
        low_s=0.0, high_s=1e-5
    )
    with pytest.raises(DeviceLimitError, match="0 <= Gmin < Gmax"):
        Window(low_s=1e-5, high_s=1e-5)
    with pytest.raises(DeviceLimitError, match="must be below conductance_max_s"):
        material("hfo2_array").supply(conductance_max_s=1e-6, conductance_min_s=1e-5)


def test_the_pulse_down_is_that_up_where_only_one_is_known() -> None:
    assert cell("fefet_28nm").pulse == Pulse(up_v=4.0, down_v=-4.0, width_s=1e-6)
    assert cell("ecram_ysz").pulse == Pulse(up_v=5.0, down_v=-5.0, width_s=0.15)
    assert cell("ag_si").pulse == Pulse(up_v=3.2, down_v=-2.8, width_s=300e-6)


@pytest.mark.parametrize(("more", "loaded"), [("", False), ("devices.Cell", True)])
def test_the_package_has_cells_and_stays_free_of_torch(more: str, loaded: bool) -> None:
    code = f"import sys\nfrom clnf import devices\n{more}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(loaded)
    assert devices.Cell is Cell
    assert "Cell" in dir(devices)
    with pytest.raises(AttributeError, match="no attribute 'Cells'"):
        devices.Cells  # noqa: B018


def test_known_keeps_only_the_sentences_of_missing_values() -> None:
    def missing() -> int:
        raise DeviceLimitError("no value")

    def broken() -> int:
        raise ZeroDivisionError

    assert known(lambda: 3) == 3
    assert known(missing) == Unknown("no value")
    with pytest.raises(ZeroDivisionError):
        known(broken)
