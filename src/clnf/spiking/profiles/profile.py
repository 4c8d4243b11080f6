"""A chip as what it can hold and how it counts: values with sources, and gaps with reasons.

Built in are ``loihi``, ``xylo``, ``speck`` and ``memristive:MATERIAL``; a file of one's own is read
by :func:`read_profile`. What no source gives is None here and has a sentence in ``gaps``.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, final

import torch

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.inputs import instance, shown
from clnf.core.toml import load_toml
from clnf.core.units import quantity
from clnf.devices.cell import Unknown
from clnf.devices.families import cell as cell_of
from clnf.devices.materials import Material, material
from clnf.spiking.profiles.keys import (
    KEYS,
    Decay,
    Kind,
    Overflow,
    Reset,
    Rounding,
    SpikesAt,
    checked,
)

__all__ = ["ChipProfile", "memristive", "profile", "profiles", "read_profile"]

_PREFIX = "memristive:"
_PROBES = 64  # conductances at which a programming error is looked at


@final
@dataclass(frozen=True, kw_only=True)
class ChipProfile:
    """What is known of a chip; :data:`clnf.spiking.profiles.keys.KEYS` says what each field means.

    Attributes:
        name: of the profile.
        title: what the chip is.
        sources: where each value is from, by its key.
        gaps: why a value is not known, by its key.
    """

    name: str
    title: str
    sources: Mapping[str, str]
    gaps: Mapping[str, str]
    weight_bits: int | None = quantity("1", None)
    weight_levels: int | None = quantity("1", None)
    input_shift: int = quantity("1", 0)
    input_bits: int | None = quantity("1", None)
    current_bits: int | None = quantity("1", None)
    potential_bits: int | None = quantity("1", None)
    current_overflow: Overflow = "saturate"
    potential_overflow: Overflow = "saturate"
    decay: Decay = "fraction"
    decay_bits: int | None = quantity("1", None)
    decay_rounding: Rounding = "down"
    threshold_bits: int | None = quantity("1", None)
    threshold_shift: int = quantity("1", 0)
    bias_bits: int | None = quantity("1", None)
    bias_exponents: int = quantity("1", 0)
    spikes_at: SpikesAt = "above"
    spikes_per_step: int = quantity("1", 1)
    output_spikes_per_step: int | None = quantity("1", None)
    input_events_per_step: int | None = quantity("1", None)
    resets: tuple[Reset, ...] | None = None
    cells: tuple[str, ...] | None = None
    kinds: tuple[Kind, ...] | None = None
    inputs: int | None = quantity("1", None)
    neurons: int | None = quantity("1", None)
    output_neurons: int | None = quantity("1", None)
    fan_in: int | None = quantity("1", None)
    fan_out: int | None = quantity("1", None)
    hidden_synapses: int | None = quantity("1", None)
    weight_memory_bits: int | None = quantity("bit", None)
    cores: tuple[tuple[int, int, int], ...] | None = quantity("1", None)
    kernel_max: int | None = quantity("1", None)
    kernel_square: bool = False
    features: int | None = quantity("1", None)
    strides: tuple[int, ...] | None = quantity("1", None)
    pools: tuple[int, ...] | None = quantity("1", None)
    trace_bits: int | None = quantity("1", None)
    trace_fraction_bits: int = quantity("1", 0)
    trace_rounding: Rounding = "nearest"
    tag_bits: int | None = quantity("1", None)
    mismatch: float | None = quantity("1", None)
    write_error: float | None = quantity("1", None)

    def __post_init__(self) -> None:
        if self.weight_bits is None and self.weight_levels is None:
            raise ConfigError(
                f"the profile {self.name!r} says neither weight_bits nor weight_levels; give one"
            )
        if self.decay == "shift" and self.decay_rounding == "stochastic":
            raise ConfigError("a decay by a shift is not rounded at random; take decay 'fraction'")

    @property
    def top_weight(self) -> int:
        """The largest whole number a weight can be; the smallest is its negative.

        A weight of 8 bits goes from -127 to 127; -128 is left out, so that both signs are alike.
        A pair of cells with L levels each goes from -(L - 1) to L - 1.
        """
        if self.weight_levels is not None:
            return self.weight_levels - 1
        assert self.weight_bits is not None
        return int(2 ** (self.weight_bits - 1)) - 1


def profiles() -> dict[str, str]:
    """Names of the built-in profiles, and what each one is."""
    return {name: str(row["title"]) for name, row in _table().items()}


def profile(name: str) -> ChipProfile:
    """A chip by its name, or from a file.

    Args:
        name: ``loihi``, ``xylo``, ``speck``, ``memristive:MATERIAL`` with a row of the materials
            catalogue, or the path of a TOML file, see :func:`read_profile`.

    Raises:
        ConfigError: no such chip, or a file that is none.
        DeviceLimitError: a material of which nobody published how many states it has.

    >>> profile("loihi").potential_bits, profile("xylo").decay, profile("speck").cells
    (24, 'shift', ('IF',))
    """
    instance("a chip", name, str, "give its name or the path of a .toml file")
    if name.endswith(".toml"):
        return read_profile(Path(name))
    if name.startswith(_PREFIX):
        return memristive(material(name.removeprefix(_PREFIX)))
    table = _table()
    if name not in table or name == "memristive":
        known = [one if one != "memristive" else f"{_PREFIX}MATERIAL" for one in table]
        raise ConfigError(
            f"no chip is called {shown(name)}; known: {', '.join(known)}, or give a .toml file"
        )
    return _made(name, table[name])


def read_profile(path: Path) -> ChipProfile:
    """A profile of one's own: a TOML file with title, ``KEY = { value, source }`` and ``[gaps]``.

    Raises:
        ConfigError: no such file, an unknown key, a value of another kind or out of its range, one
            without a source, or a gap that has a value.
    """
    if not Path(path).is_file():
        raise ConfigError(f"no profile of a chip at {str(path)!r}; give the path of a .toml file")
    return _made(Path(path).stem, load_toml(Path(path)))


def memristive(row: Material) -> ChipProfile:
    """Weights as pairs of cells of a material.

    A weight is the difference of two cells with as many levels as were published. Its error when it
    is written is the published one of programming, averaged over the conductance window, sqrt(2) of
    it for two cells; where none was published there is none, and ``gaps`` says so.

    Raises:
        DeviceLimitError: nobody published how many states a cell has.

    >>> memristive(material("cmo_hfox")).top_weight
    31
    """
    try:
        states = row.get("states")
    except DeviceLimitError:
        raise DeviceLimitError(
            f"nobody published how many states {row.name} ({row.title}) has, so weights of it have "
            "no levels; take another material, or write a profile of your own, FILE.toml"
        ) from None
    made = _made("memristive", _table()["memristive"])
    found: dict[str, Any] = {"weight_levels": int(states.number)}
    sources = {"weight_levels": f"{row.name}: {states.source}"}
    if "array_size" in row.values:
        size = row.values["array_size"]
        found |= {"inputs": int(size.coefficients[0]), "fan_in": int(size.coefficients[0])}
        sources |= dict.fromkeys(("inputs", "fan_in"), f"{row.name}: {size.source}")
    spread = _spread(row)
    if spread is not None:
        found["write_error"] = spread
        sources["write_error"] = f"{row.name}: programming error, mean over the window, two cells"
    kept = {f.name: getattr(made, f.name) for f in dataclass_fields(made)}
    gaps = {key: why for key, why in made.gaps.items() if key not in found}
    return ChipProfile(**kept | found | {
        "name": f"{_PREFIX}{row.name}", "title": f"{made.title}: {row.title}",
        "sources": dict(made.sources) | sources, "gaps": gaps,
    })  # fmt: skip


def _spread(row: Material) -> float | None:
    """Published error of programming, relative to the window; None where nobody published one."""
    cell = cell_of(row)
    if isinstance(cell.programming, Unknown) or isinstance(cell.window, Unknown):
        return None
    low, high = cell.window.low_s, cell.window.high_s
    at = torch.linspace(low, high, _PROBES, dtype=torch.float64)
    return math.sqrt(2) * float(cell.programming.sigma(at).mean()) / (high - low)


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("clnf.spiking.profiles").joinpath("chips.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _made(name: str, row: Mapping[str, Any]) -> ChipProfile:
    values = {key: value for key, value in row.items() if key not in ("title", "gaps")}
    title, gaps = row.get("title"), row.get("gaps", {})
    if not isinstance(title, str) or not title.strip():
        raise ConfigError(f"the profile {name!r} has no title; add title = 'what the chip is'")
    if not isinstance(gaps, dict) or not all(isinstance(why, str) for why in gaps.values()):
        raise ConfigError(f"gaps of {name!r} are KEY = 'why it is not known'; correct them")
    for key in gaps:
        if key not in KEYS or key in values:
            fault = "has a value, too" if key in values else "is no key of a profile"
            raise ConfigError(f"the gap {key!r} of {name!r} {fault}; take it out")
    found, sources = {}, {}
    for key, item in values.items():
        source = item.get("source") if isinstance(item, dict) else None
        if not isinstance(item, dict) or set(item) != {"value", "source"}:
            raise ConfigError(
                f"{key} of {name!r} must be {{ value = ..., source = '...' }}, got {shown(item)}"
            )
        if not isinstance(source, str) or not source.strip():
            raise ConfigError(f"{key} of {name!r} has no source; say where the value is from")
        found[key], sources[key] = checked(key, item["value"]), source
    if name == "memristive" and "weight_levels" not in found:
        found["weight_levels"] = 2  # replaced by the material's
    return ChipProfile(name=name, title=title, sources=sources, gaps=dict(gaps), **found)
