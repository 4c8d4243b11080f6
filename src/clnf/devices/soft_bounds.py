"""Resistive cells with soft bounds: the step shrinks as a cell nears its end of range.

    up:   w <- w + dw_up   (1 - w / wmax) (1 + c xi)
    down: w <- w - dw_down (1 - w / wmin) (1 + c xi)
    seen = w + sigma_write dw xi', drawn again at each pulse

``w`` runs nominally from -1 to 1 over the conductance window. Each cell has its own dw, wmax
and wmin; they are functions of (seed, cell) and never stored. dw spreads as
exp(s xi - s^2/2), which keeps its mean; bounds spread normally and keep their sign. A dead
cell is stuck anywhere between its bounds.

Source: Gong & Rasch et al. IEDM 2022 for the array values; equations as in Rasch et al.,
AICAS 2021 (soft bounds, write noise).
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.core.ledger import ATTOJOULES_PER_JOULE
from clnf.core.rng import fold
from clnf.core.units import quantity
from clnf.devices import kernels, reference
from clnf.devices.dispatch import run
from clnf.devices.kernels import Cells
from clnf.devices.materials import lookup, material

__all__ = ["SoftBounds", "fresh_cells", "hash_key", "hash_normals"]


@final
@dataclass(frozen=True, kw_only=True)
class SoftBounds:
    """Law of a soft-bounds cell.

    Attributes:
        step_up: mean step at w = 0 towards the upper bound, > 0.
        step_down: the same towards the lower bound, > 0.
        step_spread: device-to-device log spread of the step, >= 0.
        bound_max: mean upper bound.
        bound_min: mean lower bound, negative.
        bound_max_spread: relative device-to-device spread of the upper bound.
        bound_min_spread: relative device-to-device spread of the lower bound.
        cycle_spread: cycle-to-cycle spread of a step, fraction of that step.
        write_noise: spread of the visible weight, in mean steps.
        dead_fraction: share of cells that never move, in [0, 1).
        conductance_min_s: conductance at w = -1.
        conductance_max_s: conductance at w = 1.
        pulse_v: amplitude of a write pulse.
        pulse_s: width of a write pulse.
    """

    step_up: float = quantity("1")
    step_down: float = quantity("1")
    step_spread: float = quantity("1", 0.0)
    bound_max: float = quantity("1", 1.0)
    bound_min: float = quantity("1", -1.0)
    bound_max_spread: float = quantity("1", 0.0)
    bound_min_spread: float = quantity("1", 0.0)
    cycle_spread: float = quantity("1", 0.0)
    write_noise: float = quantity("1", 0.0)
    dead_fraction: float = quantity("1", 0.0)
    conductance_min_s: float = quantity("S")
    conductance_max_s: float = quantity("S")
    pulse_v: float = quantity("V")
    pulse_s: float = quantity("s")

    def __post_init__(self) -> None:
        if min(self.step_up, self.step_down) <= 0 or not self.bound_min < 0 < self.bound_max:
            raise DeviceLimitError(
                f"steps must be positive and bounds on both sides of 0, got steps "
                f"{self.step_up}, {self.step_down} and bounds {self.bound_min}, {self.bound_max}"
            )
        if not 0 <= self.dead_fraction < 1 or self.conductance_max_s <= self.conductance_min_s:
            raise DeviceLimitError(
                f"dead fraction must be in [0, 1) and the conductance window not empty, got "
                f"{self.dead_fraction}, {self.conductance_min_s}..{self.conductance_max_s} S"
            )

    @staticmethod
    def of(name: str, *, dead: bool = True, ideal: bool = False) -> "SoftBounds":
        """The law of a catalogue row; conductance window and pulse from named relatives.

        The HfO2 array papers give steps and spreads only. Window (HfO2 1T1R), voltage
        (CMO/HfOx, an upper limit) and width (generic HfOx) come from relatives and set
        energy and time, not learning.

        Args:
            name: row with soft-bounds values, for example ``"hfo2_array_optimised"``.
            dead: include the row's share of dead cells.
            ideal: keep the mean step, drop every spread and noise.
        """
        row = material(name)
        keys = ("step_spread", "bound_max_spread", "bound_min_spread", "cycle_spread",
                "write_noise", "dead_fraction")  # fmt: skip
        spread = {key: 0.0 if ideal else row.get(key).number for key in keys}
        if not dead:
            spread["dead_fraction"] = 0.0
        step = row.get("step").number
        return SoftBounds(
            step_up=step,
            step_down=step,
            step_spread=spread["step_spread"],
            bound_max_spread=spread["bound_max_spread"],
            bound_min_spread=spread["bound_min_spread"],
            cycle_spread=spread["cycle_spread"],
            write_noise=spread["write_noise"],
            dead_fraction=spread["dead_fraction"],
            conductance_min_s=lookup("conductance_min_s", name, "hfo2_1t1r").number,
            conductance_max_s=lookup("conductance_max_s", name, "hfo2_1t1r").number,
            pulse_v=lookup("write_voltage_v", name, "cmo_hfox").number,
            pulse_s=lookup("write_time_s", name, "hfox_generic").number,
        )

    def law(self) -> Tensor:
        """The 13 numbers the pulse kernel works with, float32 on the CPU.

        In order: step up, step down, bounds, step spread and its mean correction, bound
        spreads, cycle spread, write noise (absolute), dead fraction, pulse energy at w = -1
        and its slope (aJ, aJ per unit of w).
        """
        pulse_aj = self.pulse_v**2 * self.pulse_s * ATTOJOULES_PER_JOULE
        slope = pulse_aj * (self.conductance_max_s - self.conductance_min_s) / 2
        values = [
            self.step_up, self.step_down, self.bound_max, self.bound_min,
            self.step_spread, -self.step_spread**2 / 2,
            self.bound_max_spread, self.bound_min_spread,
            self.cycle_spread, self.write_noise * (self.step_up + self.step_down) / 2,
            self.dead_fraction, pulse_aj * self.conductance_min_s, slope,
        ]  # fmt: skip
        return torch.tensor(values, dtype=torch.float32)


def hash_key(seed: int, *place: str | int, words: int = 2) -> np.ndarray:
    """Key words for the hash of one place, uint32 [words]."""
    parts = [fold(seed, *place, lane) for lane in range((words + 1) // 2)]
    both = [w for part in parts for w in (part & 0xFFFFFFFF, (part >> 31) & 0xFFFFFFFF)]
    return np.array(both[:words], dtype=np.uint32)


def hash_normals(
    seed: int,
    place: tuple[str | int, ...],
    shape: tuple[int, ...],
    *,
    device: torch.device | str = "cpu",
    compiled: bool = True,
) -> Tensor:
    """Standard normals of a place, each a function of (seed, place, index) only.

    Args:
        seed: any integer.
        place: words and integers, see :func:`clnf.core.rng.fold`.
        shape: of the result, fewer than 2**32 numbers.
        device: where the result lives.
        compiled: on the CPU, use the compiled kernel, not its torch twin; the bits are the same.
    """
    out, key = torch.empty(shape, device=device), hash_key(seed, *place)
    job = (out.view(-1), key, 0)
    run(kernels.fill_gauss, reference.fill_gauss, job, compiled=compiled)
    return out


def fresh_cells(law: SoftBounds, count: int, seed: int, *, compiled: bool = True) -> Cells:
    """Cells as they come: at w = 0 with one draw of write noise, dead ones where they stuck.

    They are made on the CPU, once; move them where they shall live.

    Args:
        law: the cell law.
        count: number of cells, < 2**32.
        seed: the tile's seed; also fixes each cell's spread.
        compiled: use the compiled kernel, not its torch twin.
    """
    if count >= 2**32:
        raise DeviceLimitError(f"one tile holds at most 2**32 cells, got {count}")
    cells = Cells(torch.empty(count), torch.empty(count), torch.empty(count, dtype=torch.int32))
    keys = hash_key(seed, "traits", words=8), hash_key(seed, "forming")
    run(kernels.form, reference.form, (cells, law.law(), *keys), compiled=compiled)
    return cells
