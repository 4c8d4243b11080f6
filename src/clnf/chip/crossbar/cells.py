"""The state of cells behind a block of weights, of any material, and what a read of it gives.

Legend: C columns (outputs), R rows (inputs x kernel), M = C R weights.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clnf.chip import kernels, reference
from clnf.chip.crossbar.attenuation import Attenuation, solution, solve
from clnf.chip.crossbar.make import Make
from clnf.chip.crossbar.spares import Spares
from clnf.core.rng import fold
from clnf.devices.cell import Unknown
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key, hash_normals
from clnf.devices.noise import RelativeNoise
from clnf.devices.pulses import Cells
from clnf.devices.response import cell_traits, fresh_cells
from clnf.devices.writing import drift_numbers, drifted

__all__ = ["AbstractCells"]

_TENSORS = (
    "hidden", "seen", "wear", "fence", "trait", "born_s", "scale", "compensation", "expected",
    "answers",
)  # fmt: skip
# What every cell has of its own: made when it is first asked for, as many cells wait for long.
_EACH = ("tables", "hidden", "wear", "seen", "trait", "born_s", "fence")
_MOST_AT_ONCE = 1 << 18  # cells whose windows are closed together


class AbstractCells(ABC):
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
        tables: steps and bounds of each plane's cells, [4, M], or [4, 1] where all are alike.
        scale: weight at full scale, [C].
        compensation: digital factor against mean drift, [C].
        expected: summed magnitudes at programming, what compensation compares with, [C].
        heat: conductance now over that at 300 K.
        uneven: what each weight's cells conduct over that, [C, R]; None where all are as warm.
        wires: as they are at the temperature now.
        spares: columns beside these, to which lines can be led; None for none.
        answers: products with vectors of signs at programming, likewise, [C, vectors].
        device: where all this lives.
    """

    tables: list[Tensor]
    hidden: Tensor
    seen: Tensor
    wear: Tensor
    trait: Tensor
    born_s: Tensor
    fence: Tensor

    def __init__(self, name: str, rows: slice, columns: slice, seed: int, make: Make) -> None:
        self.name, self.rows, self.columns = name, rows, columns
        self.seed, self.make, self.cell = fold(seed, "tile", name), make, make.cell
        self.shape = (columns.stop - columns.start, rows.stop - rows.start)
        self.size = self.shape[0] * self.shape[1]
        self.planes = make.mapping.planes
        self.pulsed = not isinstance(make.cell.response, Unknown)
        self.drifts = not isinstance(make.cell.drift, Unknown)
        self.operations, self.events, self.formed = 0, 0, self.pulsed
        self.spent = 0  # longest trains since windows were last closed
        low, high = make.cell.bounds
        self._per_w = make.mapping.coefficient * 2 / (high - low)
        pulsed = make.cell.response
        self._step = 0.0 if isinstance(pulsed, Unknown) else pulsed.typical_step
        self.law = make.cell.law() if self.pulsed else torch.empty(0)
        self.device, self.fenced = torch.device("cpu"), False
        self.scale, self.compensation, self.expected = (
            torch.full((self.shape[0],), v) for v in (1.0, 1.0, 0.0)
        )
        self.answers = torch.zeros(self.shape[0], 0)
        spare = make.spare_columns
        self.spares = Spares(make, self.shape, spare, self.seed) if spare else None
        self.solved: Attenuation | None = None
        self.temperature_k: float | None = None
        self.heat, self.wires = 1.0, make.wires
        self.uneven: Tensor | None = None

    if not TYPE_CHECKING:  # types are checked by the names above

        def __getattr__(self, name: str) -> Any:
            """What is not there yet: of what each cell has, it is made now."""
            if name not in _EACH or "device" not in vars(self):
                raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
            self._make_cells()
            return vars(self)[name]

    def _make_cells(self) -> None:
        """All that cells have as they come; what was loaded meanwhile stays."""
        parts, cells = self._form()
        hidden, wear = (t.view(self.planes, self.size) for t in (cells.hidden, cells.wear))
        noisy = cells.seen is not cells.hidden
        seen = cells.seen.view(self.planes, self.size) if noisy else hidden
        trait = torch.zeros((self.planes, self.size) if self.drifts else (0, 0))
        born_s = torch.zeros_like(trait)
        drift = self.make.cell.drift
        if self.pulsed and not isinstance(drift, Unknown):
            place = (self.planes, self.size)
            draw = hash_normals(self.seed, ("drift", 0), place, compiled=self.make.kernels)
            trait = drift.trait(self.make.cell.conductance_s(seen), draw)
        tensors = hidden, wear, seen, trait, born_s, torch.ones(self.size)
        placed = {id(tensor): tensor.to(self.device) for tensor in tensors}
        made = [[part.to(self.device) for part in parts], *(placed[id(t)] for t in tensors)]
        for name, value in zip(_EACH, made, strict=True):
            vars(self).setdefault(name, value)

    def _form(self) -> tuple[list[Tensor], Cells]:
        count, compiled = self.planes * self.size, self.make.kernels
        if not isinstance(self.cell.response, Unknown):
            alike = not self.cell.response.spreads
            lines = 1 if alike else count
            table = cell_traits(self.cell.response, lines, self.seed, compiled=compiled)
            whole = table.expand(-1, count).contiguous()
            cells = fresh_cells(self.cell.response, whole, self.seed, compiled=compiled)
            # Cells that are all alike share one line of traits; worn ones get their own again.
            parts = [table] * self.planes if alike else table.split(self.size, dim=1)
            tables = [part.contiguous() for part in parts]
            if self.cell.response.write_noise == 0.0:
                return tables, cells._replace(seen=cells.hidden)
            return tables, cells
        w = torch.full((count,), self.cell.bounds[0])
        return [], Cells(w, w, torch.zeros(count, dtype=torch.int32))

    def move_own(self, device: torch.device) -> torch.device:
        """Let the state of these cells live on a device, and say where it lived."""
        home, self.device = self.device, device
        if home != device:
            made = vars(self)
            shared = "seen" in made and self.seen is self.hidden
            for name in (one for one in _TENSORS if one in made):
                setattr(self, name, made[name].to(device))
            if shared:
                self.seen = self.hidden
            if "tables" in made:
                self.tables = [table.to(device) for table in self.tables]
            self.uneven = None if self.uneven is None else self.uneven.to(device)
            self.solved = None
        return home

    @property
    def is_programmed(self) -> bool:
        """Whether the cells hold anything."""
        return self.formed

    @property
    def weight_step(self) -> float:
        """Mean change of a weight by one pulse in the middle of its range, in weight units."""
        self.cell.need(self.cell.response)
        return float(self.scale[0]) * self._step * self._per_w

    def normals(
        self, *place: str | int, planes: int = 0, vectors: int = 0, of_columns: bool = False
    ) -> Tensor:
        """Standard normals of a place.

        Args:
            place: see :func:`clnf.core.rng.fold`.
            planes: 0 for [C, R], else [planes, M].
            vectors: 0, else [vectors, R].
            of_columns: with ``vectors``, [vectors, C].
        """
        shape = (planes, self.size) if planes else self.shape
        if vectors:
            shape = (vectors, self.shape[0 if of_columns else 1])
        device, compiled = self.device, self.make.kernels
        return hash_normals(self.seed, place, shape, device=device, compiled=compiled)

    def weights_now(self, now_s: float) -> Tensor:
        """W of every cell at a time, drifted, [planes, M]."""
        if not self.drifts or not self.formed:
            return self.seen
        numbers = drift_numbers(self.cell)
        if numbers is not None:
            job = self.seen.view(-1), self.trait.view(-1), self.born_s.view(-1), now_s, numbers
            return drifted(*job, compiled=self.make.kernels).view_as(self.seen)
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
        return self._warmed(self.cell.conductance_s(self.weights_now(now_s)))

    def _warmed(self, conductance_s: Tensor) -> Tensor:
        """Conductances as they are at the temperature now, in place, [planes, C, R]."""
        now = conductance_s.mul_(self.heat).view(self.planes, *self.shape)
        return now if self.uneven is None else now.mul_(self.uneven)

    def set_temperature(self, temperature_k: float | None, cells_CR: Tensor | None = None) -> None:
        """Read these cells and their wires at a temperature from now on; None: as measured.

        Args:
            temperature_k: of the wires, and of the cells.
            cells_CR: temperatures of each weight's cells, where they differ.
        """
        self.heat, self.wires, self.solved, self.uneven = 1.0, self.make.wires, None, None
        self.temperature_k = temperature_k
        if temperature_k is not None:
            law = self.cell.need(self.cell.temperature)
            self.heat = law.factor(temperature_k)
            self.wires = None if self.wires is None else self.wires.at(temperature_k)
            if cells_CR is not None:
                self.uneven = law.factors(cells_CR.to(self.scale)) / self.heat

    def own_slices(self, now_s: float) -> tuple[Tensor, Tensor]:
        """What each slice of these cells adds to weights and variance, both [slices, C, R]."""
        full = (self.scale * self.compensation * self.heat)[:, None]
        simple = isinstance(self.cell.noise, (Unknown, RelativeNoise)) and not self.drifts
        simple = simple and self.make.mapping.slices == 1
        weight, variance = self._sum_planes(now_s) if simple else self._sum_laws(now_s)
        if self.uneven is not None:
            full = full * self.uneven
        return weight.mul_(full), variance.mul_(full.square())

    @property
    def relative_noise(self) -> tuple[float, float]:
        """Read noise as a share of the conductance, and what makes a conductance of w, in w."""
        relative, middle, noise = 0.0, 0.0, self.cell.noise
        if not isinstance(self.cell.window, Unknown):
            window, (low, high) = self.cell.window, self.cell.bounds
            middle = window.low_s * (high - low) / window.span_s - low
        if isinstance(noise, RelativeNoise) and self.make.noisy:
            self.cell.need(self.cell.window)
            relative = noise.fraction
        return relative, middle

    def _sum_planes(self, now_s: float) -> tuple[Tensor, Tensor]:
        """What no law of drift and noise stands behind, in one compiled pass."""
        weight, variance = (torch.empty(self.size, device=self.device) for _ in range(2))
        kept = torch.empty(0, 0, device=self.device)
        if self.make.wires is not None:
            kept = self.attenuation(now_s)
        noises = torch.tensor([self._per_w * self.planes, *self.relative_noise])
        job = (self.seen, kept, noises, weight, variance)
        run(kernels.plane_sums, reference.plane_sums, job, compiled=self.make.kernels)
        return weight.view(1, *self.shape), variance.view(1, *self.shape)

    def _sum_laws(self, now_s: float) -> tuple[Tensor, Tensor]:
        w = self.weights_now(now_s)
        low, high = self.cell.bounds
        per_s = self._per_w * (high - low) / self.cell.need(self.cell.window).span_s
        now = self.cell.conductance_s(w)
        slices, pairs = self.make.mapping.slices, self.make.mapping.pairs
        factor = torch.tensor(self.make.mapping.factors).to(w.device)[:, None] * per_s
        variance = torch.zeros(slices, *self.shape, device=w.device)
        if self.make.noisy and not isinstance(self.cell.noise, Unknown):
            programmed_s = self.cell.conductance_s(self.seen)
            sigma_s = self.cell.noise.sigma(programmed_s, now, self._since_s(now_s))
            both = sigma_s.square_().view(pairs, 2, -1).sum(1).mul_(factor.square())
            variance = both.view(slices, -1, *self.shape).sum(1)
        if self.make.wires is not None:
            now = now * self.attenuation(now_s, now)
        sides = now.view(pairs, 2, -1)
        weight = (sides[:, 0] - sides[:, 1]).mul_(factor)
        return weight.view(slices, -1, *self.shape).sum(1), variance

    def _since_s(self, now_s: float) -> float:
        """Time since the oldest write; nothing is read sooner than a second after it."""
        if isinstance(self.cell.drift, Unknown):
            return max(now_s, 1.0)
        return max(now_s - float(self.born_s.min()), 1.0) + self.cell.drift.since_s

    def attenuation(self, now_s: float, now: Tensor | None = None) -> Tensor:
        """What wires leave of each cell, [planes, M].

        ``now`` saves working out the conductances without heat once more, S, [planes, M].

        Solved anew when a cell was written or has drifted; or, where wires are carried on, solved
        for the cells as they were when last settled. From there the loss of cells that drift goes
        with the mean conductance of their plane, as it does to first order.
        """
        exact, found = self.make.exact_wires, self.solved
        if found is None or self.is_unsolved(now_s):
            found = solve(self.between_wires(now_s), self.wires, self._been_through(now_s))
            self.solved = found
        if exact or not self.drifts:
            return found.kept
        now = self.cell.conductance_s(self.weights_now(now_s)) if now is None else now
        grown = self._warmed(now.clone()).flatten(1).mean(1, keepdim=True) / found.level
        return 1.0 - (1.0 - found.kept) * grown

    def is_unsolved(self, now_s: float) -> bool:
        """Whether the next read solves the wires first."""
        if self.solved is None:
            return self.make.wires is not None
        return self.make.exact_wires and self.solved.state != self._been_through(now_s)

    def between_wires(self, now_s: float) -> Tensor:
        """Conductances that wires are solved for, S, [planes, C, R]."""
        w = self.weights_now(now_s) if self.make.exact_wires else self.seen
        return self._warmed(self.cell.conductance_s(w))

    def _been_through(self, now_s: float) -> tuple[int, int, float]:
        return self.operations, self.events, now_s if self.drifts else 0.0

    def take_solution(self, effective_s: Tensor, now_s: float) -> None:
        """Take what wires leave of :meth:`between_wires`, S, [planes, C, R], as solved."""
        cells = self.between_wires(now_s)
        self.solved = solution(cells, effective_s, self._been_through(now_s))

    def settle(self) -> None:
        """Have wires solved exactly at the next read."""
        self.solved = None

    def column_scale(self) -> Tensor:
        """Weight at full scale of each column, [C]; the unit of the ADC's range."""
        return (self.scale * self.compensation).clamp(min=1e-12)

    def close_windows(self) -> None:
        """Narrow the bounds of worn cells, and let the dead stand still."""
        endurance, response = self.cell.endurance, self.cell.response
        if isinstance(endurance, Unknown) or isinstance(response, Unknown):
            return
        key, compiled = hash_key(self.seed, "life"), self.make.kernels
        at_once = max(_MOST_AT_ONCE // self.size, 1)
        for start in range(0, self.planes, at_once):
            first, planes = start * self.size, slice(start, min(start + at_once, self.planes))
            worn, stuck = (t[planes].reshape(-1).cpu() for t in (self.wear, self.hidden))
            count = len(worn)
            fresh = cell_traits(response, count, self.seed, first=first, compiled=compiled)
            life = endurance.life(count, key, first)
            if self.spares is not None:
                self.spares.put(fresh, range(self.planes)[planes], life)
            table = endurance.wear(fresh, worn, life, stuck).to(self.device)
            self.tables[planes] = [part.contiguous() for part in table.split(self.size, dim=1)]

    def own_state(self) -> dict[str, Any]:
        """Tensors and JSON values of these cells alone.

        Windows are closed for it, so that who goes on from here and who resumes stay alike.
        """
        if self.spent:
            self.spent = 0
            self.close_windows()
        tensors = {name: getattr(self, name) for name in _TENSORS}
        if self.seen is self.hidden:
            del tensors["seen"]
        if self.solved is not None and not self.make.exact_wires:
            # Where cells have been pulsed since, nothing else tells when wires were solved; of
            # others it spares who loads this solving them again, to the same bits.
            tensors |= {"kept": self.solved.kept, "level": self.solved.level}
        if self.spares is not None:
            tensors |= self.spares.state()
        if self.uneven is not None:
            tensors["uneven"] = self.uneven
        counters = {"operations": self.operations, "events": self.events, "formed": self.formed}
        return tensors | counters

    def load_own(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`own_state` gave."""
        for name in _TENSORS:
            if name in state:
                setattr(self, name, state[name].to(self.device, copy=True))
        self.seen = self.seen if "seen" in state else self.hidden
        warm = state.get("uneven")
        self.uneven = None if warm is None else warm.to(self.device, copy=True)
        self.operations, self.events = int(state["operations"]), int(state["events"])
        self.formed = bool(state["formed"])
        self.fenced = bool((self.fence < 1.0).any())
        self.spent, self.solved = 0, None
        if "kept" in state:
            kept = (state[name].to(self.device, copy=True) for name in ("kept", "level"))
            self.solved = Attenuation((0, 0, 0.0), *kept)
        if self.spares is not None and "place" in state:
            self.spares.load_state(state)
            self.tables = self.spares.tables(self.tables)
        self.close_windows()

    @abstractmethod
    def pulse(
        self, train_CR: Tensor, *, fenced: bool = True, now_s: float = 0.0, plane: int | None = None
    ) -> tuple[int, int, int]:
        """Apply signed pulses, [C, R], to one plane."""
