"""What one operation of a chip costs: ranges in joules with sources, and gaps with reasons."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, final

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.inputs import number, shown
from clnf.core.units import quantity
from clnf.devices.materials import Material

__all__ = ["ITEMS", "Figures", "Joules", "chips_with_figures", "figures", "memristive_figures"]

ITEMS = {
    "synaptic_operation_j": "an event added through one synapse",
    "active_update_j": "a step of a cell that was reached by an event",
    "idle_update_j": "a step of a cell that was not",
    "spike_j": "a spike made and sent",
    "memory_bit_j": "a bit read or written beside the operations",
    "trace_update_j": "a step of a trace of learning",
    "weight_update_j": "a change of a weight worked out",
    "weight_write_j": "a weight written",
}


@final
@dataclass(frozen=True, kw_only=True)
class Joules:
    """An energy as a range; ``typical`` is None where only its ends are known.

    >>> Joules(low=1e-12, high=3e-12) + Joules(low=1e-12, typical=2e-12, high=3e-12)
    Joules(low=2e-12, typical=None, high=6e-12)
    """

    low: float = quantity("J", 0.0)
    typical: float | None = quantity("J", None)
    high: float = quantity("J", 0.0)

    def __post_init__(self) -> None:
        middle = self.low if self.typical is None else self.typical
        if not 0 <= self.low <= middle <= self.high < float("inf"):
            raise ConfigError(
                "an energy is a range 0 <= low <= typical <= high, got "
                f"{self.low}, {self.typical}, {self.high} J; correct it"
            )

    def __add__(self, other: "Joules") -> "Joules":
        known = self.typical is not None and other.typical is not None
        return Joules(
            low=self.low + other.low,
            typical=(self.typical or 0.0) + (other.typical or 0.0) if known else None,
            high=self.high + other.high,
        )

    def times(self, count: float) -> "Joules":
        """So many of them."""
        typical = None if self.typical is None else self.typical * count
        return Joules(low=self.low * count, typical=typical, high=self.high * count)


@final
@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is known of one chip.

    Attributes:
        name: of the chip.
        title: what it is.
        joules: of one operation, by item.
        sources: where each is from.
        gaps: why an item is not known.
        facts: what was measured as a whole.
    """

    name: str
    title: str
    joules: Mapping[str, Joules]
    sources: Mapping[str, str]
    gaps: Mapping[str, str]
    facts: tuple[str, ...] = ()

    def get(self, item: str) -> Joules:
        """The energy of one operation.

        Raises:
            DeviceLimitError: nobody published it.
        """
        if item not in self.joules:
            why = self.gaps.get(item, "it was not published")
            raise DeviceLimitError(
                f"no energy of {item!r} is known for {self.name}: {why}; supply(...) your own"
            )
        return self.joules[item]

    def supply(self, source: str, **joules: Joules) -> "Figures":
        """With figures of one's own, added or put in place of others.

        Args:
            source: where they are from.
            joules: by item.

        Raises:
            ConfigError: no such item, or no source.
        """
        wrong = [item for item in joules if item not in ITEMS]
        if wrong or not source.strip():
            fault = f"no item {wrong[0]!r}; known: {', '.join(ITEMS)}" if wrong else "no source"
            raise ConfigError(f"{fault}; correct it")
        return Figures(
            name=self.name, title=self.title, joules={**self.joules, **joules},
            sources={**self.sources, **dict.fromkeys(joules, source)}, facts=self.facts,
            gaps={item: why for item, why in self.gaps.items() if item not in joules},
        )  # fmt: skip


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("clnf.spiking.energy").joinpath("figures.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def chips_with_figures() -> dict[str, str]:
    """Names of all chips in the table, and what each one is."""
    return {name: str(row["title"]) for name, row in _table().items()}


def figures(name: str) -> Figures:
    """What is known of a chip.

    Raises:
        ConfigError: it is not in the table.

    >>> figures("loihi").get("synaptic_operation_j").high
    3.55e-11
    """
    table = _table()
    if name not in table:
        raise ConfigError(f"no chip {shown(name)} in the table; known: {', '.join(table)}")
    row = dict(table[name])
    title, facts, gaps = row.pop("title"), tuple(row.pop("facts", [])), row.pop("gaps", {})
    joules, sources = {}, {}
    for item, value in row.items():
        ends = {key: number(item, value[key]) for key in ("low", "typical", "high") if key in value}
        joules[item], sources[item] = Joules(**ends), str(value["source"])
    return Figures(name=name, title=title, joules=joules, sources=sources, gaps=gaps, facts=facts)


def memristive_figures(row: Material, base: Figures) -> Figures:
    """A chip whose weights are cells of a material: writes cost what the material's cost.

    Two cells are written for a weight at most, one at least. Reads of cells need converters, which
    are not the material's: what an event costs stays the base's.

    Args:
        row: of the materials catalogue.
        base: figures of what is around the cells.

    Raises:
        DeviceLimitError: nobody published what a write costs; supply ``write_energy_j``.
    """
    energy = row.get("write_energy_j")
    low, high = min(energy.coefficients), max(energy.coefficients)
    wide = Joules(low=low, typical=high, high=2 * high)
    return base.supply(f"{row.name}: {energy.source}", weight_write_j=wide)
