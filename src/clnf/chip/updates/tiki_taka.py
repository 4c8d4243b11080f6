"""Tiki-Taka: gradients gather on fast cells A and are handed on to the slow cells C row by row.

    A <- A - f d x                  as pulses, f the fast learning rate
    v <- read of one row of A       the next row every few vectors, through noise and converter
    tiki_taka:    C <- C + (lr / f) v                     as stochastic pulses
    tiki_taka_2:  H <- H + (lr / f) v                     digital; where |H| reaches a pulse of C,
                                                          C is pulsed and H keeps the rest
    chopped:      H <- H + (lr / f) s v                   A gets s d x; signs s of rows and
                                                          columns flip by chance
    agad:         H <- H + (lr / f) s (v - p)             p: running mean of v before s last flipped

A forgets: its pulses up and down do not weigh the same, so it decays towards its symmetry point.
What it holds is a running sum of gradients, and a gradient counts as often as it is read before
it is forgotten, or until its sign flips. lr is what one read of it moves. Version 1 and 2 need
the read to be 0 at the symmetry point, see :func:`clnf.chip.updates.fast.zero_shift`; chopping
averages an offset away, and agad takes it off.

A batch's vectors come first, then its transfers, each row at most once. One by one (``together``
False) the transfers stand between the vectors: A then goes the same way, as a read does not change
it, but rows are read before the rest of the batch has reached them, and flips of signs act at
once instead of from the next batch on.

Simplified: flips come by chance with one rate, agad has no schedule of its own; what chooses f
takes maxima over a batch.

Source: Gokmen & Haensch, Front. Neurosci. 2020 (v1); Gokmen, Front. AI 2021 (v2); Rasch et al.,
Nat. Commun. 2024, "Fast and robust analog in-memory deep neural network training" (chopped v2,
dynamic reference).

Legend: N vectors, K lines read, C columns, R rows.
"""

from dataclasses import replace
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.chip.circuit import ReadCharges
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.lines import peaks
from clnf.chip.crossbar.outer import TRAIN_BITS, How
from clnf.chip.updates.fast import attach, read_lines, shift_cycles, zero_shift
from clnf.chip.updates.mixed import charge_digital, pay_out
from clnf.chip.updates.outer import charge_pulses
from clnf.chip.updates.rule import PulseRule
from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND
from clnf.core.rng import torch_rng

__all__ = ["TikiTaka"]

_PEAK_MEMORY = 0.99
# Additions and multiplications for each number handed on.
_WORK = {"tiki_taka": (0, 1), "tiki_taka_2": (2, 2), "chopped": (2, 2), "agad": (4, 4)}


class _Book(NamedTuple):
    """What is remembered of one tile: matrices of its own part, signs, counters."""

    hidden: Tensor
    past: Tensor
    now: Tensor
    signs_R: Tensor
    signs_C: Tensor
    fresh_R: Tensor
    counters: dict[str, Any]


@final
class TikiTaka:
    """Fast cells beside the tiles of some layers.

    Args:
        rule: one of the modes with fast cells.
        bill: where to charge.
        layers: whose tiles get fast cells, unless they have them.
    """

    def __init__(self, rule: PulseRule, bill: Bill, layers: list[AbstractAnalog]) -> None:
        self.rule, self.bill = rule, bill
        for layer in layers:
            for tile in layer.tiles:
                self._equip(layer, tile)
            if rule.transfer.gamma:
                layer.charges = ReadCharges(layer.tiles, layer.spots, layer.wiring, layer.circuit)
                layer.refresh()

    def _equip(self, layer: AbstractAnalog, tile: Crossbar) -> None:
        transfer, spec = self.rule.transfer, layer.circuit.spec
        own = spec if transfer.material is None else replace(spec, plastic=transfer.material)
        fast = attach(tile, own.make(plastic=True), transfer.gamma)
        cycles, response = transfer.shift_cycles, fast.cell.need(fast.cell.response)
        if self.rule.mode == "agad" or fast.operations:
            return
        cycles = shift_cycles(response) if cycles is None else cycles
        zero_shift(fast, cycles, self.bill, spec.verify, layer.circuit.now_s)

    def apply(
        self,
        layer: AbstractAnalog,
        captured: list[tuple[list[Tensor], Tensor]],
        lr: float,
        state: dict[str, Any],
    ) -> None:
        """Gather what backward passes left on a layer's fast cells, and hand rows on."""
        moved = False
        for driven, grad in captured:
            for index, tile in enumerate(layer.tiles):
                book = self._book(layer, index, state)
                rows, columns = layer.unfolded(driven, tile), layer.sensed(grad, tile)
                most = len(rows) if self.rule.together else 1
                for x, d in zip(rows.split(most), columns.split(most), strict=True):
                    moved |= self._step(layer, tile, book, (x, d), lr)
        if moved or self.rule.transfer.gamma:
            layer.refresh()

    def _book(self, layer: AbstractAnalog, index: int, state: dict[str, Any]) -> _Book:
        """A tile's part of what the optimizer remembers of a weight."""
        tile, weight = layer.tiles[index], layer.weight
        if f"signs/{index}" not in state:
            columns, rows = tile.shape
            ones = torch.ones(2 * rows + columns, device=weight.device)
            state[f"signs/{index}"] = ones
            state[f"counters/{index}"] = {"next": 0, "owed": 0, "x": 0.0, "d": 0.0}
            for name in ("hidden", "past", "now"):
                state.setdefault(name, torch.zeros_like(weight.data))
        hidden, past, now = (
            layer.matrix(state[n])[tile.columns, tile.rows] for n in ("hidden", "past", "now")
        )
        columns, rows = tile.shape
        signs_R, fresh_R, signs_C = state[f"signs/{index}"].split([rows, rows, columns])
        counters = state[f"counters/{index}"]
        return _Book(hidden, past, now, signs_R, signs_C, fresh_R, counters)

    def _step(
        self,
        layer: AbstractAnalog,
        tile: Crossbar,
        book: _Book,
        pair: tuple[Tensor, Tensor],
        lr: float,
    ) -> bool:
        """Gather one operation's vectors and hand on what is due; whether C was pulsed."""
        fast, transfer, count = tile.fast, self.rule.transfer, book.counters
        assert fast is not None
        x, d = pair
        rate = self._rate(fast, count, x, d)
        if rate > 0.0:
            if transfer.chop and self.rule.mode in ("chopped", "agad"):
                x, d = x * book.signs_R, d * book.signs_C
            how, now_s = How(together=self.rule.together), layer.circuit.now_s
            charge_pulses(
                self.bill,
                fast,
                fast.pulse_outer(x, d, rate, how=how, now_s=now_s),
                len(x) * 2 * TRAIN_BITS,
            )
        rows = tile.shape[1]
        owed = count["owed"] + len(x)
        count["owed"], due = owed % transfer.every, min(owed // transfer.every, rows)
        if not due or rate == 0.0:
            return False
        first = count["next"]
        count["next"] = (first + due) % rows
        lines = torch.arange(first, first + due, device=x.device) % rows
        v = read_lines(fast, lines, layer.circuit.now_s, adc_bits=_bits(layer))
        self._charge_read(fast, due)
        charge_digital(self.bill, fast.name, v.numel(), *_WORK[self.rule.mode])
        if self.rule.mode == "tiki_taka":
            return self._hand_on(layer, tile, lines, v * (lr / rate))
        self._collect(book, lines, v, lr / rate)
        if self.rule.mode != "tiki_taka_2":
            self._flip(fast, book, lines, wrapped=first + due >= rows)
        return self._pay(layer, tile, book, lines)

    def _rate(self, fast: Crossbar, count: dict[str, Any], x: Tensor, d: Tensor) -> float:
        """The fast learning rate; 0 while there has been nothing to learn."""
        transfer = self.rule.transfer
        if transfer.fast_lr is not None:
            return transfer.fast_lr
        both_peaks = peaks(x.contiguous(), d.contiguous(), compiled=fast.make.kernels)
        for name, peak in zip("xd", both_peaks, strict=True):
            keep = _PEAK_MEMORY if count[name] > 0.0 else 0.0
            count[name] = keep * count[name] + (1.0 - keep) * peak
        both: float = count["x"] * count["d"]
        return transfer.fast_pulses * fast.weight_step / both if both > 0.0 else 0.0

    def _charge_read(self, fast: Crossbar, lines: int) -> None:
        """Charge rows read one after the other, every column converted."""
        costs, columns = self.bill.costs, fast.shape[0]
        time_ps = lines * round(costs.mvm_s * PICOSECONDS_PER_SECOND)
        counts = (
            ("read", lines * columns * fast.planes, costs.cell_read_j, time_ps),
            ("dac", lines, costs.dac_j, 0),
            ("adc", lines * columns, costs.adc_j, 0),
        )
        for op, count, each_j, spent_ps in counts:
            energy_aj = count * round(each_j * ATTOJOULES_PER_JOULE)
            self.bill.ledger.charge_total(
                op, tile=fast.name, count=count, energy_aj=energy_aj, time_ps=spent_ps
            )

    def _hand_on(self, layer: AbstractAnalog, tile: Crossbar, lines: Tensor, v: Tensor) -> bool:
        """Version 1: each row read goes to the same row of C as stochastic pulses."""
        one_hot = torch.zeros(len(lines), tile.shape[1], device=v.device)
        one_hot[torch.arange(len(lines), device=v.device), lines] = 1.0
        how, now_s = How(together=self.rule.together), layer.circuit.now_s
        moved = tile.pulse_outer(one_hot, -v, 1.0, how=how, now_s=now_s)
        charge_pulses(self.bill, tile, moved, len(lines) * 2 * TRAIN_BITS)
        return moved[0] > 0

    def _collect(self, book: _Book, lines: Tensor, v_KC: Tensor, gain: float) -> None:
        """Add what was read to the digital matrix, by sign and relative to the reference."""
        value = v_KC
        if self.rule.mode == "agad":
            value = v_KC - book.past[:, lines].T
            memory = torch.where(book.fresh_R[lines] > 0, 1.0, self.rule.transfer.memory)
            mean = book.now[:, lines].T
            book.now[:, lines] = (mean + memory[:, None] * (v_KC - mean)).T
            book.fresh_R[lines] = 0.0
        if self.rule.mode != "tiki_taka_2":
            value = value * book.signs_R[lines, None] * book.signs_C
        book.hidden.index_add_(1, lines, value.T, alpha=gain)

    def _flip(self, fast: Crossbar, book: _Book, lines: Tensor, *, wrapped: bool) -> None:
        """Turn signs by chance; what was read before becomes the reference."""
        transfer = self.rule.transfer
        rng = torch_rng(fast.seed, "chop", fast.operations, int(lines[0]))
        turned = lines[(torch.rand(len(lines), generator=rng) < transfer.chop).to(lines.device)]
        book.signs_R[turned] *= -1.0
        book.past[:, turned] = book.now[:, turned]
        book.fresh_R[turned] = 1.0
        if wrapped and transfer.chop_columns:
            draw = torch.rand(len(book.signs_C), generator=rng) < transfer.chop_columns
            over = torch.nonzero(draw).squeeze(1).to(lines.device)
            book.signs_C[over] *= -1.0
            book.past[over] = book.now[over]

    def _pay(self, layer: AbstractAnalog, tile: Crossbar, book: _Book, lines: Tensor) -> bool:
        """Pulse C where a whole pulse has come together."""
        owed = book.hidden[:, lines]
        due = pay_out(owed, tile.weight_step, self.rule)
        if not bool(due.any()):
            return False
        book.hidden[:, lines] = owed
        now_s = layer.circuit.now_s
        if tile.cell.need(tile.cell.response).kind == "linear":
            moved = tile.pulse_lines(lines, due, now_s=now_s)
        else:
            train = torch.zeros(tile.shape, device=due.device)
            train[:, lines] = due
            moved = tile.pulse(train, now_s=now_s)
        charge_pulses(self.bill, tile, moved, moved[2] * len(lines))
        return moved[0] > 0


def _bits(layer: AbstractAnalog) -> int:
    return layer.circuit.spec.adc_bits if layer.circuit.converting else 0
