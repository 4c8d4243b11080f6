"""A filter bank that sends events: how loud a sound is in each of some bands, as spikes.

    band       a Butterworth band-pass, equal widths on the mel scale, m = 2595 log10(1 + f / 700)
    level      e = low-pass |band|,  l = 1 + 20 log10(e / largest e) / floor_db, cut to [0, 1]
    events     a = a + l highest_hz dt;  a spike where a passes a whole number

Levels are read at the samples nearest to the ends of steps, so steps that are no whole number of
samples do not drift against the sound.

A front end for sound of few parts: filters, rectifiers, and cells that add up. Levels are told
against the loudest of the sound, as an automatic gain would do. Who wants changes rather than
levels gives levels to :class:`~clnf.spiking.coding.delta.SendOnDelta`.

Simplified: the logarithm is ideal and nothing has noise.

Sources: O'Shaughnessy, Speech Communication (1987) for the mel scale; the parts are those of Xylo
Audio's front end (arXiv 2406.15112), whose filters and figures are not copied here.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from torch import Tensor

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import check_fields, number, seconds, whole
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.spiking.coding.levels import coded
from clnf.spiking.coding.levels import levels as in_range

__all__ = ["FilterBank"]

_QUIET = 1e-9  # of the largest: below any floor
_NEAR = 1e-9  # what roundings of sums and products stay below


@final
@dataclass(frozen=True, kw_only=True)
class FilterBank:
    """Bands of a sound, and what comes of them.

    Attributes:
        bands: how many.
        low_hz: where the first begins.
        high_hz: where the last ends.
        order: of each band-pass.
        smooth_hz: corner of the low-pass behind the rectifier.
        floor_db: how far under the loudest a level is 0.
        highest_hz: rate of a band at level 1.

    >>> bank = FilterBank(bands=4, low_hz=100.0, high_hz=2000.0)
    >>> x = torch.sin(torch.arange(8000) * (6.2832 * 300 / 8000))
    >>> levels = bank.levels(x, rate_hz=8000, dt_s=10e-3)
    >>> levels.shape, int(levels[-1].argmax())
    (torch.Size([100, 4]), 0)
    """

    bands: int = quantity("1", 16)
    low_hz: float = quantity("Hz", 150.0)
    high_hz: float = quantity("Hz", 4000.0)
    order: int = quantity("1", 2)
    smooth_hz: float = quantity("Hz", 25.0)
    floor_db: float = quantity("dB", 40.0)
    highest_hz: float = quantity("Hz", 50.0)

    def __post_init__(self) -> None:
        check_fields(self)
        whole("bands", self.bands, least=1), whole("order", self.order, least=1, most=8)
        if not 0 < self.low_hz < self.high_hz < float("inf"):
            raise ConfigError(
                f"bands lie from low_hz above 0 up to high_hz, got {self.low_hz} and "
                f"{self.high_hz} Hz; correct them"
            )
        rest = (self.smooth_hz, self.floor_db, self.highest_hz)
        if not all(0 < one < float("inf") for one in rest):
            raise ConfigError(
                f"smooth_hz, floor_db and highest_hz are above 0, got {rest}; correct them"
            )

    def edges_hz(self) -> NDArray[np.float64]:
        """Where bands begin and end, [bands + 1]."""
        low, high = (2595.0 * np.log10(1.0 + f / 700.0) for f in (self.low_hz, self.high_hz))
        mel = np.linspace(low, high, self.bands + 1)
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))

    def levels(self, x: object, *, rate_hz: float, dt_s: float) -> Tensor:
        """Levels [T, ..., bands] in [0, 1], float32, of sounds [..., samples].

        Args:
            x: sounds; each is told against its own loudest.
            rate_hz: samples a second.
            dt_s: seconds of a step.

        Raises:
            ShapeError: sounds shorter than a step.
            DataError: a sound is not finite somewhere.
            ConfigError: bands beyond half the rate, or steps shorter than a sample.
        """
        found = dense("sounds", x, dtype=torch.float32).detach().cpu()
        fault = not_finite(found)
        if fault:
            raise DataError(f"sounds are finite, got {fault}; cut or mend them")
        if not 2 * max(self.high_hz, self.smooth_hz) < number("rate_hz", rate_hz) < float("inf"):
            raise ConfigError(
                f"bands up to {self.high_hz} Hz need more than {2 * self.high_hz:g} samples a "
                f"second, got {rate_hz}; choose other bands"
            )
        ends = _ends(found.shape[-1] if found.dim() else 0, seconds("dt_s", dt_s) * rate_hz)
        if not (len(ends) and found.numel()):
            raise ShapeError(
                f"sounds have a step of {dt_s * rate_hz:g} samples at least, got "
                f"{[*found.shape]}; give longer ones"
            )
        sound, edges = found.numpy().astype(np.float64), self.edges_hz()
        smooth = butter(2, self.smooth_hz, fs=rate_hz, output="sos")
        rows = []
        for low, high in pairwise(edges):
            band = butter(self.order, (low, high), "band", fs=rate_hz, output="sos")
            rows.append(sosfilt(smooth, np.abs(sosfilt(band, sound)))[..., ends - 1])
        each = np.moveaxis(np.stack(rows, -1), -2, 0)
        most = each.max((0, -1), keepdims=True)
        share = np.maximum(each / np.where(most > 0, most, 1.0), _QUIET)
        level = np.clip(1.0 + 20.0 * np.log10(share) / self.floor_db, 0.0, 1.0)
        return torch.from_numpy(np.where(most > 0, level, 0.0).astype(np.float32))

    def events(self, levels: object, *, dt_s: float) -> Tensor:
        """Spikes [T, ..., bands] of levels, one a step at most.

        Args:
            levels: in [0, 1].
            dt_s: seconds of a step.

        Raises:
            ConfigError: a level of 1 would give more than a spike a step.
            DataError: a level is outside.
            ShapeError: no steps.

        >>> FilterBank(highest_hz=500.0).events(torch.ones(4, 1), dt_s=1e-3).flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
        """
        share = self.highest_hz * seconds("dt_s", dt_s)
        if not 0 < share <= 1:
            raise ConfigError(
                f"{self.highest_hz} Hz at steps of {dt_s} s is more than a spike a step, or none; "
                "lower highest_hz"
            )
        found = coded("levels", in_range(levels, dtype=torch.float64))
        # Multiplied after the sum: a tenth has no exact double, and ten of them are to be one.
        passed = (found.cumsum(0) * share + _NEAR).floor()
        return torch.cat([passed[:1], passed.diff(dim=0)]).to(torch.float32)


def _ends(samples: int, step: float) -> NDArray[np.int64]:
    """Where steps of so many samples end in a sound, [T], each at the nearest sample."""
    if step < 1.0 - _NEAR:
        raise ConfigError(f"a step has a sample at least, got {step:g} of one; make dt_s longer")
    found = np.rint(np.arange(1, int((samples + 0.5) / step) + 1) * step).astype(np.int64)
    return found[found <= samples]
