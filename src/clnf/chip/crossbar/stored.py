"""Tiles that store: phase-change cells, one differential pair a weight.

Legend: C columns (outputs), R rows (inputs x kernel).
"""

from typing import Any, final

import torch
from torch import Tensor

from clnf.chip.spec import ChipSpec
from clnf.core.rng import fold
from clnf.devices import pcm
from clnf.devices.dispatch import run
from clnf.devices.pcm import Pcm
from clnf.devices.pcm_kernels import read_pair
from clnf.devices.soft_bounds import hash_normals

__all__ = ["StoredTile"]

_STATE = ("programmed_s", "exponent", "wear", "scale", "compensation", "expected")


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

    def move(self, device: torch.device) -> torch.device:
        """Let the cells' state live on a device, and say where it lived; nothing else changes."""
        home = self.wear.device
        if home != device:
            for name in _STATE:
                setattr(self, name, getattr(self, name).to(device))
        return home

    def normals(self, *place: str | int) -> Tensor:
        """Standard normals for each cell at one place, [2, C, R]."""
        return hash_normals(
            self.seed,
            place,
            tuple(self.wear.shape),
            device=self.wear.device,
            compiled=self.spec.kernels,
        )

    def view(self, now_s: float) -> tuple[Tensor, Tensor]:
        """Weights as read now and the variance of one read, both [C, R]."""
        full = (self.scale * self.compensation)[:, None]
        age_s, noisy = now_s - self.programmed_at_s, self.spec.read_noise != "off"
        weight, variance = (torch.empty(self.shape, device=self.wear.device) for _ in range(2))
        flat = (self.programmed_s.view(2, -1), self.exponent.view(2, -1))
        parts = (*flat, self.law.now(age_s, noisy=noisy), weight.view(-1), variance.view(-1))
        run(read_pair, pcm.read_pair, parts, compiled=self.spec.kernels)
        return weight.mul_(full), variance.mul_(full.square())

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
        for name in _STATE:
            getattr(self, name).copy_(state[name])
        self.programmed_at_s = float(state["programmed_at_s"])
        self.events = int(state["events"])
