"""Concepts with tiles of their own: adapters that no other concept's lesson reaches.

A concept's adapters cost nothing until its first lesson. Until then nothing is read of them, their
cells are as they were made, and no snapshot holds them; the first lesson writes them.

Concepts are known by their row in the look-up table, so that a new one takes adapters that wait for
it, and a roll-back that gives a row free gives its adapters free.
"""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.chip.groups import Groups
from clnf.chip.hosting import Chip
from clnf.continual.adapters.switched import Switch, attach_switched
from clnf.core.errors import ConfigError, RunError
from clnf.media.flow import FlowModel
from clnf.media.unet import NULL_CONCEPT

__all__ = ["Features", "feature_row", "own_group"]

_PREFIX = "concept"
_CONDITION = 2  # place of the concept's row among a field's arguments


@final
class Features:
    """Adapters of its own for each concept of a generator, and the gates of their tiles.

    Samples without a concept go through the stored tiles alone, so guidance's null branch stays
    what it was; so do those of a concept that was never taught. A lesson that is rolled back or
    undone gives its concept's row back: where that was the first, the adapters are not read again.
    A roll-back brings their cells to what they held when freshly written, and the row's next lesson
    starts there; after an undo to a time before that, it writes them anew. Make these before the
    generator is hosted, leave the cells blank that :meth:`waits` names, and make :meth:`gates`
    after it.

    Attributes:
        rows: concepts that can have adapters: rows 1 to this one.
        switch: sends samples through their own.
        taught: rows whose adapters learned in a lesson that was kept.
        open: the row that learns; 0 for none.
        ready: rows whose adapters hold what a first lesson starts from.

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
        self.taught: list[int] = []
        self.ready: list[int] = []
        self.open = 0
        self._groups: Groups | None = None
        self._starts: dict[str, Tensor] = {}
        self._hear()

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
        self._groups = Groups(chip, engine, own_group, free=("net.concept.weight",))
        self._starts = {
            name: layer.weight.detach().clone()
            for name, layer in chip.layers.items()
            if layer.plastic and own_group(name) is not None
        }
        return self._groups

    def waits(self, layer: str) -> bool:
        """All adapters wait for their concept's first lesson."""
        return own_group(layer) is not None

    def check(self) -> None:
        """A lesson of a known concept always has adapters; names of new ones are checked."""

    @torch.no_grad()
    def write(self, row: int) -> None:
        """Write what a concept's adapters start from, if they neither hold that nor were taught.

        Raises:
            ConfigError: the concept has no adapters of its own.
        """
        group = self.group(row)
        if row in (*self.taught, *self.ready, self.open):
            return
        chip = self._gated.chip
        names = self._gated.layers[group]
        for name in names:
            chip.layers[name].weight.copy_(self._starts[name])
        chip.program_plastic(names)
        self.ready.append(row)

    def begin(self, row: int) -> None:
        """Open a concept's adapters for a lesson and shut all others; they are written before.

        A lesson before it that was not rolled back counts as kept.

        Raises:
            ConfigError: the concept has no adapters of its own.
            RunError: another lesson's are open.
        """
        self.write(row)
        self.keep()
        self._gated.open(self.group(row))
        self.open, self.ready = row, [one for one in self.ready if one != row]
        self._hear()

    def keep(self) -> None:
        """The lesson was committed: its concept is taught."""
        if self.open:
            self.taught = sorted({*self.taught, self.open})
        self.open = 0

    @property
    def _gated(self) -> Groups:
        if self._groups is None:
            raise RunError("host the generator first, then make the gates of its adapters")
        return self._groups

    def _hear(self) -> None:
        """Adapters of what was taught and of what is being taught are read, no others."""
        self.switch.read([self.group(row) for row in {*self.taught, self.open} if row])

    def state_dict(self) -> dict[str, Any]:
        """Rows that were taught, the one that learns, and those that are ready for it."""
        return {"taught": [*self.taught], "open": self.open, "ready": [*self.ready]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; load the gates' state first."""
        self.taught, self.ready = [*state["taught"]], [*state["ready"]]
        self.open = state["open"]
        self._hear()


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
