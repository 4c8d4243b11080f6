"""Figures of merit are those that pencil and paper give, and absent where a part is."""

import math

import pytest

from clnf.devices import figures
from clnf.devices.materials import Material, material

BOLTZMANN_EV_K = 8.617333262e-5
EV_J = 1.602176634e-19


def bare(family: str = "reram", **values: float | tuple[float, ...]) -> Material:
    return Material(name="mine", title="My cell", values={}, family=family).supply(**values)


def test_states_are_taken_as_published() -> None:
    figure = figures.states(material("taox_cmos"), 32)
    assert (figure.value, figure.limit) == (2048, "")
    assert "Rao" in figure.source


def test_more_than_is_enough_below_it_and_derived_above() -> None:
    below, above = (figures.states(material("cmo_hfox"), asked) for asked in (32, 33))
    assert (below.value, below.limit) == (32, "at_least")
    # The published "more than 32" and the noise of the 2 % window agree.
    assert above.limit == ""
    assert 32 < (above.value or 0) < 36


def test_a_derivation_below_the_published_bound_does_not_replace_it() -> None:
    row = material("cmo_hfox").supply(programming_noise_s=(10e-6,))
    assert figures.states(row, 1000).limit == "at_least"
    assert figures.states(row, 1000).value == 32


def test_states_of_a_pulsed_cell_are_mean_steps() -> None:
    figure = figures.states(material("capacitor_3t1c"), 1)
    assert figure.value == pytest.approx(400)
    assert "no count of pulses" in figure.how


def test_write_noise_takes_states_away() -> None:
    # 1481 steps, and 6 x 75 of them between two levels.
    assert figures.states(material("hfo2_single"), 1).value == 1 + 1481 // 450
    quiet = material("hfo2_single").supply(write_noise=0.0)
    assert figures.states(quiet, 1).value == pytest.approx(2 / 0.00135)


def test_levels_with_equal_noise_are_six_sigma_apart() -> None:
    assert figures.levels(lambda level: 0.5, 0.0, 30.0) == 11
    assert figures.levels(lambda level: 0.5, 0.0, 29.9) == 10


def test_levels_with_relative_noise_are_a_geometric_row() -> None:
    s = 0.01
    ratio = (1 + 3 * s) / (1 - 3 * s)
    exact = 1 + math.floor(math.log(10) / math.log(ratio))
    assert abs(figures.levels(lambda level: s * level, 1.0, 10.0) - exact) <= 1
    assert figures.levels(lambda level: 2 * s * level, 1.0, 10.0) < exact - 10


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("gst_pcm", 5, 8), ("hfo2_1t1r", 8, 11), ("reram_130nm", 3, 5), ("sonos_40nm", 28, 40)],
)
def test_programmed_cells_have_as_many_levels_as_noise_lets_them(
    name: str, least: int, most: int
) -> None:
    row = material(name)
    assert least <= (figures.states(row, 1).value or 0) <= most
    key = next(key for key in row.values if key.startswith("programming_noise"))
    louder = row.supply(**{key: tuple(3 * c for c in row.get(key).coefficients)})
    if "saturating" not in key:  # there, three times the current it saturates at is quieter
        assert (figures.states(louder, 1).value or 0) < least


def test_noise_that_is_too_small_to_count_with_gives_a_bound() -> None:
    row = bare(programming_noise_g=(1e-12,), conductance_min_s=1e-6, conductance_max_s=1e-4)
    assert figures.states(row, 1).limit == "at_least"
    row = row.supply(programming_noise_g=(1e-6,))
    assert figures.states(row, 1).limit == ""
    assert figures.states(row, 1).value == 17  # 99 µS in steps of 6


def test_a_cell_of_which_nothing_is_published_has_no_states() -> None:
    figure = figures.states(bare(), 2)
    assert (figure.value, figure.missing) == (None, ("states",))
    # Noise without a window does not help.
    assert figures.states(bare(programming_noise_g=(1e-6,)), 2).value is None


def test_on_off_from_the_window_where_it_is_not_published() -> None:
    assert figures.on_off(material("gst_pcm")).value == 100
    assert figures.on_off(material("cmo_hfox")).value == pytest.approx(10)
    assert figures.on_off(material("pcm_hermes")).missing == ("on_off",)
    assert figures.on_off(bare(conductance_min_s=0.0, conductance_max_s=1.0)).value is None


def test_write_energy_is_v2_g_t_in_the_middle_of_the_window() -> None:
    figure = figures.write_energy(material("ag_si"))
    assert figure.value == pytest.approx(3.2**2 * 20.79e-9 * 300e-6)
    assert figure.limit == ""
    row = material("ag_si").supply(write_energy_j=1e-12)
    assert figures.write_energy(row).value == 1e-12


def test_a_bound_on_the_voltage_is_a_bound_on_the_energy() -> None:
    row = material("cmo_hfox").supply(write_time_s=1e-6)
    figure = figures.write_energy(row)
    assert (figure.value, figure.limit) == (pytest.approx(1.5**2 * 55e-6 * 1e-6), "at_most")
    assert figure.missing == ("write_energy_j",)


def test_write_energy_names_each_part_it_lacks() -> None:
    assert figures.write_energy(material("cmo_hfox")).missing == ("write_time_s",)
    assert figures.write_energy(material("gst_pcm")).missing == ("write_voltage_v",)
    assert figures.write_energy(material("reram_130nm")).missing == (
        "conductance_min_s", "write_voltage_v", "write_time_s",
    )  # fmt: skip


def test_a_gated_cell_has_no_v2_g_t() -> None:
    row = material("fefet_simulator")  # window, voltage and time are all there
    assert figures.write_energy(row).missing == ("write_energy_j",)
    assert figures.write_energy(row).value is None


def test_the_larger_pulse_counts() -> None:
    assert figures.write_voltage(material("ag_si")).value == 3.2
    assert figures.write_voltage(bare(write_voltage_v=1.0, write_voltage_down_v=-2.0)).value == 2
    assert figures.write_voltage(bare(write_voltage_down_v=-2.0)).value is None


def test_endurance_holds_for_the_states_it_was_tested_with() -> None:
    row = material("hfox_generic")
    assert figures.endurance(row, None).value == figures.endurance(row, 4).value == 1e6
    assert figures.endurance(row, 5).missing == ("endurance_cycles",)
    assert figures.endurance(material("ecram_wo3"), 300).value == 1e7


def test_retention_holds_at_its_temperature_and_below() -> None:
    row, hot = material("fefet_hzo"), 358.15
    ten_years = row.get("retention_s").number
    for cooler in (None, 300.0, hot):
        assert figures.retention(row, cooler).value == ten_years
    assert figures.retention(row, hot + 1).missing == ("retention_activation",)


def test_with_an_activation_energy_retention_is_carried_over() -> None:
    row = material("fefet_hzo").supply(retention_activation=1.2 * EV_J)
    ten_years = row.get("retention_s").number
    hotter = figures.retention(row, 398.15).value
    factor = math.exp(1.2 / BOLTZMANN_EV_K * (1 / 398.15 - 1 / 358.15))
    assert hotter == pytest.approx(ten_years * factor, rel=1e-6)
    assert (figures.retention(row, 300.0).value or 0) > ten_years > (hotter or 0)
    assert math.isfinite(figures.retention(row, 1.0).value or math.inf)


def test_retention_without_its_temperature_is_unknown_at_any() -> None:
    row = material("mos2_wafer")
    assert figures.retention(row, None).value == 1e6
    assert figures.retention(row, 300.0).missing == ("retention_temperature_k",)
    both = ("retention_s", "retention_temperature_k")
    assert figures.retention(material("ag_si"), 300.0).missing == both
    assert figures.retention(material("ag_si"), None).missing == ("retention_s",)
