"""The cells behind a block of weights, of any material.

Legend: C columns (outputs), R rows (inputs x kernel), M = C R weights, N vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.chip import kernels, reference
from clnf.chip.crossbar.mapping import Mapping
from clnf.chip.crossbar.outer import ONE_BY_ONE, TRAIN_BITS, How, encoded, pulsing
from clnf.chip.crossbar.wires import Wires, effective_conductance
from clnf.core.rng import fold
from clnf.devices import pulse_reference, pulses
from clnf.devices.cell import Cell, Unknown
from clnf.devices.counting import BATCH
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key, hash_normals
from clnf.devices.noise import RelativeNoise
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.response import cell_traits, fresh_cells
from clnf.devices.trains import Trains

__all__ = ["Crossbar", "Make"]

_TENSORS = (
    "hidden", "seen", "wear", "fence", "trait", "born_s", "scale", "compensation", "expected",
)  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class Make:
    """What a crossbar is made of.

    Attributes:
        cell: one memory cell.
        mapping: how a weight lies on cells.
        wires: resistances around the cells; None for none.
        noisy: reads are noisy.
        kernels: use compiled kernels on the CPU.
    """

    cell: Cell
    mapping: Mapping = Mapping()
    wires: Wires | None = None
    noisy: bool = True
    kernels: bool = True


@final
class Crossbar:
    """Cells, their state, and what a read of them gives.

        weight_CR = scale_C compensation_C sum_p (+-) coefficient w_p

    Cells that are pulsed come formed, at w = 0; all others hold nothing until they are written.
    Pulses of one operation all go to one plane, the next operation takes the next plane: the
    multi-memristive synapse with one global selection counter (Boybat et al., Nat. Commun. 2018).
    Planes that count down get opposite pulses.

    Attributes:
        hidden: w of each cell as pulses move it, [planes, M].
        seen: w with the write noise that a read sees; the same tensor where there is none.
        wear: pulses so far, [planes, M].
        trait: what the last write fixed of a cell's drift, [planes, M].
        born_s: when that was, [planes, M].
        fence: share of pulses let through to a weight, [M].
        scale: weight at full scale, [C].
        compensation: digital factor against mean drift, [C].
        expected: summed magnitudes at programming, what compensation compares with, [C].
        fast: cells beside these that gather gradients, see
            :func:`clnf.chip.updates.fast.attach`.
        gamma: what a read of a weight adds of theirs.
        waiting: their state, loaded before there were any.
    """

    def __init__(self, name: str, rows: slice, columns: slice, seed: int, make: Make) -> None:
        self.name, self.rows, self.columns = name, rows, columns
        self.seed, self.make, self.cell = fold(seed, "tile", name), make, make.cell
        self.shape = (columns.stop - columns.start, rows.stop - rows.start)
        self.size = self.shape[0] * self.shape[1]
        self.planes = make.mapping.planes
        self.pulsed = not isinstance(make.cell.response, Unknown)
        self.drifts = not isinstance(make.cell.drift, Unknown)
        self.operations, self.events, self.formed = 0, 0, self.pulsed
        self._spent = 0  # longest trains since windows were last closed
        low, high = make.cell.bounds
        self._per_w = make.mapping.coefficient * 2 / (high - low)
        pulsed = make.cell.response
        self._step = 0.0 if isinstance(pulsed, Unknown) else pulsed.typical_step
        self._law = make.cell.law() if self.pulsed else torch.empty(0)
        self._tables: list[Tensor] = []
        cells = self._form()
        self.hidden, self.wear = (
            t.view(self.planes, self.size) for t in (cells.hidden, cells.wear)
        )
        noisy = cells.seen is not cells.hidden
        self.seen = cells.seen.view(self.planes, self.size) if noisy else self.hidden
        drifting = (self.planes, self.size) if self.drifts else (0, 0)
        self.trait, self.born_s = torch.zeros(drifting), torch.zeros(drifting)
        self.fence, self._fenced = torch.ones(self.size), False
        self.scale, self.compensation, self.expected = (
            torch.full((self.shape[0],), v) for v in (1.0, 1.0, 0.0)
        )
        self._wires: tuple[tuple[int, int, float], Tensor] | None = None
        self.fast: Crossbar | None = None
        self.gamma = 0.0
        self.waiting: dict[str, Any] = {}

    def _form(self) -> Cells:
        count, compiled = self.planes * self.size, self.make.kernels
        if not isinstance(self.cell.response, Unknown):
            table = cell_traits(self.cell.response, count, self.seed, compiled=compiled)
            cells = fresh_cells(self.cell.response, table, self.seed, compiled=compiled)
            self._tables = [part.contiguous() for part in table.split(self.size, dim=1)]
            if self.cell.response.write_noise == 0.0:
                return cells._replace(seen=cells.hidden)
            return cells
        w = torch.full((count,), self.cell.bounds[0])
        return Cells(w, w, torch.zeros(count, dtype=torch.int32))

    def move(self, device: torch.device) -> torch.device:
        """Let the cells' state live on a device, and say where it lived; nothing else changes."""
        home = self.wear.device
        if home != device:
            shared = self.seen is self.hidden
            for name in _TENSORS:
                setattr(self, name, getattr(self, name).to(device))
            self.seen = self.hidden if shared else self.seen
            self._tables = [table.to(device) for table in self._tables]
            self._wires = None
        if self.fast is not None:
            self.fast.move(device)
        return home

    @property
    def cells_per_weight(self) -> int:
        """Cells that a read of one weight passes through."""
        return self.planes + (self.fast.planes if self.fast and self.gamma else 0)

    @property
    def is_programmed(self) -> bool:
        """Whether the cells hold anything."""
        return self.formed

    @property
    def weight_step(self) -> float:
        """Mean change of a weight by one pulse in the middle of its range, in weight units."""
        self.cell.need(self.cell.response)
        return float(self.scale[0]) * self._step * self._per_w

    def normals(self, *place: str | int, planes: int = 0) -> Tensor:
        """Standard normals of a place: [planes, M], or [C, R] where ``planes`` is 0."""
        shape = (planes, self.size) if planes else self.shape
        device, compiled = self.wear.device, self.make.kernels
        return hash_normals(self.seed, place, shape, device=device, compiled=compiled)

    def weights_now(self, now_s: float) -> Tensor:
        """The w of every cell at a time, drifted, [planes, M]."""
        if not self.drifts or not self.formed:
            return self.seen
        drift = self.cell.need(self.cell.drift)
        age_s = (now_s - self.born_s).clamp_(min=0.0)
        programmed_s = self.cell.conductance_s(self.seen)
        return self.cell.weight(drift.at(programmed_s, self.trait, age_s))

    def relax(self, kept: float) -> None:
        """Let every state relax towards the lower end of the window: a share ``kept`` stays."""
        low = self.cell.bounds[0]
        for tensor in (self.hidden,) if self.seen is self.hidden else (self.hidden, self.seen):
            tensor.sub_(low).mul_(kept).add_(low)
        self.events += 1

    def conductance_s(self, now_s: float) -> Tensor:
        """Conductance of every cell at a time, S, [planes, C, R]."""
        return self.cell.conductance_s(self.weights_now(now_s)).view(self.planes, *self.shape)

    def view(self, now_s: float) -> tuple[Tensor, Tensor]:
        """Weights as read now and the variance of one read, both [C, R]."""
        noise, wires = self.cell.noise, self.make.wires
        full = (self.scale * self.compensation)[:, None]
        plain = isinstance(noise, (Unknown, RelativeNoise))
        if plain and not self.drifts and wires is None:
            weight, variance = self._sum_planes(noise)
        else:
            weight, variance = self._sum_laws(now_s)
        weight, variance = weight.mul_(full), variance.mul_(full.square())
        if self.fast is not None and self.gamma:
            for mine, its in zip((weight, variance), self.fast.view(now_s), strict=True):
                mine.add_(its, alpha=self.gamma if mine is weight else self.gamma**2)
        return weight, variance

    def _sum_planes(self, noise: Any) -> tuple[Tensor, Tensor]:
        weight, variance = (torch.empty(self.size, device=self.wear.device) for _ in range(2))
        relative, middle = 0.0, 0.0
        if isinstance(noise, RelativeNoise) and self.make.noisy:
            window, (low, high) = self.cell.need(self.cell.window), self.cell.bounds
            relative, middle = noise.fraction, window.low_s * (high - low) / window.span_s - low
        noises = torch.tensor([self._per_w * self.planes, relative, middle])
        job = (self.seen, noises, weight, variance)
        run(kernels.plane_sums, reference.plane_sums, job, compiled=self.make.kernels)
        return weight.view(self.shape), variance.view(self.shape)

    def _sum_laws(self, now_s: float) -> tuple[Tensor, Tensor]:
        w = self.weights_now(now_s)
        low, high = self.cell.bounds
        per_s = self._per_w * (high - low) / self.cell.need(self.cell.window).span_s
        now = self.cell.conductance_s(w)
        variance = torch.zeros(self.size, device=w.device)
        if self.make.noisy and not isinstance(self.cell.noise, Unknown):
            programmed_s = self.cell.conductance_s(self.seen)
            sigma_s = self.cell.noise.sigma(programmed_s, now, self._since_s(now_s))
            variance = sigma_s.mul_(per_s).square_().sum(0)
        if self.make.wires is not None:
            now = now * self._attenuation(now, now_s)
        pairs = now.view(self.make.mapping.pairs, 2, self.size)
        weight = (pairs[:, 0] - pairs[:, 1]).sum(0).mul_(per_s)
        return weight.view(self.shape), variance.view(self.shape)

    def _since_s(self, now_s: float) -> float:
        """Time since the oldest write; nothing is read sooner than a second after it."""
        if isinstance(self.cell.drift, Unknown):
            return max(now_s, 1.0)
        return max(now_s - float(self.born_s.min()), 1.0) + self.cell.drift.since_s

    def _attenuation(self, now: Tensor, now_s: float) -> Tensor:
        """What wires leave of each cell, solved anew when a cell was written or has drifted."""
        state = (self.operations, self.events, now_s if self.drifts else 0.0)
        if self._wires is None or self._wires[0] != state:
            wires = self.make.wires
            assert wires is not None
            cells = now.view(self.planes, *self.shape)
            solved = torch.stack([effective_conductance(plane.T, wires).T for plane in cells])
            # A cell of no conductance still carries what reaches its column by other ways.
            ratio = solved.reshape(self.planes, self.size) / now.clamp(min=1e-30)
            self._wires = (state, torch.where(now > 0, ratio, torch.zeros_like(ratio)))
        return self._wires[1]

    def read_of(self, state: dict[str, Any], now_s: float) -> Tensor:
        """Weights that cells would show now had they kept a state of :meth:`state`, [C, R]."""
        mine = self.seen, self.trait, self.born_s
        kept = [state.get("seen", state["hidden"]), state["trait"], state["born_s"]]
        self.seen, self.trait, self.born_s = (t.to(self.wear.device) for t in kept)
        weight, _ = self.view(now_s)
        self.seen, self.trait, self.born_s = mine
        return weight

    def column_scale(self) -> Tensor:
        """Weight at full scale of each column, [C]; the unit of the ADC's range."""
        return (self.scale * self.compensation).clamp(min=1e-12)

    def set_fence(self, mask_CR: Tensor) -> None:
        """Shares of pulses let through, in [0, 1]."""
        self.fence.copy_(mask_CR.reshape(-1))
        self._fenced = bool((self.fence < 1.0).any())
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
        peak_x, peak_d = float(rows_NR.abs().max()), float(columns_NC.abs().max())
        if peak_x == 0.0 or peak_d == 0.0:
            return 0, 0, 0
        both = rate / (self.weight_step * TRAIN_BITS)
        scale_x, scale_d = (both * peak_d / peak_x) ** 0.5, (both * peak_x / peak_d) ** 0.5
        most = BATCH if how.together else len(rows_NR)
        parts = zip(rows_NR.split(most), columns_NC.split(most), strict=True)
        done = [self._outer(x * scale_x, d * scale_d, how, now_s) for x, d in parts]
        counts, energies, longest = zip(*done, strict=True)
        return sum(counts), sum(energies), max(longest)

    def _outer(
        self, rows_NR: Tensor, columns_NC: Tensor, how: How, now_s: float
    ) -> tuple[int, int, int]:
        """One operation of trains on the plane whose turn it is."""
        plane, self.operations = self._next_plane(), self.operations + 1
        place = ("outer", self.operations)
        # Evenly spread trains keep their phases from operation to operation.
        seeds = [hash_key(self.seed, *(("even",) if how.even else place), line) for line in "xd"]
        lines = (-rows_NR if plane % 2 else rows_NR).contiguous(), columns_NC.contiguous()
        words = encoded(lines, how, seeds, self.operations, compiled=self.make.kernels)
        job = Trains(*words, self.fence.view(self.shape), self._fenced, plane * self.size)
        key, (kernel, plain) = hash_key(self.seed, *place, words=6), pulsing(how)
        return self._apply(kernel, plain, job, plane, key, now_s)

    def _apply(
        self,
        kernel: Callable[..., Any],
        plain: Callable[..., Any],
        job: PulseJob | Trains,
        plane: int,
        key: NDArray[np.uint32],
        now_s: float,
    ) -> tuple[int, int, int]:
        """Pulse one plane. A pulsed cell goes on from where it has drifted to, and drifts anew."""
        cells = Cells(self.hidden[plane], self.seen[plane], self.wear[plane])
        args = (job, cells, self._law, self._tables[plane], key)
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
        self._wear_out(plane, moved[2])
        return moved

    def _wear_out(self, plane: int, longest: int) -> None:
        """Close the windows of worn cells, each time their life is a hundredth shorter."""
        endurance = self.cell.endurance
        if isinstance(endurance, Unknown):
            return
        self._spent += longest
        if self._spent * 100 >= endurance.cycles:
            self._spent = 0
            self._close_windows()

    def _close_windows(self) -> None:
        endurance, response = self.cell.endurance, self.cell.response
        if isinstance(endurance, Unknown) or isinstance(response, Unknown):
            return
        key = hash_key(self.seed, "life")
        for plane in range(self.planes):
            first, compiled = plane * self.size, self.make.kernels
            fresh = cell_traits(response, self.size, self.seed, first=first, compiled=compiled)
            life = endurance.life(self.size, key, first)
            worn, stuck = self.wear[plane].cpu(), self.hidden[plane].cpu()
            self._tables[plane] = endurance.wear(fresh, worn, life, stuck).to(self.wear.device)

    def _next_plane(self) -> int:
        if not self.pulsed:
            self.cell.need(self.cell.response)
        taught = self.make.mapping.taught
        return taught[self.operations % len(taught)]

    def state(self) -> dict[str, Any]:
        """Tensors and JSON values.

        Windows are closed for it, so that who goes on from here and who resumes stay alike.
        """
        if self._spent:
            self._spent = 0
            self._close_windows()
        tensors = {name: getattr(self, name) for name in _TENSORS}
        if self.seen is self.hidden:
            del tensors["seen"]
        counters = {"operations": self.operations, "events": self.events, "formed": self.formed}
        fast = {} if self.fast is None else self.fast.state()
        return tensors | counters | {f"fast/{key}": value for key, value in fast.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        for name in _TENSORS:
            if name in state:
                getattr(self, name).copy_(state[name])
        self.operations, self.events = int(state["operations"]), int(state["events"])
        self.formed, self._fenced = bool(state["formed"]), bool((self.fence < 1.0).any())
        self._spent, self._wires = 0, None
        self._close_windows()
        own = {k.removeprefix("fast/"): v for k, v in state.items() if k.startswith("fast/")}
        if self.fast is None:
            self.waiting = own  # until a rule asks for fast cells
        elif own:
            self.fast.load_state(own)
