"""Each word of the catalogue has a unit and a form, and values of another form are refused."""

import re

import pytest

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.devices.keys import KEYS, checked, known_key
from clnf.devices.materials import material, materials

SUFFIX = {
    "S": ("_s", "_g", "_g_tight", "_log10"), "s": ("_s",), "V": ("_v",), "K": ("_k",),
    "J": ("_j", "_activation"), "A": ("_a", "_saturating"), "C/m^2": ("_c_m2",),
}  # fmt: skip


def test_keys_say_their_unit_and_mean_something() -> None:
    for name, key in KEYS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert key.meaning
        if key.unit in SUFFIX:
            assert name.endswith(SUFFIX[key.unit]), name


def test_every_key_is_used_or_missed_somewhere() -> None:
    rows = [material(name) for name in materials()]
    used = {key for row in rows for key in (*row.values, *row.missing)}
    # What only cells fitted to one's own measurements have, and the length of a batch.
    assert set(KEYS) - used == {
        "exponential_gamma_up", "exponential_gamma_down", "power_up", "power_down", "step_up",
        "step_down", "batch_s",
    }  # fmt: skip


def test_a_near_miss_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean .*endurance_cycles"):
        known_key("endurance_cycle")
    with pytest.raises(ConfigError, match=r"no catalogue key 'qqq'; see clnf"):
        known_key("qqq")


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        ("endurance_cycles", 3, 3.0),
        ("dead_fraction", 0.0, 0.0),
        ("programming_noise_s", [1, 2, 3], (1.0, 2.0, 3.0)),
        ("weight_range", (0, 2), (0.0, 2.0)),
        ("up_down_bias", -0.5, -0.5),
    ],
)
def test_values_become_floats(key: str, value: object, result: object) -> None:
    found = checked(key, value)  # type: ignore[arg-type]
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("endurance_cycles", 0.0, DeviceLimitError, "must be positive, got 0"),
        ("endurance_cycles", float("nan"), DeviceLimitError, "must be positive"),
        ("endurance_cycles", float("inf"), DeviceLimitError, "must be positive"),
        ("step_spread", -0.1, DeviceLimitError, "must be at least 0"),
        ("dead_fraction", 1.5, DeviceLimitError, "must be from 0 to 1"),
        ("up_down_bias", float("nan"), DeviceLimitError, "must be finite"),
        ("programming_noise_s", (1.0, float("inf")), DeviceLimitError, "must be finite"),
        ("weight_range", (2.0, 0.0), DeviceLimitError, "must rise"),
        ("weight_range", (0.0, 1.0, 2.0), ConfigError, "two numbers, got"),
        ("drift_mean", (0.0, 1.0, 2.0), ConfigError, "four numbers, got"),
        ("programming_noise_s", (), ConfigError, "a list of numbers"),
        ("programming_noise_s", 1e-6, ConfigError, "is a list of numbers, got 1e-06"),
        ("endurance_cycles", (1.0, 2.0), ConfigError, "is one number"),
    ],
)
def test_another_form_is_refused(key: str, value: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        checked(key, value)  # type: ignore[arg-type]
