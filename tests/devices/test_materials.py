"""The catalogue says where each value comes from, and says so when it has none."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clnf import devices
from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.devices.keys import KEYS
from clnf.devices.materials import (
    FAMILIES,
    SUPPLIED,
    lookup,
    material,
    materials,
    read_catalogue,
)

ROWS = {
    "gst_pcm", "pcm_hermes", "pcm_hermes_pair", "gst_pcm_training", "hfo2_array",
    "hfo2_array_optimised", "hfo2_single", "hfox_generic", "hfo2_1t1r", "reram_130nm", "cmo_hfox",
    "taox_cmos", "ag_si", "ecram_li", "ecram_metal_oxide", "ecram_wo3", "ecram_ysz", "fefet_hzo",
    "fefet_28nm", "fefet_simulator", "hzo_wox", "hzo_synapse", "mos2_wafer", "mos2_few_layer",
    "sonos_40nm", "capacitor_3t1c",
}  # fmt: skip


def test_every_row_of_the_literature_list_is_there_and_every_family_has_one() -> None:
    assert set(materials()) == ROWS
    # Nobody published what a user will fit.
    assert {material(name).family for name in materials()} == set(FAMILIES) - {"fitted"}


def test_every_value_names_unit_and_source() -> None:
    for name in materials():
        row = material(name)
        assert row.title
        for key, value in row.values.items():
            assert value.unit == KEYS[key].unit
            assert len(value.source) > 8
            assert value.material == name


def test_gaps_are_told_and_each_is_an_error_that_names_what_to_supply() -> None:
    always = {"retention_activation", "conductance_temperature_coefficient", "write_energy_j"}
    for name in materials():
        row = material(name)
        left = always - {"retention_activation"} if row.family == "capacitor" else always
        assert left <= set(row.missing)
        for key in row.missing:
            both = rf"'{key}'.*--supply {name}\.{key}=VALUE .*\.supply\({key}=VALUE\) in Python"
            with pytest.raises(DeviceLimitError, match=both):
                row.get(key)
        for key in ("endurance_cycles", "retention_s", "write_time_s", "write_voltage_v"):
            assert (key in row.values) != (key in row.missing), (name, key)


def test_published_values_are_what_the_papers_say() -> None:
    assert material("hfo2_array_optimised").get("step").number == 0.0949
    assert material("hfo2_array").get("cycle_spread").number == 0.2174
    assert material("gst_pcm").get("programming_noise_s").coefficients == pytest.approx(
        (0.26348e-6, 1.9650e-6, -1.1731e-6)
    )


# Laws as the papers print them, in µS, at a conductance in µS.
IN_MICROSIEMENS: list[tuple[str, str, Callable[[float], float]]] = [
    ("gst_pcm", "programming_noise_g", lambda g: -0.00178767 * g * g + 0.0758572 * g + 0.286386),
    ("hfo2_1t1r", "programming_noise_g", lambda g: 4.782 - 0.0091 * g),
    (
        "reram_130nm", "programming_noise_g",
        lambda g: 1.536e-4 * g**3 - 0.01167 * g * g + 0.2374 * g + 1.053,
    ),
    ("cmo_hfox", "programming_noise_g", lambda g: 0.0112185 + 0.0112903 * g),
    ("cmo_hfox", "programming_noise_g_tight", lambda g: 0.00081107 + 0.00106879 * g),
]  # fmt: skip


def in_microsiemens(coefficients: tuple[float, ...], level: float) -> float:
    return 1e6 * math.fsum(c * (level * 1e-6) ** power for power, c in enumerate(coefficients))


@pytest.mark.parametrize(("name", "key", "law"), IN_MICROSIEMENS)
def test_converted_laws_give_what_the_paper_gives(
    name: str, key: str, law: Callable[[float], float]
) -> None:
    coefficients = material(name).get(key).coefficients
    for level in (0.0, 1.0, 7.3, 40.0):
        assert in_microsiemens(coefficients, level) == pytest.approx(law(level), rel=1e-12)
    # A power converted by the wrong factor is seen.
    wrong = (*coefficients[:-1], coefficients[-1] * 1e3)
    assert in_microsiemens(wrong, 7.3) != pytest.approx(law(7.3), rel=1e-3)


def test_one_law_written_in_g_and_in_siemens_is_one_law() -> None:
    row = material("cmo_hfox")
    top = row.get("conductance_max_s").number
    relative = row.get("programming_noise_s").coefficients
    absolute = row.get("programming_noise_g").coefficients
    assert relative == pytest.approx([c * top**power for power, c in enumerate(absolute)])


def test_pieces_of_the_hermes_laws_meet_where_one_takes_over() -> None:
    """The fits were made piece by piece: a typing error would tear them apart."""

    def gap(name: str, what: str, log: str, shift: float = 0.0) -> float:
        row = material(name)
        slope, offset, low, high = row.get(log).coefficients
        at = row.get(f"{what}_from").number
        below = min(max(slope * math.log(at) + offset, low), high)
        poly = row.get(f"{what}_polynomial").coefficients
        above = shift + sum(c * at**power for power, c in enumerate(poly))
        return abs(above - below) / below

    for name in ("pcm_hermes", "pcm_hermes_pair"):
        for what, log in (
            ("drift_mean", "drift_mean"),
            ("drift_spread", "drift_spread"),
            ("read_noise", "read_noise_log"),
        ):
            assert gap(name, what, log) < 0.03, (name, what)
            assert gap(name, what, log, shift=0.01) > 0.03


@pytest.mark.parametrize(
    ("name", "steps"),
    [("gst_pcm_training", 200), ("hfo2_array", 4.3), ("hfo2_array_optimised", 21),
     ("hfo2_single", 1480), ("ecram_li", 1000), ("ecram_metal_oxide", 7100),
     ("capacitor_3t1c", 400)],
)  # fmt: skip
def test_range_over_step_is_the_published_number_of_steps(name: str, steps: float) -> None:
    row = material(name)
    low, high = row.values["weight_range"].coefficients if "weight_range" in row.values else (-1, 1)
    assert (high - low) / row.get("step").number == pytest.approx(steps, rel=0.01)


@pytest.mark.parametrize("name", ["hfo2_array", "hfo2_array_optimised", "hfo2_single"])
def test_a_gap_stays_a_gap(name: str) -> None:
    with pytest.raises(DeviceLimitError, match="'endurance_cycles'"):
        material(name).get("endurance_cycles")


def test_a_borrowed_value_says_from_whom() -> None:
    assert lookup("endurance_cycles", "hfo2_array", "hfox_generic").material == "hfox_generic"
    assert lookup("endurance_cycles", "gst_pcm", "hfox_generic").material == "gst_pcm"


def test_a_supplied_value_fills_a_gap_and_says_whose_it_is() -> None:
    before = material("hfo2_array")
    after = before.supply(endurance_cycles=2e6, programming_noise_g=(1e-6, 0.01), step=0.5)
    assert after.get("endurance_cycles").number == 2e6
    assert after.get("endurance_cycles").source == after.get("step").source == SUPPLIED
    assert after.get("programming_noise_g").coefficients == (1e-6, 0.01)
    assert after.get("programming_noise_g").unit == "S"
    assert "endurance_cycles" not in after.missing
    # The catalogue itself and every other value stay as they were.
    assert material("hfo2_array") == before
    assert "endurance_cycles" in before.missing
    assert before.get("step").number == 0.4622
    assert after.get("cycle_spread") == before.get("cycle_spread")


def test_a_wrong_value_is_not_taken() -> None:
    row = material("hfo2_array")
    with pytest.raises(ConfigError, match="'endurence_cycles'; did you mean endurance_cycles"):
        row.supply(endurence_cycles=1e6)
    with pytest.raises(DeviceLimitError, match="endurance_cycles must be positive, got -1"):
        row.supply(endurance_cycles=-1.0)
    with pytest.raises(ConfigError, match="one number"):
        row.supply(step=(0.1, 0.2))
    for wrong in ("a", None, True, 1j):
        with pytest.raises(ConfigError, match=f"step must be a number, got {wrong!r}"):
            row.supply(step=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="weight_range must be a number, got 'b'"):
        row.supply(weight_range=(0.0, "b"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"step must be a number, got array.*take its float"):
        row.supply(step=np.array(0.1))  # type: ignore[arg-type]


def test_a_window_has_its_ends_in_order() -> None:
    row = material("gst_pcm")
    for ends in (
        {"conductance_min_s": 1e-4},
        {"conductance_min_s": 2e-6, "conductance_max_s": 1e-6},
        {"conductance_min_s": 1e-6, "conductance_max_s": 1e-6},
    ):
        with pytest.raises(DeviceLimitError, match="of gst_pcm must be below conductance_max_s"):
            row.supply(**ends)
    own = row.supply(conductance_min_s=1e-4, conductance_max_s=1e-3)  # the control
    assert own.get("conductance_min_s").number == 1e-4


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="one of gst_pcm"):
        material("unobtainium")
    for wrong in (None, 3, b"gst_pcm"):
        with pytest.raises(ConfigError, match=f"goes by its name or file, got {wrong!r}; give"):
            material(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"cannot be read as a material .No such file"):
        material("none.toml")
    with pytest.raises(ConfigError, match="a catalogue must be a text, got None"):
        read_catalogue(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'step' is looked up in no material"):
        lookup("step")


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("title = 3", "has title 3; write a text"),
        ('title = "x"\nfacts = 3', "has facts 3; write a list"),
        ('title = "x"\nfacts = [3]', "has a fact 3; give text and source"),
        ('title = "x"\nmissing = [["x"]]', r"misses \['x'\], which is no key"),
        ('title = "x"\nstep = { value = true, unit = "1", source = "a" }', "a number, got True"),
        ('title = "x"\nstep = { value = 1, unit = "1", source = 4 }', "step has no source"),
        (
            'title = "x"\nstep = { value = 1, unit = "1", source = "a", interval = ["b"] }',
            "the interval of step must be a number, got 'b'",
        ),
        (
            'title = "x"\nconductance_min_s = { value = 2, unit = "S", source = "a" }\n'
            'conductance_max_s = { value = 1, unit = "S", source = "a" }',
            "must be below conductance_max_s, got 2 and 1 S",
        ),
    ],
)
def test_rows_of_a_wrong_kind_are_named(items: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_catalogue(f'[mine]\nfamily = "pcm"\n{items}\n')
    with pytest.raises(DeviceLimitError, match="coefficients"):
        _ = material("gst_pcm").get("programming_noise_s").number


def test_a_file_of_ones_own_is_a_material(tmp_path: Path) -> None:
    mine, head = tmp_path / "mine.toml", '[mine]\ntitle = "Mine"\nfamily = "fitted"\n'
    step = '{ value = 0.1, unit = "1", source = "my wafer", interval = [0.09, 0.11] }'
    text = f'{head}law = "linear"\nstep_up = {step}\n'
    mine.write_text(text)
    row = material(mine)
    assert (row.name, row.get("step_up").interval) == ("mine", (0.09, 0.11))
    assert material(str(mine)) == row
    mine.write_text(text + text.replace("[mine]", "[other]"))
    with pytest.raises(ConfigError, match="holds 2 materials"):
        material(mine)
    with pytest.raises(ConfigError, match="cannot be read as a material"):
        material(tmp_path / "none.toml")
    mine.write_text(f'{head}law = "cubic"\n')
    with pytest.raises(ConfigError, match="has law 'cubic'; take one of linear"):
        material(mine)


def test_the_package_gives_the_catalogue() -> None:
    assert devices.material is material
    assert devices.lookup is lookup
    assert callable(devices.select)
    assert devices.select(devices.Need(states=2))
    assert all(getattr(devices, name) is not None for name in devices.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        _ = devices.fits


GOOD = """
[mine]
title = "My cell"
family = "reram"
states = { value = 8, unit = "1", source = "my own wafer", note = "one die", limit = "at_least" }
conductance_max_s = { value = 1e-6, unit = "S", source = "my own wafer" }
facts = [{ text = "grown at home", source = "my own wafer" }]
missing = ["endurance_cycles"]
"""


def test_a_catalogue_of_ones_own_is_read() -> None:
    row = read_catalogue(GOOD)["mine"]
    assert row.get("states").limit == "at_least"
    assert row.get("states").note == "one die"
    assert row.facts[0].text == "grown at home"
    assert row.missing == ("endurance_cycles",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[mine]", "[mine", "not valid TOML"),
        ('title = "My cell"', 'title = ""', "mine has no title"),
        ('"reram"', '"rram"', "family 'rram'; take one of soft_bounds"),
        ('unit = "S"', 'unit = "uS"', "mine.conductance_max_s is in 'uS'; this key is in 'S'"),
        ('"S", source = "my own wafer"', '"S", source = " "', "conductance_max_s has no source"),
        (', unit = "S", source = "my own wafer"', ', unit = "S"', "give value, unit and source"),
        ("conductance_max_s =", "conductance_maximum_s =", "did you mean conductance_max_s"),
        ("value = 1e-6", "value = -1e-6", "mine: conductance_max_s must be positive"),
        ("value = 8", "value = [8, 9]", "mine: states is one number"),
        ('"at_least"', '"about"', "limit 'about'"),
        ("note =", "remark =", "has remark; only note, limit"),
        ('["endurance_cycles"]', '["endurance"]', "misses 'endurance', which is no key"),
        ('["endurance_cycles"]', '["states"]', "misses 'states' and has it"),
        (', source = "my own wafer" }]', " }]", "give text and source"),
    ],
)
def test_a_fault_in_the_file_is_found(old: str, new: str, words: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(ConfigError, match=words):
        read_catalogue(GOOD.replace(old, new))


def polynomial(coefficients: tuple[float, ...], x: float) -> float:
    return sum(c * x**power for power, c in enumerate(coefficients))


def test_the_i_v_fit_is_nearly_straight_where_it_is_sure() -> None:
    """Its cubic and square coefficients nearly cancel there: a typing error would show."""
    row = material("hfo2_1t1r")
    low, high = row.get("iv_range_s").coefficients
    second, third = (row.get(f"iv_{power}").coefficients for power in ("second", "third"))

    def bend(level: float, second: tuple[float, ...]) -> float:
        volts, log = row.get("iv_range_v").coefficients[1], math.log10(level)
        extra = polynomial(second, log) * volts**2 + polynomial(third, log) * volts**3
        return abs(extra) / (level * volts)

    for level in (low, (low + high) / 2, high):
        assert bend(level, second) < 0.25
        assert bend(level, (*second[:1], second[1] * 1.01, *second[2:])) > 0.25


def test_relaxation_begins_at_the_programming_noise_and_grows() -> None:
    row = material("reram_130nm")
    top = row.get("conductance_max_s").number
    for g in (0.1, 0.3, 0.5, 0.7):
        second, day, two_days = (
            polynomial(row.get(f"relaxation_spread_{when}_s").coefficients, g)
            for when in ("1s", "1d", "2d")
        )
        # Two fits of the same measurement a second after programming.
        noise = polynomial(row.get("programming_noise_g").coefficients, g * top)
        assert second == pytest.approx(noise, rel=0.35)
        assert second < 0.8 * day
        assert two_days == pytest.approx(day, rel=0.15)
