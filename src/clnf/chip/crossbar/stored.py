"""Tiles that store: phase-change cells, one differential pair a weight.

Legend: C columns (outputs), R rows (inputs x kernel).
"""

from typing import Any, final

import torch
from torch import Tensor

from clnf.chip.spec import ChipSpec
from clnf.core.rng import fold
from clnf.devices import pcm
from clnf.devices.pcm import Pcm
from clnf.devices.pcm_kernels import read_pair
from clnf.devices.soft_bounds import hash_normals

__all__ = ["StoredTile"]


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
        self.shape = (columns.stop - columns.start, rows.stop - rows.start)
        shape = (2, *self.shape)
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
        return hash_normals(self.seed, place, tuple(self.wear.shape), compiled=self.spec.kernels)

    def conductance(self, now_s: float) -> Tensor:
        """Conductance of each cell now, S, [2, C, R]."""
        age_s = now_s - self.programmed_at_s
        return pcm.drift(self.programmed_s, self.exponent, self.law, age_s)

    def view(self, now_s: float) -> tuple[Tensor, Tensor]:
        """Weights as read now and the variance of one read, both [C, R]."""
        full = (self.scale * self.compensation)[:, None]
        age_s, noisy = now_s - self.programmed_at_s, self.spec.read_noise != "off"
        if self.spec.kernels:
            weight, variance = torch.empty(self.shape), torch.empty(self.shape)
            flat = (self.programmed_s.view(2, -1), self.exponent.view(2, -1))
            parts = (*flat, self.law.now(age_s, noisy=noisy), weight.view(-1), variance.view(-1))
            read_pair(*(t.numpy() for t in parts))
            return weight.mul_(full), variance.mul_(full.square())
        now = self.conductance(now_s)
        full = full / self.law.conductance_max_s
        if not noisy:
            return (now[0] - now[1]) * full, torch.zeros(self.shape)
        time_s = age_s + self.law.drift_reference_s
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
