"""Wear levelling of whole tiles: a busy adapter moves to a fresh tile, or to one that wore less.

Columns of a tile are levelled by :mod:`clnf.chip.levelling`; what is uneven between tiles, as when
one group is taught often and the others hardly, is levelled here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch

from clnf.chip.analog import AbstractAnalog
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.floorplan import tile_area
from clnf.chip.hosting import Chip
from clnf.chip.levelling import rewrite, swing
from clnf.core.errors import ConfigError
from clnf.core.inputs import whole
from clnf.core.units import quantity

__all__ = ["Homes", "Relocation"]

# All that stands in silicon and not in the layer that is read: it stays where it is.
_PHYSICAL = ("seed", "hidden", "seen", "wear", "trait", "born_s", "tables", "spares", "operations",
             "events", "spent")  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class Relocation:
    """One tile's weights that went to other cells.

    Attributes:
        tile: whose.
        home: the physical tile they have now.
        other: the tile that got the cells left behind; empty where they now stand spare.
        gained: pulses that the mean cell left behind had more.
        pulses: what writing anew took.
    """

    tile: str
    home: str
    other: str
    gained: float = quantity("1")
    pulses: int = quantity("1")


@final
class Homes:
    """Which physical tile each tile of the layers that learn lives on, and fresh ones beside them.

    Two tiles of one shape and make can change places. All that belongs to cells goes along (state,
    wear, steps and bounds, life, spare columns); what both hold is written anew, charged as "move",
    and wears. Load this state before the chip's: it says whose cells those are.

    What is simplified: tiles of one shape alone change places, a counter for each tile is assumed
    and not charged, and a move changes no routing.

    Attributes:
        chip: whose tiles these are.
        spares: fresh tiles by name; none of a layer.

    Args:
        chip: with layers that learn, and no fast cells beside them.
        spare: fresh tiles of each shape, >= 0.
    """

    def __init__(self, chip: Chip, *, spare: int = 0) -> None:
        spare = whole("spare", spare, least=0)
        self.chip, self.spares = chip, dict[str, Crossbar]()
        self._layers = {tile.name: layer for layer, tile in _plastic(chip)}
        if not self._layers or any(tile.fast is not None for _, tile in _plastic(chip)):
            raise ConfigError(
                "homes are for layers that learn without fast cells beside them, and this chip has "
                "none" + (" but those with them" if self._layers else "")
            )
        self._homes = {name: name for name in self._layers}
        for shape, one in {tile.shape: tile for _, tile in _plastic(chip)}.items():
            for number in range(spare):
                name = f"spare {number} of {shape[1]} x {shape[0]}"
                self.spares[name] = self._physical(name, one)
        self._counted = {home: self._wear(home) for home in (*self._homes, *self.spares)}
        self._dearest = 0.0  # pulses that a moved weight took at most

    def _physical(self, name: str, like: Crossbar) -> Crossbar:
        """A fresh physical tile."""
        columns, rows = (slice(0, size) for size in like.shape)
        made = Crossbar(name, rows, columns, self.chip.circuit.seed, like.make)
        made.scale.copy_(like.scale.cpu())
        made.move(like.wear.device)
        return made

    def home(self, tile: str) -> str:
        """Physical tile that a tile lives on; its own name at first."""
        return self._homes[self._known(tile)]

    @property
    def spare_area_m2(self) -> float:
        """What the fresh tiles occupy, as far as their parts are known."""
        costs = self.chip.circuit.costs
        return sum(tile_area(tile, costs).known_m2 for tile in self.spares.values())

    def relocate(self, tile: str, other: str) -> Relocation:
        """Give a tile the cells of another one, or of a spare one.

        Args:
            tile: of a layer that learns.
            other: another tile of such a layer, or a name in :attr:`spares`; of the same shape.

        Raises:
            ConfigError: there is no such tile, or shapes or makes differ.
        """
        mine, theirs = self._tile(self._known(tile)), self._tile(other)
        if mine is theirs or mine.shape != theirs.shape or mine.make != theirs.make:
            raise ConfigError(
                f"tiles of one shape and make change places; {tile} is {mine.shape} and {other} "
                f"is {theirs.shape}" + (", the same one" if mine is theirs else "")
            )
        gained = float(mine.wear.double().mean() - theirs.wear.double().mean())
        logical = [one for one in (tile, other) if one in self._layers]
        held = [self._tile(name).view(self.chip.clock_s)[0] for name in logical]
        for key in _PHYSICAL:
            own = getattr(mine, key)
            setattr(mine, key, getattr(theirs, key))
            setattr(theirs, key, own)
        self._homes[tile], self._homes[other] = self._place(other), self._homes[tile]
        pulses = 0
        for name, weights in zip(logical, held, strict=True):
            one = self._tile(name)
            one.solved = None
            every = torch.ones(one.shape, dtype=torch.bool)
            pulses += rewrite(self.chip, one, weights, every)
            self._layers[name].refresh()
        return Relocation(
            tile=tile,
            home=self._homes[tile],
            other=other if other in self._layers else "",
            gained=gained,
            pulses=pulses,
        )

    def level(
        self, *, budget: float = 0.05, swings: float = 4.0, exchange: bool = True
    ) -> list[Relocation]:
        """Lead busy tiles to cells that wore less, within a budget of pulses.

        Call it between lessons. A tile counts by the mean wear of its cells, and is as busy as that
        grew since the last call. Of all pairs of one shape, a busy tile that wore more and a less
        busy one (a spare is idle), that with the largest product of both differences changes
        places, and so on, while the difference of wear is larger than writing anew may cost and
        all moves on this chip stay below the budget.

        Args:
            budget: largest share of the chip's pulses so far that moves may take, above 0.
            swings: least difference, in pulses that swing a cell once through its range; > 0.
            exchange: let tiles change places, which writes the less busy one anew too; False moves
                to spare tiles alone, and leaves every other group as it is.
        """
        if not budget > 0 or not swings > 0:
            raise ConfigError(f"budget and swings must be above 0, got {budget} and {swings}")
        ledger, moves = self.chip.ledger, list[Relocation]()
        busy = dict.fromkeys(self.spares, 0.0) | {
            name: self._wear(name) - self._counted[home] for name, home in self._homes.items()
        }
        spent, moved = (ledger.total(op=op).count for op in ("pulse", "move"))
        goals = list(busy) if exchange else list(self.spares)
        while pair := self._best(busy, swings, goals):
            first = self._tile(pair[0])
            written = first.size * (2 if pair[1] in self._layers else 1)
            if moved + written * max(self._dearest, swing(first) / 4.0) > budget * spent:
                break
            moves.append(self.relocate(*pair))
            moved += moves[-1].pulses
            self._dearest = max(self._dearest, moves[-1].pulses / written)
        self._counted = {self._place(name): self._wear(name) for name in busy}
        return moves

    def _best(
        self, busy: dict[str, float], swings: float, goals: list[str]
    ) -> tuple[str, str] | None:
        """The pair that gains most, or none."""
        tiles = {name: self._tile(name) for name in busy}
        wear = {name: self._wear(name) for name in busy}
        least = {name: swings * swing(tile) for name, tile in tiles.items()}
        best, found, blank = 0.0, None, self.chip.blank
        for name in self._layers:
            for other in (goal for goal in goals if goal not in blank):
                theirs = tiles[other]
                worse, faster = wear[name] - wear[other], busy[name] - busy[other]
                if worse < least[name] or faster <= 0 or worse * faster <= best:
                    continue
                if tiles[name].shape == theirs.shape and tiles[name].make == theirs.make:
                    best, found = worse * faster, (name, other)
        return found

    def _tile(self, name: str) -> Crossbar:
        if name in self.spares:
            return self.spares[name]
        layer = self._layers[self._known(name)]
        return next(tile for tile in layer.tiles if tile.name == name)

    def _known(self, name: str) -> str:
        if name not in self._layers:
            raise ConfigError(
                f"no tile {name!r} learns on this chip, and no spare one is called so"
            )
        return name

    def _place(self, name: str) -> str:
        """Physical tile behind a name, of a layer or a spare one."""
        return self._homes.get(name, name)

    def _wear(self, name: str) -> float:
        return float(self._tile(name).wear.double().mean())

    def state_dict(self) -> dict[str, Any]:
        """Homes, counters, and the cells that stand spare."""
        return {
            "homes": dict(self._homes),
            "counted": dict(self._counted),
            "dearest": self._dearest,
            "spares": {name: tile.own_state() for name, tile in self.spares.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; load the chip's own state after it.

        Raises:
            ConfigError: it is another chip's, or one with other spare tiles.
        """
        known = self._layers.keys() | self.spares.keys()
        if not state["homes"].keys() <= known or state["spares"].keys() != self.spares.keys():
            raise ConfigError("these homes are of a chip with other tiles; load that chip's")
        self._homes = {name: name for name in self._layers} | dict(state["homes"])
        self._counted, self._dearest = dict(state["counted"]), float(state["dearest"])
        for name in known:
            tile = self._tile(name)
            fresh = self._physical(self._place(name), tile)
            tile.seed, tile.tables, tile.spares = fresh.seed, fresh.tables, fresh.spares
        for name, tile in self.spares.items():
            tile.load_own(state["spares"][name])


def _plastic(chip: Chip) -> Iterator[tuple[AbstractAnalog, Crossbar]]:
    for layer in chip.layers.values():
        if layer.plastic:
            for tile in layer.tiles:
                yield layer, tile
