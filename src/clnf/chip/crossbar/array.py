"""A crossbar: cells that are read and pulsed.

Legend: C columns (outputs), R rows (inputs x kernel), M = C R weights, N vectors.
"""

import math
import operator
from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.chip.crossbar.cells import AbstractCells
from clnf.chip.crossbar.disturb import disturb
from clnf.chip.crossbar.lines import LINES, peaks
from clnf.chip.crossbar.make import Make
from clnf.chip.crossbar.outer import (
    BATCHED,
    ONE_BY_ONE,
    PRODUCTS,
    TRAIN_BITS,
    Hand,
    How,
    Ready,
    encoded,
    pulsing,
)
from clnf.core.errors import ConfigError
from clnf.devices import pulse_reference, pulses
from clnf.devices.batch_maths import paces
from clnf.devices.batch_moves import Lines, Products, Vectors, pulse_vectors
from clnf.devices.bit_counts import BATCH
from clnf.devices.cell import Unknown
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key, hash_words
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.trains import Trains

__all__ = ["Crossbar"]


@final
class Crossbar(AbstractCells):
    """Cells that are read and pulsed.

    Pulses of one operation all go to one plane, the next operation takes the next plane: the
    multi-memristive synapse with one global selection counter (Boybat et al., Nat. Commun. 2018).
    Planes that count down get opposite pulses.

    Attributes:
        fast: cells beside these that gather gradients, see
            :func:`clnf.chip.updates.fast.attach`.
        gamma: what a read of a weight adds of theirs.
        waiting: their state, loaded before there were any.
    """

    def __init__(self, name: str, rows: slice, columns: slice, seed: int, make: Make) -> None:
        super().__init__(name, rows, columns, seed, make)
        self.fast: Crossbar | None = None
        self.gamma = 0.0
        self.waiting: dict[str, Any] = {}
        # Views of planes, and what was worked out of tables of traits: for speed alone.
        self._views: dict[int, tuple[tuple[Tensor, ...], Cells]] = {}
        self._paces: dict[int, tuple[Tensor, Tensor]] = {}
        self._hands: dict[int, Hand] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what is loaded, has tensors of its own and must look at them anew."""
        return {**vars(self), "_views": {}, "_paces": {}, "_hands": {}}

    def move(self, device: torch.device) -> torch.device:
        """Let the cells' state live on a device, and say where it lived; nothing else changes."""
        if self.fast is not None:
            self.fast.move(device)
        return self.move_own(device)

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was done to these cells since they were made."""
        done = self.operations or self.events or self.fenced or self.uneven is not None
        return not done and self.fast is None

    @property
    def cells_per_weight(self) -> int:
        """Cells that a read of one weight passes through."""
        return self.planes + (self.fast.planes if self.fast and self.gamma else 0)

    def view(self, now_s: float) -> tuple[Tensor, Tensor]:
        """Weights as read now and the variance of one read, both [C, R]."""
        weight, variance = self.view_slices(now_s)
        return weight.sum(0), variance.sum(0)

    def view_slices(self, now_s: float) -> tuple[Tensor, Tensor]:
        """What each slice adds to the weights and to their variance, both [slices, C, R]."""
        weight, variance = self.own_slices(now_s)
        if self.fast is not None and self.gamma:
            more, noise = self.fast.own_slices(now_s)
            weight.add_(more, alpha=self.gamma)
            variance.add_(noise, alpha=self.gamma**2)
        return weight, variance

    def read_of(self, state: dict[str, Any], now_s: float) -> Tensor:
        """Weights that cells would show now had they kept a state of :meth:`state`, [C, R]."""
        mine = self.seen, self.trait, self.born_s
        kept = [state.get("seen", state["hidden"]), state["trait"], state["born_s"]]
        self.seen, self.trait, self.born_s = (t.to(self.wear.device) for t in kept)
        weight, _ = self.view(now_s)
        self.seen, self.trait, self.born_s = mine
        return weight

    def set_fence(self, mask_CR: Tensor) -> None:
        """Shares of pulses let through, in [0, 1]."""
        self.fence.copy_(mask_CR.reshape(-1))
        self.fenced = bool((self.fence < 1.0).any())
        if self.fast is not None:
            self.fast.set_fence((mask_CR > 0).float())

    def pulse(
        self, train_CR: Tensor, *, fenced: bool = True, now_s: float = 0.0, plane: int | None = None
    ) -> tuple[int, int, int]:
        """Apply signed pulses, [C, R], to one plane.

        Args:
            train_CR: positive raises the weight.
            fenced: honour the fence; a roll-back does not.
            now_s: simulated time, from which pulsed cells drift anew.
            plane: which one; None for the one whose turn it is.

        Returns:
            Pulses applied, energy in aJ, longest train.
        """
        plane = self._next_plane() if plane is None else plane
        train = train_CR.reshape(-1).to(torch.int16)
        train = train.neg() if plane % 2 else train.contiguous()
        fence = self.fence if fenced else torch.ones_like(self.fence)
        key = hash_key(self.seed, "pulse", self.operations, words=6)
        self.operations += 1
        job = PulseJob(train, fence, plane * self.size)
        return self._apply(pulses.pulse_cells, pulse_reference.pulse_cells, job, plane, key, now_s)

    def pulse_lines(
        self, lines_K: Tensor, train_CK: Tensor, *, now_s: float = 0.0
    ) -> tuple[int, int, int]:
        """Apply signed pulses to some rows, selected one after the other, of one plane.

        As :meth:`pulse` does, but the work goes with the pulses; several pulses of one cell have
        one draw of noise, as in :mod:`clnf.devices.batch_maths`.

        Args:
            lines_K: rows, each at most once.
            train_CK: whole numbers for each column; positive raises the weight.
            now_s: simulated time, from which pulsed cells drift anew.

        Returns:
            Pulses applied, energy in aJ, longest train.
        """
        plane, self.operations = self._next_plane(), self.operations + 1
        key = hash_key(self.seed, "lines", self.operations, words=6)
        train = -train_CK if plane % 2 else train_CK.contiguous()
        fence = self.fence.view(self.shape)
        job = Lines(lines_K, train, fence, self.fenced, plane * self.size)
        return self._apply(*LINES, job, plane, key, now_s)

    def pulse_outer(
        self,
        rows_NR: Tensor,
        columns_NC: Tensor,
        rate: float,
        *,
        how: How = ONE_BY_ONE,
        now_s: float = 0.0,
    ) -> tuple[int, int, int]:
        """Move weights by -rate d x on average, by coincidences of pulse trains.

        Args:
            rows_NR: inputs x of N vectors.
            columns_NC: output gradients d.
            rate: learning rate in weight units; products are cut where a train saturates.
            how: trains of random or evenly spread bits; vectors one by one, or together.
            now_s: simulated time, from which pulsed cells drift anew.

        Returns:
            Pulses applied, energy in aJ, longest sum of coincidences at one cell.
        """
        lines = rows_NR.contiguous(), columns_NC.contiguous()
        ready = self.ready(lines, rate, how)
        if ready is not None:
            return self.finish(ready, pulse_vectors(*ready.job))
        peak_x, peak_d = peaks(*lines, compiled=self.make.kernels)
        if peak_x == 0.0 or peak_d == 0.0:
            return 0, 0, 0
        both = rate / (self.weight_step * TRAIN_BITS)
        scales = math.sqrt(both * peak_d / peak_x), math.sqrt(both * peak_x / peak_d)
        if how.together and len(rows_NR) <= BATCH:
            return self._outer(lines, scales, how, now_s)
        most = BATCH if how.together else len(rows_NR)
        parts = zip(*(line.split(most) for line in lines), strict=True)
        done = [self._outer(part, scales, how, now_s) for part in parts]
        counts, energies, longest = zip(*done, strict=True)
        return sum(counts), sum(energies), max(longest)

    def ready(self, lines: tuple[Tensor, Tensor], rate: float, how: How) -> Ready | None:
        """What :meth:`pulse_outer` does, where one kernel does it: to be run, then finished.

        Args:
            lines: rows [N, R] and columns [N, C], contiguous.
            rate: learning rate in weight units.
            how: as there.

        Returns:
            The job of :func:`clnf.devices.batch_moves.pulse_vectors`; None where it is not enough.
        """
        if not how.together or how.even or len(lines[0]) > BATCH:
            return None
        plane = self._next_plane()
        hand = self._at_hand(plane, lines)
        if hand is None:
            return None
        self.operations += 1
        keys = hash_words(self.seed, "outer", self.operations, words=10)
        step = float(hand.scale[0]) * self._step * self._per_w
        both, sign = rate / (step * TRAIN_BITS), -1.0 if plane % 2 else 1.0
        fence = hand.fence, self.fenced, plane * self.size
        vectors = Vectors(lines[0].numpy(), lines[1].numpy(), both, sign, TRAIN_BITS, *fence)
        return Ready((vectors, hand.cells, hand.law, hand.table, keys), plane)

    def finish(self, ready: Ready, moved: tuple[int, int, int]) -> tuple[int, int, int]:
        """Count what the kernel did; vectors that are all 0 were no operation."""
        if moved[2] < 0:
            self.operations -= 1
            return 0, 0, 0
        self._wear_out(ready.plane, moved[2])
        return moved

    def _at_hand(self, plane: int, lines: tuple[Tensor, Tensor]) -> Hand | None:
        """Arrays of a plane, kept; None where more than one kernel on the CPU is at work."""
        more = self.drifts or self.make.half_select or not self.make.kernels
        table = self.tables[plane]
        held = self.hidden, self.seen, self.wear, self.fence, self.scale, self.law, table
        if more or not (lines[0].is_cpu and lines[1].is_cpu):
            return None
        known = self._hands.get(plane)
        if known is not None and all(map(operator.is_, known.held, held)):
            return known
        if not all(tensor.is_cpu for tensor in held):
            return None
        cells = Cells(*(tensor.numpy() for tensor in self._cells(plane)))
        law, traits = self.law.numpy(), self._table(plane, PRODUCTS[0]).numpy()
        fence = self.fence.view(self.shape).numpy()
        known = Hand(cells, law, traits, fence, self.scale.numpy(), held)
        self._hands[plane] = known
        return known

    def _outer(
        self, lines: tuple[Tensor, Tensor], scales: tuple[float, float], how: How, now_s: float
    ) -> tuple[int, int, int]:
        """One operation of trains on the plane whose turn it is; lines are rows and columns."""
        plane, self.operations = self._next_plane(), self.operations + 1
        scales = scales[0], (-scales[1] if plane % 2 else scales[1])
        keys = hash_words(self.seed, "outer", self.operations, words=10)
        fence, first = self.fence.view(self.shape), plane * self.size
        job: Products | Trains
        if how.together and not how.even:
            both = np.array(scales, dtype=np.float32)
            job = Products(*lines, both, keys[6:], TRAIN_BITS, fence, self.fenced, first)
            return self._apply(*PRODUCTS, job, plane, keys[:6], now_s)
        compiled, seeds = self.make.kernels, (keys[6:8], keys[8:10])
        if how.even:  # such trains keep their phases from operation to operation
            seeds = hash_key(self.seed, "even", "x"), hash_key(self.seed, "even", "d")
        words = encoded(lines, scales, how, seeds, self.operations, compiled=compiled)
        job = Trains(*words, fence, self.fenced, first)
        return self._apply(*pulsing(how), job, plane, keys[:6], now_s)

    def _apply(
        self,
        kernel: Callable[..., Any],
        plain: Callable[..., Any],
        job: PulseJob | Products | Trains | Lines,
        plane: int,
        key: NDArray[np.uint32],
        now_s: float,
    ) -> tuple[int, int, int]:
        """Pulse one plane. A pulsed cell goes on from where it has drifted to, and drifts anew."""
        cells = self._cells(plane)
        args = (job, cells, self.law, self._table(plane, kernel), key)
        share = self.make.half_select
        start = Cells(*(tensor.clone() for tensor in cells)) if share else cells
        if isinstance(self.cell.drift, Unknown):
            moved: tuple[int, int, int] = run(kernel, plain, args, compiled=self.make.kernels)
        else:
            before = [tensor.clone() for tensor in cells]
            drifted = self.weights_now(now_s)[plane]
            cells.hidden.add_(drifted - cells.seen)
            cells.seen.copy_(drifted)
            moved = run(kernel, plain, args, compiled=self.make.kernels)
            idle = cells.wear == before[2]
            for tensor, kept in zip(cells[:2], before[:2], strict=True):
                tensor.copy_(torch.where(idle, kept, tensor))
            draw = self.normals("drift", self.operations).view(-1)
            trait = self.cell.drift.trait(self.cell.conductance_s(cells.seen), draw)
            self.trait[plane] = torch.where(idle, self.trait[plane], trait)
            self.born_s[plane] = torch.where(idle, self.born_s[plane], now_s)
        if share:
            table = self.tables[plane]
            halves = disturb(cells, start, self.law, table, self.shape, share)
            # Half the voltage over the same cells is a quarter of the energy each.
            moved = moved[0], moved[1] + round(halves * moved[1] / max(moved[0], 1) / 4), moved[2]
        self._wear_out(plane, moved[2])
        return moved

    def _cells(self, plane: int) -> Cells:
        """The state of a plane; views, made anew where the tensors are others."""
        known, mine = self._views.get(plane), (self.hidden, self.seen, self.wear)
        if known is None or any(a is not b for a, b in zip(known[0], mine, strict=True)):
            known = self._views[plane] = mine, Cells(*(tensor[plane] for tensor in mine))
        return known[1]

    def _table(self, plane: int, kernel: Callable[..., Any]) -> Tensor:
        """What a kernel takes of a plane's cells: their traits, or of a batch its paces."""
        table = self.tables[plane]
        if kernel not in BATCHED:
            return table
        known = self._paces.get(plane)
        if known is None or known[0] is not table:
            known = self._paces[plane] = (table, paces(table, self.law))
        return known[1]

    def _wear_out(self, plane: int, longest: int) -> None:
        """Close the windows of worn cells, each time their life is a hundredth shorter."""
        endurance = self.cell.endurance
        if isinstance(endurance, Unknown):
            return
        self.spent += longest
        if self.spent * 100 >= endurance.cycles:
            self.spent = 0
            self.close_windows()

    def _next_plane(self) -> int:
        if not self.pulsed:
            self.cell.need(self.cell.response)
        taught = self.make.mapping.taught
        if not taught:
            raise ConfigError(
                f"the weights of {self.name} are sliced: they are written, not pulsed"
            )
        return taught[self.operations % len(taught)]

    def state(self) -> dict[str, Any]:
        """Tensors and JSON values."""
        fast = {} if self.fast is None else self.fast.state()
        return self.own_state() | {f"fast/{key}": value for key, value in fast.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        self.load_own(state)
        own = {k.removeprefix("fast/"): v for k, v in state.items() if k.startswith("fast/")}
        if self.fast is None:
            self.waiting = own  # until a rule asks for fast cells
        elif own:
            self.fast.load_state(own)
