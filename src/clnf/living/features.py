"""Concepts with tiles of their own: adapters that no other concept's lesson reaches.

Concepts are known by their row in the look-up table, so that a new one takes adapters that wait for
it, and a roll-back that gives a row free gives its adapters free.
"""

from collections.abc import Callable
from typing import final

from torch import nn

from clnf.chip.groups import Groups
from clnf.chip.hosting import Chip
from clnf.continual.adapters.switched import Switch, attach_switched
from clnf.core.errors import ConfigError
from clnf.media.flow import FlowModel
from clnf.media.unet import NULL_CONCEPT

__all__ = ["Features", "feature_row", "own_group"]

_PREFIX = "concept"
_CONDITION = 2  # place of the concept's row among a field's arguments


@final
class Features:
    """Adapters of its own for each concept of a generator, and the gates of their tiles.

    Samples without a concept go through the stored tiles alone, so guidance's null branch stays
    what it was. Make these before the generator is hosted, and :meth:`gates` after it.

    Attributes:
        rows: concepts that can have adapters: rows 1 to this one.
        switch: sends samples through their own.

    Args:
        engine: whose net gets adapters, in place.
        rows: see above; the others have none and learn in their row of the table alone.
        rank: of each concept's adapters.
        scale: factor on their output.
        seed: of their start.
        only: which leaves get them.

    Raises:
        ConfigError: the table has no such rows, or rank or scale is out of range.
    """

    def __init__(
        self,
        engine: FlowModel,
        rows: int,
        *,
        rank: int,
        scale: float = 1.0,
        seed: int = 0,
        only: Callable[[str, nn.Linear | nn.Conv2d], bool] | None = None,
    ) -> None:
        table = engine.net.params.concepts
        if not 1 <= rows < table:
            raise ConfigError(
                f"adapters of their own are for 1 to {table - 1} concepts, got {rows}"
            )
        self.rows = rows
        self.switch = Switch([f"{_PREFIX}{row}" for row in range(1, rows + 1)])
        numbers = [row - 1 if NULL_CONCEPT < row <= rows else -1 for row in range(table)]
        self.switch.follow(engine.net, numbers, _CONDITION)
        attach_switched(engine.net, self.switch, rank=rank, scale=scale, seed=seed, only=only)

    def group(self, row: int) -> str:
        """Group of the concept in a row.

        Raises:
            ConfigError: it has no adapters of its own.
        """
        if not 1 <= row <= self.rows:
            raise ConfigError(
                f"concept {row} has no adapters of its own, rows 1 to {self.rows} have; make more "
                "of them in the recipe"
            )
        return f"{_PREFIX}{row}"

    def gates(self, chip: Chip, engine: FlowModel) -> Groups:
        """Gates of the adapters' tiles; the look-up table stays open, as its rows have a guard."""
        return Groups(chip, engine, own_group, free=("net.concept.weight",))


def own_group(name: str) -> str | None:
    """Group of a layer with adapters, the word after ``of``; None for what all share.

    >>> own_group("net.enter.of.concept6.down"), own_group("net.enter.base")
    ('concept6', None)
    """
    words = name.split(".")
    return words[words.index("of") + 1] if "of" in words else None


def feature_row(group: str) -> int | None:
    """Row of the concept that a group is for; None for other groups.

    >>> feature_row("concept6"), feature_row("middle1")
    (6, None)
    """
    number = group.removeprefix(_PREFIX)
    return int(number) if group.startswith(_PREFIX) and number.isdigit() else None
