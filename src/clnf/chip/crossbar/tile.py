"""A tile: cells wired as rows x columns, two kinds, and how a layer is cut into tiles.

Legend: C columns (outputs), R rows (inputs x kernel), P planes of cells. A weight is a sum of
differential cells; planes with even index count up, odd ones down. Columns never interact, so
cutting along columns changes only names and counts; cutting along rows gives partial sums
that are converted one by one and added digitally.
"""

from collections.abc import Iterator
from typing import Any, final

import torch
from torch import Tensor

from clnf.chip import kernels, reference
from clnf.chip.spec import ChipSpec
from clnf.core.rng import fold
from clnf.devices import pcm
from clnf.devices import reference as cell_reference
from clnf.devices.kernels import Cells, PulseJob, pulse_cells
from clnf.devices.pcm import Pcm
from clnf.devices.soft_bounds import SoftBounds, fresh_cells, hash_key

__all__ = ["PlasticTile", "StoredTile", "Tile", "partition"]


def partition(size: int, unit: int, limit: int) -> Iterator[slice]:
    """Cut ``size`` groups of ``unit`` lines into runs of at most ``limit`` lines.

    Yields slices of groups. A group larger than a tile gets a tile of its own, which then
    stands for several stacked ones.

    >>> [s.stop - s.start for s in partition(128, 9, 512)]
    [43, 43, 42]
    """
    most = max(limit // unit, 1)
    parts = -(-size // most)
    start = 0
    for part in range(parts):
        stop = start + (size - start + parts - part - 1) // (parts - part)
        yield slice(start, stop)
        start = stop


@final
class StoredTile:
    """Phase-change cells, one differential pair a weight, written once and then drifting.

        w = scale_C compensation_C (G+ - G-) / Gmax
    """

    def __init__(self, name: str, rows: slice, columns: slice, seed: int, spec: ChipSpec) -> None:
        self.name, self.rows, self.columns = name, rows, columns
        self.seed = fold(seed, "tile", name)
        self.spec = spec
        self.law = Pcm.of(spec.core)
        shape = (2, columns.stop - columns.start, rows.stop - rows.start)
        self.programmed_s = torch.zeros(shape)
        self.exponent = torch.zeros(shape)
        self.wear = torch.zeros(shape, dtype=torch.int32)
        self.scale = torch.zeros(shape[1])
        self.compensation = torch.ones(shape[1])
        self.programmed_at_s = 0.0
        self.events = 0
        self.expected = torch.zeros(shape[1])

    @property
    def cells_per_weight(self) -> int:
        """Cells behind one weight."""
        return 2

    @property
    def is_programmed(self) -> bool:
        """Whether the tile has been written at all."""
        return self.events > 0

    def normals(self, *place: str | int) -> Tensor:
        """Standard normals for each cell at one place, [2, C, R]."""
        index = torch.arange(self.wear.numel())
        k0, k1 = (int(v) for v in hash_key(self.seed, *place))
        return cell_reference.gauss8(index, k0, k1).view_as(self.wear)

    def conductance(self, now_s: float) -> Tensor:
        """Conductance of each cell now, S, [2, C, R]."""
        age_s = now_s - self.programmed_at_s
        return pcm.drift(self.programmed_s, self.exponent, self.law, age_s)

    def view(self, now_s: float) -> tuple[Tensor, Tensor]:
        """Weights as read now and the variance of one read, both [C, R]."""
        now = self.conductance(now_s)
        full = (self.scale * self.compensation / self.law.conductance_max_s)[:, None]
        if self.spec.read_noise == "off":
            return (now[0] - now[1]) * full, torch.zeros(now.shape[1:])
        time_s = now_s - self.programmed_at_s + self.law.drift_reference_s
        sigma = pcm.read_sigma(self.programmed_s, now, self.law, time_s)
        return (now[0] - now[1]) * full, sigma.square().sum(0) * full.square()

    def column_scale(self) -> Tensor:
        """Weight at full scale of each column, [C]; the unit of the ADC's range."""
        return (self.scale * self.compensation).clamp(min=1e-12)

    def state(self) -> dict[str, Any]:
        """Tensors and JSON values."""
        return {
            "programmed_s": self.programmed_s,
            "exponent": self.exponent,
            "wear": self.wear,
            "scale": self.scale,
            "compensation": self.compensation,
            "expected": self.expected,
            "programmed_at_s": self.programmed_at_s,
            "events": self.events,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        for name in ("programmed_s", "exponent", "wear", "scale", "compensation", "expected"):
            getattr(self, name).copy_(state[name])
        self.programmed_at_s = float(state["programmed_at_s"])
        self.events = int(state["events"])


@final
class PlasticTile:
    """Soft-bounds cells, ``pairs`` differential pairs a weight, moved by pulses.

        w = scale / (2 pairs) * (sum of seen cells on even planes - sum on odd planes)

    Pulses of one operation all go to one plane, the next operation takes the next plane: the
    multi-memristive synapse with one global selection counter (Boybat et al., Nat. Commun.
    2018). Opposite planes get opposite pulses.
    """

    def __init__(self, name: str, rows: slice, columns: slice, seed: int, spec: ChipSpec) -> None:
        self.name, self.rows, self.columns = name, rows, columns
        self.seed = fold(seed, "tile", name)
        self.spec = spec
        self.law = SoftBounds.of(spec.plastic, dead=spec.dead_cells, ideal=not spec.spreads)
        self.shape = (columns.stop - columns.start, rows.stop - rows.start)
        self.size = self.shape[0] * self.shape[1]
        self.planes = 2 * spec.pairs
        cells = fresh_cells(self.law, self.planes * self.size, self.seed)
        self.hidden, self.seen, self.wear = (t.view(self.planes, self.size) for t in cells)
        self.fence = torch.ones(self.size)
        self.scale = 1.0
        self.operations = 0
        self._law = self.law.law()
        self._traits = hash_key(self.seed, "traits", words=8)

    @property
    def cells_per_weight(self) -> int:
        """Cells behind one weight."""
        return self.planes

    @property
    def is_programmed(self) -> bool:
        """Plastic cells always hold something."""
        return True

    @property
    def weight_step(self) -> float:
        """Mean change of a weight by one pulse near zero, in weight units."""
        return self.scale * (self.law.step_up + self.law.step_down) / 2 / self.planes

    def view(self, now_s: float) -> tuple[Tensor, Tensor]:
        """Weights as read now and the variance of one read, both [C, R]; they do not drift."""
        weight, variance = torch.empty(self.size), torch.empty(self.size)
        window_s = (self.law.conductance_max_s - self.law.conductance_min_s) / 2
        relative = 0.0 if self.spec.read_noise == "off" else self.spec.plastic_read_noise
        middle = self.law.conductance_min_s / window_s + 1.0
        noise = torch.tensor([self.scale, relative, middle])
        if self.spec.kernels:
            arrays = (t.numpy() for t in (self.seen, noise, weight, variance))
            kernels.plane_sums(*arrays)
        else:
            reference.plane_sums(self.seen, noise, weight, variance)
        return weight.view(self.shape), variance.view(self.shape)

    def column_scale(self) -> Tensor:
        """Weight at full scale of each column, [C]."""
        return torch.full((self.shape[0],), self.scale)

    def pulse(self, pulses: Tensor, *, fenced: bool = True) -> tuple[int, int, int]:
        """Apply signed pulses, int16 [C, R], to the plane whose turn it is.

        Args:
            pulses: positive raises the weight.
            fenced: honour the fence; a roll-back does not.

        Returns:
            Pulses applied, energy in aJ, longest train.
        """
        plane = self.operations % self.planes
        train = pulses.reshape(-1).to(torch.int16)
        train = train.neg() if plane % 2 else train.contiguous()
        fence = self.fence if fenced else torch.ones(self.size)
        cells = Cells(self.hidden[plane], self.seen[plane], self.wear[plane])
        key = hash_key(self.seed, "pulse", self.operations, words=6)
        self.operations += 1
        first = plane * self.size
        if self.spec.kernels:
            job = PulseJob(train.numpy(), fence.numpy(), first)
            arrays = Cells(*(t.numpy() for t in cells))
            return pulse_cells(job, arrays, self._law.numpy(), self._traits, key)
        signed = (torch.from_numpy(k.astype("int64")) for k in (self._traits, key))
        return cell_reference.pulse_cells(PulseJob(train, fence, first), cells, self._law, *signed)

    def state(self) -> dict[str, Any]:
        """Tensors and JSON values."""
        return {
            "hidden": self.hidden,
            "seen": self.seen,
            "wear": self.wear,
            "fence": self.fence,
            "scale": self.scale,
            "operations": self.operations,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        for name in ("hidden", "seen", "wear", "fence"):
            getattr(self, name).copy_(state[name])
        self.scale = float(state["scale"])
        self.operations = int(state["operations"])


Tile = StoredTile | PlasticTile
