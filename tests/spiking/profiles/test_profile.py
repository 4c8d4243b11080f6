"""Profiles: what the table says, and files of one's own."""

from pathlib import Path

import pytest

from clnf.core.errors import ClnfError, ConfigError, DeviceLimitError
from clnf.devices.materials import material, materials
from clnf.spiking.profiles import memristive, profile, profiles, read_profile
from clnf.spiking.profiles.keys import KEYS

MINE = """
title = "a chip of mine"
weight_bits = { value = 6, source = "my own wafer" }
potential_bits = { value = 12, source = "my own wafer" }
resets = { value = ["zero"], source = "my own wafer" }
cores = { value = [[64, 32, 8]], source = "my own wafer" }
[gaps]
fan_in = "not measured yet"
"""


@pytest.mark.parametrize("name", [one for one in profiles() if one != "memristive"])
def test_every_value_has_a_source_or_is_a_gap(name: str) -> None:
    found = profile(name)
    assert found.title
    assert all(source.strip() for source in found.sources.values())
    assert all(why.strip() for why in found.gaps.values())
    assert not found.sources.keys() & found.gaps.keys()
    limits = {"fan_in", "fan_out", "inputs", "neurons", "output_neurons", "mismatch", "trace_bits"}
    assert limits <= found.sources.keys() | found.gaps.keys()
    for key in found.gaps:
        assert getattr(found, key) == KEYS_LEFT.get(key), key


# Keys whose gap has a way to count by nevertheless, which the page of the chips tells.
KEYS_LEFT: dict[str, object] = {
    "current_overflow": "saturate", "potential_overflow": "saturate", "decay_rounding": "down",
    "spikes_per_step": 1,
}  # fmt: skip


def test_values_of_the_reference() -> None:
    loihi, xylo, speck = profile("loihi"), profile("xylo"), profile("speck")
    assert (loihi.weight_bits, loihi.current_bits, loihi.potential_bits) == (8, 24, 24)
    assert (loihi.decay_bits, loihi.trace_bits, loihi.trace_fraction_bits) == (12, 7, 8)
    assert (xylo.weight_bits, xylo.potential_bits, xylo.decay) == (8, 16, "shift")
    assert (xylo.neurons, xylo.output_neurons, xylo.spikes_per_step) == (1000, 8, 31)
    assert speck.cores is not None
    assert [core[:2] for core in speck.cores[::3]] == [
        (16384, 65536),
        (32768, 32768),
        (65536, 16384),
    ]
    assert (speck.kernel_max, speck.features, speck.strides) == (16, 1024, (1, 2, 4, 8))


def test_a_material_gives_levels_and_errors_and_says_what_it_lacks() -> None:
    found = memristive(material("cmo_hfox"))
    assert found.weight_levels == 32
    assert found.write_error is not None
    assert 0 < found.write_error < 0.1
    assert "weight_levels" not in found.gaps
    assert profile("memristive:taox_cmos").inputs == 256
    assert "write_error" in profile("memristive:taox_cmos").gaps
    without = next(name for name in materials() if "states" not in material(name).values)
    with pytest.raises(DeviceLimitError, match="states"):
        profile(f"memristive:{without}")
    supplied = memristive(material(without).supply(states=16))
    assert supplied.top_weight == 15


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    found = profile(str(path))
    assert found == read_profile(path)
    assert (found.name, found.top_weight, found.cores) == ("mine", 31, ((64, 32, 8),))
    assert found.sources["weight_bits"] == "my own wafer"


WRONG = [
    ("title = 'x'\n", "neither weight_bits nor weight_levels"),
    ("weight_bits = { value = 6, source = 'x' }\n", "no title"),
    (MINE.replace("weight_bits", "weigth_bits"), "no key of a profile is called 'weigth_bits'"),
    (MINE.replace("value = 6", "value = 60"), "weight_bits must be a whole number from 2 to 32"),
    (MINE.replace("value = 6", "value = true"), "weight_bits must be a whole number"),
    (MINE.replace('"zero"', '"none"'), "resets is one of zero, subtract, got 'none'"),
    (MINE.replace('["zero"]', '"zero"'), "resets is a list"),
    (MINE.replace("[64, 32, 8]", "[64, 32]"), "cores is a list of 3"),
    (MINE.replace(', source = "my own wafer" }\npot', " }\npot"), "must be { value"),
    (MINE.replace('6, source = "my own wafer"', '6, source = " "'), "has no source"),
    (MINE.replace("fan_in =", "weight_bits ="), "the gap 'weight_bits' of 'mine' has a value"),
    (MINE.replace("fan_in =", "fanin ="), "is no key"),
    (MINE.replace('"not measured yet"', "3"), "gaps of 'mine'"),
    (MINE + "[", "not valid TOML"),
    (MINE.replace("[gaps]", "decay = 3\n[gaps]"), "decay of 'mine' must be"),
    (
        MINE.replace(
            "[gaps]",
            "decay = { value = 'shift', source = 'x' }\n"
            "decay_rounding = { value = 'stochastic', source = 'x' }\n[gaps]",
        ),
        "not rounded at random",
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[one[1][:30] for one in WRONG])
def test_a_file_with_a_fault_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_profile(path)


@pytest.mark.parametrize("name", ["loihi3", "memristive", "none.toml", "memristive:none", 3])
def test_no_such_chip(name: str) -> None:
    with pytest.raises(ClnfError):
        profile(name)


def test_keys_have_meanings() -> None:
    assert all(key.means for key in KEYS.values())
