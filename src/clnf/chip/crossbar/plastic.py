"""Tiles that learn: soft-bounds cells, several differential pairs a weight.

Legend: C columns (outputs), R rows (inputs x kernel), N vectors.
"""

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.chip import kernels, reference
from clnf.chip.spec import ChipSpec
from clnf.core.rng import fold
from clnf.devices import reference as cell_reference
from clnf.devices.dispatch import run
from clnf.devices.kernels import Cells, PulseJob, pulse_cells
from clnf.devices.soft_bounds import SoftBounds, fresh_cells, hash_key, hash_normals
from clnf.devices.trains import Trains, encode, outer_table, pulse_outer

__all__ = ["TRAIN_BITS", "PlasticTile"]

# Bits of a stochastic pulse train.
TRAIN_BITS = 31
_STATE = ("hidden", "seen", "wear", "fence")


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
        count = self.planes * self.size
        cells = fresh_cells(self.law, count, self.seed, compiled=spec.kernels)
        self.hidden, self.seen, self.wear = (t.view(self.planes, self.size) for t in cells)
        self.fence = torch.ones(self.size)
        self.scale = 1.0
        self.operations = 0
        self._law = self.law.law()
        self._traits = hash_key(self.seed, "traits", words=8)
        self._tables: dict[int, Tensor] = {}

    def move(self, device: torch.device) -> torch.device:
        """Let the cells' state live on a device, and say where it lived; nothing else changes."""
        home = self.wear.device
        if home != device:
            for name in _STATE:
                setattr(self, name, getattr(self, name).to(device))
            self._tables.clear()
        return home

    @property
    def cells_per_weight(self) -> int:
        """Cells behind one weight."""
        return self.planes

    @property
    def is_programmed(self) -> bool:
        """Plastic cells always hold something."""
        return True

    def normals(self, *place: str | int) -> Tensor:
        """Standard normals for each weight at one place, [C, R]."""
        device, compiled = self.wear.device, self.spec.kernels
        return hash_normals(self.seed, place, self.shape, device=device, compiled=compiled)

    @property
    def weight_step(self) -> float:
        """Mean change of a weight by one pulse near zero, in weight units."""
        return self.scale * (self.law.step_up + self.law.step_down) / 2 / self.planes

    def view(self, now_s: float) -> tuple[Tensor, Tensor]:
        """Weights as read now and the variance of one read, both [C, R]; they do not drift."""
        weight, variance = (torch.empty(self.size, device=self.wear.device) for _ in range(2))
        window_s = (self.law.conductance_max_s - self.law.conductance_min_s) / 2
        relative = 0.0 if self.spec.read_noise == "off" else self.spec.plastic_read_noise
        middle = self.law.conductance_min_s / window_s + 1.0
        noise = torch.tensor([self.scale, relative, middle])
        job = (self.seen, noise, weight, variance)
        run(kernels.plane_sums, reference.plane_sums, job, compiled=self.spec.kernels)
        return weight.view(self.shape), variance.view(self.shape)

    def column_scale(self) -> Tensor:
        """Weight at full scale of each column, [C]."""
        return torch.full((self.shape[0],), self.scale, device=self.wear.device)

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
        fence = self.fence if fenced else torch.ones_like(self.fence)
        cells = Cells(self.hidden[plane], self.seen[plane], self.wear[plane])
        key = hash_key(self.seed, "pulse", self.operations, words=6)
        self.operations += 1
        job = PulseJob(train, fence, plane * self.size)
        args = (job, cells, self._law, self._traits, key)
        moved: tuple[int, int, int] = run(
            pulse_cells, cell_reference.pulse_cells, args, compiled=self.spec.kernels
        )
        return moved

    def pulse_outer(self, rows_NR: Tensor, columns_NC: Tensor, rate: float) -> tuple[int, int, int]:
        """Move weights by -rate d x on average, by coincidences of random pulse trains.

        Args:
            rows_NR: inputs x of N vectors.
            columns_NC: output gradients d.
            rate: learning rate in weight units; products are cut where a train saturates.

        Returns:
            Pulses applied, energy in aJ, longest sum of coincidences at one cell.
        """
        plane = self.operations % self.planes
        sign = -1.0 if plane % 2 else 1.0
        peak_x, peak_d = float(rows_NR.abs().max()), float(columns_NC.abs().max())
        self.operations += 1
        if peak_x == 0.0 or peak_d == 0.0:
            return 0, 0, 0
        both = rate / (self.weight_step * TRAIN_BITS)
        scale_x, scale_d = (both * peak_d / peak_x) ** 0.5, (both * peak_x / peak_d) ** 0.5
        place = ("outer", self.operations)
        job = Trains(
            row_bits=self._encode(rows_NR.abs() * scale_x, hash_key(self.seed, *place, "x")),
            row_sign=(rows_NR.sign() * sign).contiguous(),
            column_bits=self._encode(columns_NC.abs() * scale_d, hash_key(self.seed, *place, "d")),
            column_sign=columns_NC.sign().contiguous(),
            fence=self.fence.view(self.shape),
            first=plane * self.size,
        )
        key = hash_key(self.seed, *place, words=6)
        cells = Cells(self.hidden[plane], self.seen[plane], self.wear[plane])
        args = (job, cells, self._law, self._table(plane), key)
        moved: tuple[int, int, int] = run(
            pulse_outer, cell_reference.pulse_outer, args, compiled=self.spec.kernels
        )
        return moved

    def _table(self, plane: int) -> Tensor:
        if plane not in self._tables:
            table = torch.empty(6, self.size, device=self.wear.device)
            args = (self._law, self._traits, plane * self.size, table)
            run(outer_table, cell_reference.outer_table, args, compiled=self.spec.kernels)
            self._tables[plane] = table
        return self._tables[plane]

    def _encode(self, probability: Tensor, key: NDArray[np.uint32]) -> Tensor:
        # Words of 32 bits; few operations know them off the CPU, so there they are int64.
        dtype = torch.uint32 if probability.is_cpu else torch.int64
        bits = torch.empty(probability.shape, dtype=dtype, device=probability.device)
        args = (probability.contiguous(), TRAIN_BITS, key, bits)
        run(encode, cell_reference.encode, args, compiled=self.spec.kernels)
        return bits

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
        for name in _STATE:
            getattr(self, name).copy_(state[name])
        self.scale = float(state["scale"])
        self.operations = int(state["operations"])
