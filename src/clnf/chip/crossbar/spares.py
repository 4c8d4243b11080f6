"""Columns of cells beside those that are read, and which column stands where."""

from typing import Any, Protocol, final

import torch
from torch import Tensor

from clnf.chip.crossbar.make import Make
from clnf.core.errors import ConfigError
from clnf.devices.cell import Unknown
from clnf.devices.draws import hash_key
from clnf.devices.pulses import Cells
from clnf.devices.response import cell_traits, fresh_cells

__all__ = ["Spares"]

_STATE = ("hidden", "seen", "wear", "trait", "born_s")


class _Tile(Protocol):
    """What spares need of the cells they stand beside."""

    hidden: Tensor
    seen: Tensor
    wear: Tensor
    trait: Tensor
    born_s: Tensor
    tables: list[Tensor]
    events: int


@final
class Spares:
    """Spare columns of a tile, with cells of their own, and the place of every column.

    The lines of a tile can be led to other columns of cells: *place* says which physical column
    each line has now. Exchanging two takes along all that belongs to the cells (state, wear, steps
    and bounds, life); what they should hold must be written again.

    Attributes:
        place: physical column of each line, int64 [C]; those from C on began as spares.
        bench: physical columns without a line, int64 [spares].
        kept: state of the cells on the bench, each [planes, spares, R].
        counted: pulses of the most worn cell of each line's column when wear was last levelled.

    Args:
        make: what the cells are made of.
        shape: columns and rows of the tile.
        count: spare columns.
        seed: the tile's.
    """

    def __init__(self, make: Make, shape: tuple[int, int], count: int, seed: int) -> None:
        self.make, self.seed = make, seed
        self.columns, self.rows = shape
        self.planes, self.count = make.mapping.planes, count
        self.place = torch.arange(self.columns)
        self.bench = torch.arange(self.columns, self.columns + count)
        self.kept: dict[str, Tensor] = {}
        self.counted = torch.zeros(self.columns, dtype=torch.int64)
        response = make.cell.response
        if isinstance(response, Unknown):
            raise ConfigError(
                "spare columns are for cells that are pulsed; these are written whole, so leave "
                "spare_columns out"
            )
        shape3 = (self.planes, count, self.rows)
        table = torch.cat([self.traits(p, s) for p in range(self.planes) for s in self.bench], 1)
        cells: Cells = fresh_cells(response, table, seed, compiled=make.kernels)
        hidden = cells.hidden.view(shape3)
        seen = cells.seen.view(shape3) if response.write_noise else hidden
        wear = cells.wear.view(shape3)
        self.kept = {"hidden": hidden.clone(), "seen": seen.clone(), "wear": wear.clone()}
        self.kept |= {"trait": torch.zeros(shape3), "born_s": torch.zeros(shape3)}

    def _first(self, plane: int, physical: int) -> int:
        """Index of the first cell of a physical column, by which its traits are drawn."""
        size = self.columns * self.rows
        if physical < self.columns:
            return plane * size + physical * self.rows
        spare = plane * self.count + physical - self.columns
        return self.planes * size + spare * self.rows

    def traits(self, plane: int, physical: int | Tensor) -> Tensor:
        """Steps and bounds of the fresh cells of a physical column, [4, R]."""
        response, first = self.make.cell.response, self._first(plane, int(physical))
        assert not isinstance(response, Unknown)
        return cell_traits(response, self.rows, self.seed, first=first, compiled=self.make.kernels)

    def life(self, plane: int, physical: int | Tensor) -> Tensor:
        """Writes that the cells of a physical column survive, [R]."""
        endurance = self.make.cell.endurance
        assert not isinstance(endurance, Unknown)
        first = self._first(plane, int(physical))
        return endurance.life(self.rows, hash_key(self.seed, "life"), first)

    @property
    def moved(self) -> list[int]:
        """Lines that have other columns than at first."""
        return torch.nonzero(self.place != torch.arange(self.columns)).flatten().tolist()

    def put(self, fresh: Tensor, planes: range, life: Tensor | None = None) -> None:
        """Put the fresh traits, and lives, of exchanged columns in the places of their lines.

        Args:
            fresh: of some planes, one after the other, [4, planes M]; changed in place.
            planes: which ones.
            life: [planes M], changed in place.
        """
        size = self.columns * self.rows
        for line in self.moved:
            for nth, plane in enumerate(planes):
                first = nth * size + line * self.rows
                cells = slice(first, first + self.rows)
                fresh[:, cells] = self.traits(plane, self.place[line]).to(fresh.device)
                if life is not None:
                    life[cells] = self.life(plane, self.place[line])

    def tables(self, held: list[Tensor]) -> list[Tensor]:
        """Steps and bounds of all cells as they came, by plane; alike ones stay shared."""
        response, size = self.make.cell.response, self.columns * self.rows
        assert not isinstance(response, Unknown)
        made = []
        for plane, table in enumerate(held):
            if table.shape[1] > 1:
                compiled, first = self.make.kernels, plane * size
                fresh = cell_traits(response, size, self.seed, first=first, compiled=compiled)
                self.put(fresh, range(plane, plane + 1))
                table = fresh.to(table.device)
            made.append(table)
        return made

    def exchange(self, tile: _Tile, line: int, other: int) -> None:
        """Give two lines each other's columns."""
        tile.tables[:] = [table.clone() for table in tile.tables]  # others hold what comes of them
        for tensor in self._own(tile):
            view = tensor.view(-1, self.columns, self.rows)
            view[:, [line, other]] = view[:, [other, line]]
        self.place[[line, other]] = self.place[[other, line]]
        tile.events += 1

    def bring(self, tile: _Tile, line: int, spare: int) -> None:
        """Give a line the column at one place of the bench, and put its own there."""
        for name in _STATE:
            tensor = getattr(tile, name)
            if not tensor.numel() or (name == "seen" and tile.seen is tile.hidden):
                continue
            view, kept = tensor.view(-1, self.columns, self.rows), self.kept[name]
            mine = view[:, line].clone()
            view[:, line] = kept[:, spare].to(view.device)
            kept[:, spare] = mine.cpu()
        place = int(self.place[line])
        self.place[line], self.bench[spare] = self.bench[spare], place
        tile.tables[:] = [table.clone() for table in tile.tables]
        for plane, table in enumerate(tile.tables):
            if table.shape[1] > 1:
                self.put(table, range(plane, plane + 1))
        tile.events += 1

    def _own(self, tile: _Tile) -> list[Tensor]:
        """All tensors of cells that go with a column."""
        names = [n for n in _STATE if not (n == "seen" and tile.seen is tile.hidden)]
        state = [getattr(tile, name) for name in names]
        tables = [table for table in tile.tables if table.shape[1] > 1]
        return [tensor for tensor in (*state, *tables) if tensor.numel()]

    def state(self) -> dict[str, Any]:
        """Tensors by name."""
        return {"place": self.place, "bench": self.bench, "counted": self.counted} | {
            f"bench_{name}": value for name, value in self.kept.items()
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        self.place, self.bench = state["place"].clone(), state["bench"].clone()
        self.counted = state["counted"].clone()
        self.kept = {name: state[f"bench_{name}"].clone() for name in _STATE}
