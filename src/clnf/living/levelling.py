"""Wear of the cells that learn: what is moved between lessons, and how long tiles last."""

import math
from collections import Counter
from dataclasses import asdict
from typing import Any, final

import torch
from torch import Tensor

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.hosting import Chip
from clnf.chip.levelling import level, replace_dead
from clnf.chip.levelling_homes import Homes
from clnf.chip.life import Life, project
from clnf.chip.wear import worn
from clnf.core.errors import DeviceLimitError
from clnf.core.ledger import NO_LESSONS
from clnf.living.recipe import LevellingPart

__all__ = ["Levelling", "wear"]


@final
class Levelling:
    """Moves busy columns and tiles before every n-th lesson, and projects the life of tiles.

    Args:
        chip: whose plastic tiles are looked after.
        part: the recipe's.

    Attributes:
        homes: where tiles live, if they may move; None where they may not.
    """

    def __init__(self, chip: Chip, part: LevellingPart) -> None:
        self.chip, self.part = chip, part
        self._start: dict[str, Tensor] = {}
        self.homes = Homes(chip, spare=part.tiles) if part.tiles or part.exchange else None

    def prepared(self) -> None:
        """Note what cells wore before the first lesson."""
        if self.part.life:
            spares = self.homes.spares.values() if self.homes is not None else ()
            written = (tile for tile in self._tiles() if tile.name not in self.chip.blank)
            self._start = {tile.name: _wear(tile).clone() for tile in (*written, *spares)}

    def due(self, number: int) -> bool:
        """Whether anything may move before a lesson, counted from 0."""
        return self.part.every > 0 and number > 0 and number % self.part.every == 0

    def move(self) -> dict[str, Any]:
        """Give dead columns a spare, lead busy lines to columns that wore less, and tiles likewise.

        Returns:
            What was moved, as JSON values: "moves" of columns, "homes" of tiles, and all pulses.
        """
        part = self.part
        found: dict[str, Any] = {"pulses": 0, "moves": []}
        if self.chip.spec.spare_columns:
            moves = [*replace_dead(self.chip), *level(self.chip, budget=part.budget)]
            found["moves"] = [asdict(one) for one in moves]
        if self.homes is not None:
            went = self.homes.level(budget=part.budget, exchange=part.exchange)
            found["homes"] = [asdict(one) for one in went]
        found["pulses"] = sum(
            one["pulses"] for kind in ("moves", "homes") for one in found.get(kind, ())
        )
        return found

    def life(self) -> dict[str, Any]:
        """The tile that is projected to die first, as JSON values.

        Returns:
            Its name and :class:`clnf.chip.life.Life`, with None for an end that never comes; or
            "unknown" with a sentence where the material's endurance is not known. Empty before the
            first lesson.
        """
        lessons = self._lessons()
        if not self._start or not lessons:
            return {}
        found: list[tuple[Life, str]] = []
        pulses, blank = self._pulses(), self.chip.blank
        try:
            for tile in (one for one in self._tiles() if one.name not in blank):
                each = [float(pulses[tile.name, lesson]) for lesson in lessons]
                found.append((project(tile, self._before(tile), each), tile.name))
        except DeviceLimitError as error:
            return {"unknown": str(error)}
        life, name = min(found, key=lambda one: one[0].lessons)
        told = {key: None if value == math.inf else value for key, value in asdict(life).items()}
        return {"tile": name, **told}

    def state_dict(self) -> dict[str, Any]:
        """Wear before the first lesson, and where tiles live."""
        homes = {} if self.homes is None else {"homes": self.homes.state_dict()}
        return {"start": dict(self._start), **homes}

    def load_homes(self, state: dict[str, Any]) -> None:
        """Restore where tiles live, from what :meth:`state_dict` gave; then load the chip."""
        if self.homes is not None:
            self.homes.load_state_dict(state["homes"])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the rest of what :meth:`state_dict` gave."""
        self._start = {name: value.clone() for name, value in state["start"].items()}

    def _tiles(self) -> list[Crossbar]:
        layers = self.chip.layers.values()
        return [tile for layer in layers if layer.plastic for tile in layer.tiles]

    def _before(self, tile: Crossbar) -> Tensor:
        """Wear before the lessons of the columns that a tile's lines have now, [planes, M]."""
        start = self._start.get(tile.name if self.homes is None else self.homes.home(tile.name))
        if start is None:  # nothing was written there yet
            return torch.zeros_like(tile.wear)
        if tile.spares is not None:
            start = start[:, tile.spares.place]
        return start.reshape(tile.planes, -1)

    def _lessons(self) -> list[str]:
        names = dict.fromkeys(row[1] for row in self.chip.ledger.state())
        return [name for name in names if name not in NO_LESSONS]

    def _pulses(self) -> Counter[tuple[str, str]]:
        """Pulses by tile and lesson, those of moves too."""
        found: Counter[tuple[str, str]] = Counter()
        for tile, lesson, op, count, *_ in self.chip.ledger.state():
            found[tile, lesson] += count if op in ("pulse", "move") else 0
        return found


def wear(chip: Chip) -> dict[str, Any]:
    """The most worn cell of the plastic tiles, and how long it lasts at this rate."""
    learn = [layer for layer in chip.layers.values() if layer.plastic]
    written = [layer for layer in learn if not layer.blank] or learn[:1]
    tiles = worn({tile.name: tile for layer in written for tile in layer.tiles}, chip.ledger)
    name = max(tiles, key=lambda tile: tiles[tile].most)
    worst = tiles[name]
    return {
        "most_worn_tile": name,
        "most_worn_cell": list(worst.worst),
        "pulses_on_it": worst.most,
        "endurance_pulses": worst.endurance,
        "endurance_source": worst.source,
        "life_lessons": min(found.life_lessons for found in tiles.values()),
        "simulated_clock_s": chip.clock_s,
    }


def _wear(tile: Crossbar) -> Tensor:
    """Wear of all columns of a tile that was not levelled yet, spares last, [planes, C, R]."""
    own = tile.wear.view(tile.planes, *tile.shape).cpu()
    return own if tile.spares is None else torch.cat([own, tile.spares.kept["wear"]], 1)
