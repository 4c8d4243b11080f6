"""How many more lessons a tile lives, with an interval.

A life ends when a share of a tile's cells is dead ("cells"), or when one of its lines has lost a
share of its own cells ("line"): a line is one output, and with a quarter of its cells stuck it does
not come where it should.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri
from torch import Tensor

from clnf.chip.crossbar.array import Crossbar
from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.devices.lifetime import Endurance

__all__ = ["Life", "project", "project_levelled"]

End = Literal["cells", "line"]

_FAR = 1e30  # lessons; beyond it a tile lives for ever


@final
@dataclass(frozen=True, kw_only=True)
class Life:
    """Lessons left until a share of a tile's cells, or of one of its lines, is dead.

    Attributes:
        lessons: median; infinite where nothing wears it.
        low: lower end of the interval.
        high: upper end.
        share: of cells that may be dead.
        rate: chance that the interval holds the truth, if the stream goes on as it did.
        source: where the endurance comes from.
    """

    lessons: float = quantity("1")
    low: float = quantity("1")
    high: float = quantity("1")
    share: float = quantity("1")
    rate: float = quantity("1")
    source: str


def project(
    tile: Crossbar,
    before: Tensor,
    pulses: Sequence[float],
    *,
    share: float = 0.01,
    rate: float = 0.9,
    of: End = "cells",
) -> Life:
    """Project a tile's life from its cells' wear and the lessons so far.

        expected dead after t more lessons = mean_i [1 - S(w_i + r_i t)],
        S(n) = exp(-ln 2 (n / N)^shape)

    w_i is the wear of a cell now and r_i what it wore per lesson since ``before``; a cell that was
    not pulsed will not be. The interval joins two doubts, each as a normal: how many cells really
    die when so many are expected to (each by its own chance), and how many pulses a lesson brings
    (the standard error of the mean of the lessons so far).

    Args:
        tile: whose material states an endurance.
        before: wear at the beginning of the lessons, [planes, M].
        pulses: of each lesson on this tile; at least one. With one alone the second doubt is left
            out.
        share: of cells that may be dead, above 0 and below 1.
        rate: of the interval, above 0 and below 1.
        of: "cells": of all of them. "line": of those of whichever line gets there first, where the
            chance that none has is the product of the lines' own.

    Raises:
        DeviceLimitError: the material's endurance was not published; supply it.
        ConfigError: a value is out of its range, or the wear shrank, as it seems to when lines
            have changed places since.

    Source: Weibull lives as in :mod:`clnf.devices.lifetime`, whose shape is an assumption.
    """
    _check(share, rate, pulses)
    endurance = tile.cell.need(tile.cell.endurance)
    fits = before.shape == tile.wear.shape
    worn = (tile.wear - before.to(tile.wear.device)).double().flatten() if fits else torch.zeros(1)
    if not fits or float(worn.min()) < 0:
        raise ConfigError(
            f"wear before is [{tile.planes}, {tile.size}] and no more than now; got "
            f"{tuple(before.shape)}"
        )
    law = _Deaths(endurance, tile.wear.double().flatten(), worn / len(pulses), share)
    return _life(tile, law, pulses, rate, of)


def project_levelled(
    tile: Crossbar,
    pulses: Sequence[float],
    *,
    extra: float,
    share: float = 0.01,
    rate: float = 0.9,
    of: End = "cells",
) -> Life:
    """Project the life of a tile whose writes are levelled from now on.

    As :func:`project`, but all columns, spare ones too, share a lesson's writes and the moves'
    evenly: what levelling comes near to; by the first line it may come a little further, as the
    most worn columns end as spare ones. A plane of cells goes on getting the
    share of writes that it got so far, as columns change places and planes do not.

    Args:
        tile: likewise.
        pulses: of each lesson on this tile, without moves.
        extra: pulses of moves over those of lessons, >= 0.
        share: likewise.
        rate: likewise.
        of: likewise.

    Raises:
        DeviceLimitError: the material's endurance was not published; supply it.
        ConfigError: a value is out of its range.
    """
    _check(share, rate, pulses)
    if not 0 <= extra < math.inf:
        raise ConfigError(f"moves take a share of at least 0 of the pulses, got {extra}")
    endurance = tile.cell.need(tile.cell.endurance)
    spare, now = 0, tile.wear.double()
    by_plane = now.sum(1)
    if tile.spares is not None:
        spare = tile.spares.count
        by_plane = by_plane + tile.spares.kept["wear"].double().sum((1, 2)).to(now.device)
    if not float(by_plane.sum()):
        by_plane = torch.ones_like(by_plane)
    mean = sum(pulses) / len(pulses) * (1.0 + extra)
    each = mean * by_plane / by_plane.sum() / (tile.shape[1] * (tile.shape[0] + spare))
    every = each[:, None].expand_as(now).flatten()
    return _life(tile, _Deaths(endurance, now.flatten(), every, share), pulses, rate, of)


def _check(share: float, rate: float, pulses: Sequence[float]) -> None:
    if not 0 < share < 1 or not 0 < rate < 1 or not pulses:
        raise ConfigError(
            "share and rate lie between 0 and 1 and there is at least one lesson, got "
            f"{share}, {rate} and {len(pulses)} lessons"
        )


def _life(tile: Crossbar, law: "_Deaths", pulses: Sequence[float], rate: float, of: End) -> Life:
    """Median and interval of a law, widened by how uneven lessons were."""
    if of not in ("cells", "line"):
        raise ConfigError(f"a life is of cells or of a line, got {of!r}")
    mean = sum(pulses) / len(pulses)
    doubt = 0.0
    if len(pulses) > 1 and mean > 0:
        variance = sum((p - mean) ** 2 for p in pulses) / (len(pulses) - 1)
        doubt = math.sqrt(variance / len(pulses)) / mean
    width = float(ndtri(0.5 + 0.5 * rate))
    view = (tile.planes, *tile.shape) if of == "line" else (1, 1, tile.planes * tile.size)
    median, early, late = (law.when(sign * width, view) for sign in (0.0, 1.0, -1.0))
    low, high = early, late
    if 0 < median < math.inf:
        # A relative error of the pulses a lesson brings is one of the lessons left.
        low = median * max(0.0, 1.0 - math.hypot(1.0 - early / median, width * doubt))
        high = median * (1.0 + math.hypot(late / median - 1.0, width * doubt))
    value = tile.cell.material.values["endurance_cycles"]
    source = f"{value.source} ({value.material})"
    return Life(lessons=median, low=low, high=high, share=law.share, rate=rate, source=source)


@final
class _Deaths:
    """How likely it is that no line has lost its share of cells after some lessons."""

    def __init__(self, endurance: Endurance, now: Tensor, each: Tensor, share: float) -> None:
        self.cycles, self.shape, self.share = endurance.cycles, endurance.shape, share
        self.now, self.each = now, each

    def chances(self, lessons: float) -> Tensor:
        """That each cell is dead by then, by its wear alone."""
        spent = (self.now + self.each * lessons) / self.cycles
        return -torch.expm1(-math.log(2.0) * spent.pow(self.shape))

    def beyond(self, lessons: float, width: float, view: tuple[int, int, int]) -> float:
        """How far the chance that all lines live has fallen below that of ``width``, in logarithms.

        A line's dead cells are a normal: their mean is the sum of chances, their variance that of
        each chance's own.
        """
        chance = self.chances(lessons).view(view)
        mean, variance = chance.sum((0, 2)), (chance * (1.0 - chance)).sum((0, 2))
        room = self.share * view[0] * view[2] - mean
        lives = log_ndtr((room / variance.sqrt().clamp(min=1e-12)).numpy()).sum()
        return float(log_ndtr(width) - lives)

    def when(self, width: float, view: tuple[int, int, int]) -> float:
        """Lessons at which the chance that all lines live is that of a normal below ``width``."""
        if self.beyond(0.0, width, view) >= 0:
            return 0.0
        end = 1.0
        while self.beyond(end, width, view) < 0:
            end *= 4.0
            if end > _FAR:
                return math.inf
        return float(brentq(self.beyond, 0.0, end, args=(width, view), rtol=1e-6))
