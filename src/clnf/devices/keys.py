"""The words of the materials catalogue: each key with its unit, its form and what it means.

Everything that enters a catalogue row, from the file or from a user, is checked against this table.
"""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.inputs import number, shown

__all__ = ["KEYS", "Key", "checked", "known_key"]


@final
@dataclass(frozen=True, kw_only=True)
class Key:
    """One word of the catalogue.

    Attributes:
        unit: SI symbol, ``"1"`` for a pure number.
        form: ``any`` number, ``positive``, ``at least 0``, ``share`` in [0, 1], a ``pair``,
            ``four`` or a ``list`` of numbers.
        meaning: a few words for people.
    """

    unit: str
    form: str
    meaning: str


def _keys(rows: str) -> dict[str, Key]:
    parts = [[part.strip() for part in line.split("|")] for line in rows.strip().splitlines()]
    return {name: Key(unit=unit, form=form, meaning=text) for name, unit, form, text in parts}


KEYS = _keys("""
conductance_min_s           | S     | at least 0 | lower end of the conductance window
conductance_max_s           | S     | positive   | upper end of the conductance window
on_off                      | 1     | positive   | largest over smallest conductance
symmetry_point_s            | S     | pair       | where steps up and down are alike
current_max_a               | A     | positive   | largest read current
polarisation_c_m2           | C/m^2 | positive   | remanent polarisation
array_size                  | 1     | pair       | rows and columns of the array measured
states                      | 1     | positive   | states told apart
states_up                   | 1     | positive   | states on the way up
states_down                 | 1     | positive   | states on the way down
weight_range                | 1     | pair       | lower and upper mean bound; -1 and 1 where absent
step                        | 1     | positive   | mean step in units of the weight range
step_up                     | 1     | positive   | mean step up, where it differs from down
step_down                   | 1     | positive   | mean step down
power_up                    | 1     | positive   | gamma of the power law, up
power_down                  | 1     | positive   | gamma of the power law, down
batch_s                     | s     | positive   | time a batch of training takes
step_spread                 | 1     | at least 0 | step, device to device
bound_max_spread            | 1     | at least 0 | upper bound, device to device
bound_min_spread            | 1     | at least 0 | lower bound, device to device
up_down_bias                | 1     | any        | share steps down are smaller by; up, if below 0
up_down_spread              | 1     | at least 0 | that difference, device to device
cycle_spread                | 1     | at least 0 | step, cycle to cycle, in mean steps
cycle_spread_range          | 1     | at least 0 | step, cycle to cycle, as share of the range
write_noise                 | 1     | at least 0 | spread of the visible weight, in mean steps
dead_fraction               | 1     | share      | share of cells that never move
slope_up                    | 1     | any        | gamma of the linear law, up
slope_down                  | 1     | any        | gamma of the linear law, down
slope_up_spread             | 1     | at least 0 | that gamma, device to device, up
slope_down_spread           | 1     | at least 0 | that gamma, device to device, down
exponential_gamma           | 1     | positive   | gamma of the exponential law
exponential_gamma_up        | 1     | positive   | gamma of the exponential law, up
exponential_gamma_down      | 1     | positive   | gamma of the exponential law, down
exponential_up              | 1     | any        | A of the exponential law, up
exponential_down            | 1     | any        | A of the exponential law, down
exponential_a               | 1     | any        | a of the exponential law
exponential_b               | 1     | any        | b of the exponential law
nonlinearity_up             | 1     | any        | label of nonlinearity, up
nonlinearity_down           | 1     | any        | label of nonlinearity, down
programming_noise_s         | S     | list       | sigma after programming, polynomial in g
programming_noise_g         | S     | list       | sigma after programming, polynomial in G
programming_noise_g_tight   | S     | list       | the same in the tighter acceptance window
programming_spread_tight_s  | S     | positive   | sigma in the tighter window, one figure
programming_noise_saturating| A     | pair       | A and B of A (1 - exp(-I / B)) after programming
relaxation_spread_1s_s      | S     | list       | sigma 1 s after programming, polynomial in g
relaxation_spread_1d_s      | S     | list       | sigma 1 day after programming, polynomial in g
relaxation_spread_2d_s      | S     | list       | sigma 2 days after programming, polynomial in g
drift_mean                  | 1     | four       | mean exponent: slope in ln g, offset, limits
drift_mean_from             | 1     | share      | g from which the polynomial holds
drift_mean_polynomial       | 1     | list       | mean drift exponent, polynomial in g
drift_spread                | 1     | four       | spread of the exponent: slope, offset, limits
drift_spread_from           | 1     | share      | g from which the polynomial holds
drift_spread_polynomial     | 1     | list       | spread of the exponent, polynomial in g
drift_reference_s           | s     | positive   | age at which drift begins to count
drift_log_mean_s            | S     | any        | change of the mean per ln t
drift_log_spread_s          | S     | list       | spread: slope per ln t, offset
read_noise_scale            | 1     | at least 0 | read noise over conductance, at g = 1
read_noise_exponent         | 1     | any        | power of 1/g in the read noise
read_noise_cap              | 1     | positive   | largest read noise over conductance
read_noise_log              | 1     | four       | read noise: slope in ln g, offset, limits
read_noise_from             | 1     | share      | g from which the polynomial holds
read_noise_polynomial       | 1     | list       | read noise, polynomial in g
read_noise_log10            | S     | positive   | K of K log10(G / 1 µS)
read_noise_saturating       | A     | pair       | A and B of A (1 - exp(-I / B)) of a read
read_time_s                 | s     | positive   | tr of the growth of 1/f noise
read_pulse_s                | s     | positive   | width of a read pulse
read_voltage_v              | V     | positive   | voltage of a read
iv_second                   | A/V^2 | list       | V^2 term of the current, polynomial in log10 G
iv_third                    | A/V^3 | list       | V^3 term of the current, polynomial in log10 G
iv_range_s                  | S     | pair       | conductances the I-V fit is sure for
iv_range_v                  | V     | pair       | voltages the I-V fit is sure for
endurance_cycles            | 1     | positive   | writes a cell survives
endurance_states            | 1     | positive   | states used in the endurance test
endurance_temperature_k     | K     | positive   | temperature of the endurance test
endurance_layer_cycles      | 1     | positive   | cycles the switching layer alone survives
retention_s                 | s     | positive   | time a state is kept
retention_temperature_k     | K     | positive   | temperature of that retention
retention_activation        | J     | positive   | activation energy of losing a state
state_lifetime_batches      | 1     | positive   | batches until a state has leaked to 1/e
state_lifetime_spread       | 1     | at least 0 | that lifetime, device to device
conductance_temperature_coefficient | 1/K | any  | relative change of a state per kelvin
write_voltage_v             | V     | positive   | amplitude of a write pulse, up
write_voltage_down_v        | V     | any        | amplitude of a write pulse, down
write_voltage_range_v       | V     | pair       | amplitudes used to set a state
write_time_s                | s     | positive   | width of a write pulse
response_time_s             | s     | positive   | shortest pulse the cell answered
write_energy_j              | J     | positive   | energy of a write pulse
""")

_SIZES = {"pair": 2, "four": 4}
_MANY = {"pair": "two numbers", "four": "four numbers", "list": "a list of numbers"}
_RISING = ("weight_range", "iv_range_s", "iv_range_v", "write_voltage_range_v", "symmetry_point_s")


def known_key(key: str) -> Key:
    """The entry of a key.

    Raises:
        ConfigError: the catalogue knows no such key; near misses are named.

    >>> known_key("retention_s").unit
    's'
    """
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "see clnf.devices.keys.KEYS"
        raise ConfigError(f"no catalogue key {key!r}; {hint}")
    return KEYS[key]


def checked(key: str, value: float | Iterable[float]) -> float | tuple[float, ...]:
    """A value in the form its key asks for, as floats.

    Args:
        key: a word of the catalogue.
        value: one number, or coefficients.

    Raises:
        ConfigError: unknown key, or one number where coefficients belong, or the other way round.
        DeviceLimitError: a number is not finite or out of its range.

    >>> checked("iv_range_s", [1e-6, 2e-6])
    (1e-06, 2e-06)
    """
    form = known_key(key).form
    many = _MANY.get(form)
    given: object = value
    if isinstance(given, str) or not isinstance(value, Iterable):
        one = number(key, value, nan=True)
        if many:
            raise ConfigError(f"{key} is {many}, got {value!r} alone; give them as a tuple")
        _in_range(key, form, one)
        return one
    try:
        numbers = tuple(number(key, each, nan=True) for each in value)
    except TypeError:  # an array or tensor without an axis
        raise ConfigError(f"{key} must be a number, got {shown(value)}; take its float()") from None
    if many is None or not numbers or len(numbers) != _SIZES.get(form, len(numbers)):
        raise ConfigError(f"{key} is {many or 'one number'}, got {numbers}; change their count")
    for one in numbers:
        _in_range(key, "any", one)
    if key in _RISING and not numbers[0] < numbers[1]:
        raise DeviceLimitError(f"{key} must rise from low to high, got {numbers}; swap the two")
    return numbers


def _in_range(key: str, form: str, value: float) -> None:
    good = {
        "any": True,
        "positive": value > 0,
        "at least 0": value >= 0,
        "share": 0 <= value <= 1,
    }[form]
    if not (good and math.isfinite(value)):
        wanted = {"any": "finite", "share": "from 0 to 1"}.get(form, form)
        wanted += " and finite" if form != "any" and not math.isfinite(value) else ""
        raise DeviceLimitError(f"{key} must be {wanted}, got {value}; correct it")
