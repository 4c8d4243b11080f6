"""What one tool takes of NIR, and what it makes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, final

from clnf.core.units import quantity
from clnf.spiking.exchange.dialects.step import Step
from clnf.spiking.exchange.graph import Node

__all__ = ["Cells", "Dialect", "Finding"]


class Finding(NamedTuple):
    """What a tool does with a node or a graph that is not what the file says.

    Attributes:
        level: ``"refuses"`` it, ``"changes"`` it without a word, or a ``"detail"`` that shows only
            where a potential meets its threshold to the bit.
        where: the node; empty for the whole graph.
        what: happens.
    """

    level: Literal["refuses", "changes", "detail"]
    where: str
    what: str


class Cells(NamedTuple):
    """Values of a population for a tool.

    Attributes:
        kind: of the node.
        values: of its fields, arrays or numbers.
    """

    kind: str
    values: Mapping[str, Any]


@final
@dataclass(frozen=True, kw_only=True)
class Dialect:
    """A tool's reader of NIR.

    Attributes:
        name: of its package.
        title: with the version whose source and behaviour are described.
        dt_s: seconds of a step where the tool has one of its own; None where it is told.
        takes: kinds without a state that it takes as they are.
        drops: whether kinds that it does not know are left out without a word.
        ring: what becomes of a ring; empty for as it is.
        ring_as: how a ring is written for it.
        whys: why it does not take a kind, where there is more to say.
        step: of a population, from a node and a step in seconds; may raise a DataError that says
            why the tool refuses it.
        fit: a population that does such a step, or a DataError.
        cells: kinds of populations that ``step`` knows.
        flat_samples: whether its Flatten counts samples as the first axis.
    """

    name: str
    title: str
    dt_s: float | None = quantity("s")
    takes: frozenset[str]
    drops: bool
    ring: str
    ring_as: Literal["edges", "subgraph", "none"]
    cells: frozenset[str]
    step: Callable[[Node, float], Step]
    fit: Callable[[Step, float], Cells]
    whys: Mapping[str, str] = field(default_factory=dict)
    flat_samples: bool = False
