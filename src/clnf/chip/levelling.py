"""Wear levelling: hot columns move to fresh cells, and dead ones are replaced."""

from collections import Counter
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.hosting import Chip
from clnf.chip.program import Verify, write_by_pulses
from clnf.core.errors import ConfigError
from clnf.core.ledger import Ledger
from clnf.core.units import quantity

__all__ = ["Move", "level", "replace_dead", "rewrite", "swing"]

_ROUNDS = 5  # of write-verify for a moved column


@final
@dataclass(frozen=True, kw_only=True)
class Move:
    """One exchange of columns.

    Attributes:
        tile: where.
        line: whose column was worn.
        other: the line it was exchanged with; -1 for a spare.
        gained: pulses that the worn column had more.
        pulses: what writing both anew took.
    """

    tile: str
    line: int = quantity("1")
    other: int = quantity("1")
    gained: int = quantity("1")
    pulses: int = quantity("1")


def level(chip: Chip, *, budget: float = 0.05, swings: float = 4.0) -> list[Move]:
    """Lead busy lines to columns that wore less, within a budget of pulses.

    Call it between lessons. A column counts by its most worn cell, a line by what that cell gained
    since the last call, or since it was made. Of all pairs of a line and a less worn column whose
    own line is less busy (a spare has none), that with the largest product of both differences is
    exchanged, and so on, while the difference of wear is larger than writing anew may cost and all
    moves so far stay below the budget. What is written is charged, and wears. A worn column thus
    ends under a line that is hardly written, and is left there.

    What is simplified: a counter for each column is assumed, and not charged.

    Args:
        chip: tiles with ``ChipSpec.spare_columns``, which also lets lines change places.
        budget: largest share of the tile's pulses so far that moves may take, above 0.
        swings: least difference, in pulses that swing a cell once through its whole range; > 0.

    Returns:
        What was moved.
    """
    if not budget > 0 or not swings > 0:
        raise ConfigError(f"budget and swings must be above 0, got {budget} and {swings}")
    moves: list[Move] = []
    pulsed, rewritten = (_pulses(chip.ledger, op) for op in ("pulse", "move"))
    for layer, tile in _levelled(chip):
        spent, moved = pulsed[tile.name], rewritten[tile.name]
        spares = tile.spares
        assert spares is not None
        busy = _hottest(_columns(tile)).cpu().long() - spares.counted
        costs = [2.0 * tile.shape[1] * swing(tile) / 4.0]  # of a move, until one was made
        while moved + max(costs) <= budget * spent:
            found = _level_one(chip, tile, busy, swings)
            if found is None:
                break
            moved += found.pulses
            costs.append(found.pulses)
            moves.append(found)
        spares.counted = _hottest(_columns(tile)).cpu().long()
        layer.refresh()
    return moves


def replace_dead(chip: Chip, *, dead_share: float = 0.25) -> list[Move]:
    """Give lines whose cells no longer move the least worn spare column.

    A cell counts as dead when pulses no longer move it; a chip finds that out when it verifies a
    write, here it is taken from the state.

    Args:
        chip: tiles with spare columns.
        dead_share: of a column's cells, above 0.
    """
    if not 0 < dead_share <= 1:
        raise ConfigError(f"dead_share must be above 0 to 1, got {dead_share}")
    moves: list[Move] = []
    for layer, tile in _levelled(chip):
        spares = tile.spares
        assert spares is not None
        tile.close_windows()
        dead = torch.stack([table[0].expand(tile.size) == 0 for table in tile.tables])
        share = dead.view(-1, *tile.shape).float().mean((0, 2))
        for line in torch.nonzero(share >= dead_share).flatten().tolist():
            worn = _hottest(spares.kept["wear"])
            if not len(worn) or int(worn.min()) >= int(_hottest(_columns(tile))[line]):
                break
            moves.append(_move(chip, tile, line, None))
        layer.refresh()
    return moves


def _levelled(chip: Chip) -> list[tuple[AbstractAnalog, Crossbar]]:
    layers = [layer for layer in chip.layers.values() if not layer.blank]
    both = [(layer, tile) for layer in layers for tile in layer.tiles]
    return [(layer, tile) for layer, tile in both if tile.spares is not None]


def _columns(tile: Crossbar) -> Tensor:
    return tile.wear.view(-1, *tile.shape)


def _hottest(wear_PCR: Tensor) -> Tensor:
    """Pulses of the most worn cell of each column."""
    return wear_PCR.amax((0, 2)) if wear_PCR.numel() else torch.zeros(0, dtype=torch.int32)


def _level_one(chip: Chip, tile: Crossbar, busy: Tensor, swings: float) -> Move | None:
    """The exchange that gains most, or none; the pace of lines stays what it was."""
    spares = tile.spares
    assert spares is not None
    wear = _hottest(_columns(tile)).cpu().long()
    all_wear = torch.cat([wear, _hottest(spares.kept["wear"]).long()])
    all_busy = torch.cat([busy, busy.new_zeros(spares.count)])
    worse = wear[:, None] - all_wear[None]
    gain = worse.float() * (busy[:, None] - all_busy[None]).clamp(min=0).float()
    gain[worse < swings * swing(tile)] = 0.0
    if not float(gain.max()) > 0:
        return None
    line, other = divmod(int(gain.argmax()), len(all_wear))
    return _move(chip, tile, line, other, int(worse[line, other]))


def _move(chip: Chip, tile: Crossbar, line: int, other: int | None, gained: int = 0) -> Move:
    """Exchange, and write what both lines held."""
    spares = tile.spares
    assert spares is not None
    held, only = tile.view(chip.clock_s)[0], torch.zeros(tile.shape, dtype=torch.bool)
    only[line] = True
    if other is None or other >= tile.shape[0]:
        bench = _hottest(spares.kept["wear"])
        spares.bring(tile, line, int(bench.argmin()) if other is None else other - tile.shape[0])
        other = -1
    else:
        spares.exchange(tile, line, other)
        only[other] = True
    pulses = rewrite(chip, tile, held, only)
    return Move(tile=tile.name, line=line, other=other, gained=gained, pulses=pulses)


def rewrite(chip: Chip, tile: Crossbar, held_CR: Tensor, only_CR: Tensor) -> int:
    """Write what cells held before others took their place, charged as "move".

    Args:
        chip: whose ledger is charged.
        tile: written in place.
        held_CR: weights.
        only_CR: bool, which of them.

    Returns:
        Pulses that it took.
    """
    # Under a name of its own, so that a bill tells moves from lessons.
    ledger = Ledger()
    ledger.lesson = chip.ledger.lesson
    write_by_pulses(
        tile, held_CR, Bill(ledger, chip.circuit.costs), _gentle(tile, chip.spec.verify),
        only_CR=only_CR, now_s=chip.clock_s,
    )  # fmt: skip
    pulses = 0
    for _, _, op, count, energy_aj, time_ps in ledger.state():
        name = "move" if op == "pulse" else op
        pulses += count * (op == "pulse")
        chip.ledger.charge_total(
            name, tile=tile.name, count=count, energy_aj=energy_aj, time_ps=time_ps
        )
    return pulses


def _gentle(tile: Crossbar, verify: Verify) -> Verify:
    """A write that does not wear what it is meant to spare.

    Half a step of a pulse is as near as pulses get on average, and a cell that a swing through its
    whole range does not bring there will not come for more.
    """
    return Verify(
        tolerance=max(verify.tolerance, 1.0 / swing(tile)),
        rounds=min(verify.rounds, _ROUNDS),
        longest=min(verify.longest, round(swing(tile))),
    )


def swing(tile: Crossbar) -> float:
    """Pulses that bring a weight through its whole range, by the mean step; at least 1."""
    return max(1.0, 2.0 * float(tile.scale[0]) / tile.weight_step)


def _pulses(ledger: Ledger, op: str) -> Counter[str]:
    """Pulses by tile; the bill is read once, as it is long where tiles are many."""
    found: Counter[str] = Counter()
    for tile, _, charged, count, *_ in ledger.state():
        found[tile] += count if charged == op else 0
    return found
