"""The checks of the gate. Each is small, knows no model, and says why it refuses.

A *sample check* sees raw samples, a chunk at a time; a *lesson check* sees the digest of a whole
lesson and what is already known. Both return the refused positions with a reason each. A check
marked ``hard`` guards the learner itself: a person cannot release what it refused. One marked
``by_likeness`` only guesses, from how samples usually look; kinds of knowledge that may not be
doubted (see ``rights``) are spared it.

A sample check may also tell from the survey alone which samples are sound; then nobody looks at
their values again.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from clnf.core.records import Batch
from clnf.streams.features import SUMMARY_NAMES, SUMMARY_UNITS
from clnf.streams.judge_kernels import first_of_each, mean_distance
from clnf.streams.known import Digest, Known
from clnf.streams.survey import Survey

__all__ = [
    "AbstractLessonCheck",
    "AbstractSampleCheck",
    "Duplicates",
    "Finite",
    "Flat",
    "Noise",
    "Outliers",
    "Range",
    "Schema",
    "called",
]

_THUMBNAIL = 64  # the first features of a picture


class AbstractSampleCheck(ABC):
    """Looks at each sample alone."""

    name: str
    hard: bool = False
    by_likeness: bool = False

    @abstractmethod
    def find(self, batch: Batch) -> dict[int, str]:
        """Refused positions in the batch, each with a reason."""

    def sound(self, seen: Survey) -> NDArray[np.bool_] | None:
        """Samples that :meth:`find` would not refuse, bool [B], or None where it must be asked.

        A sample that is not sound here may still pass there.
        """
        return None


class AbstractLessonCheck(ABC):
    """Looks at the samples of a lesson together."""

    name: str
    by_likeness: bool = False

    @abstractmethod
    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refused rows of the digest, each with a reason."""


@final
class Schema(AbstractSampleCheck):
    """Shape, type, condition and weight are what the learner expects.

    Args:
        shape: shape of one sample; None accepts any.
        concepts: conditions must lie in [0, concepts); None accepts any that is not negative.
    """

    name = "schema"
    hard = True

    def __init__(self, shape: tuple[int, ...] | None = None, concepts: int | None = None) -> None:
        self.shape = shape
        self.concepts = concepts

    def find(self, batch: Batch) -> dict[int, str]:
        """Refuse every sample of a batch with a wrong shape or type, else single samples."""
        shape = tuple(batch.x.shape[1:])
        wrong = ""
        if self.shape is not None and shape != self.shape:
            wrong = f"shape {list(shape)}, expected {list(self.shape)}"
        elif batch.x.ndim < 2 or not batch.x.dtype.is_floating_point:
            wrong = f"data must be floating point [B, ...], got {batch.x.dtype} {list(shape)}"
        elif batch.cond.dtype != torch.int64:
            wrong = f"conditions must be int64, got {batch.cond.dtype}"
        if wrong:
            return dict.fromkeys(range(len(batch)), wrong)
        found: dict[int, str] = {}
        limit = self.concepts if self.concepts is not None else 2**63 - 1
        for i in torch.nonzero((batch.cond < 0) | (batch.cond >= limit)).flatten().tolist():
            found[i] = f"unknown concept {int(batch.cond[i])}"
        sound = torch.isfinite(batch.weight) & (batch.weight >= 0)
        for i in torch.nonzero(~sound).flatten().tolist():
            found[i] = f"weight {float(batch.weight[i])} is not a finite number >= 0"
        return found

    def sound(self, seen: Survey) -> NDArray[np.bool_]:
        """What was surveyed is floating point, or bytes that stand for it."""
        fits = self.shape is None or seen.shape == self.shape
        limit = self.concepts if self.concepts is not None else 2**63 - 1
        known = (seen.label >= 0) & (seen.label < limit)
        return np.asarray(known & (seen.weight >= 0.0) & np.isfinite(seen.weight) & fits)


@final
class Finite(AbstractSampleCheck):
    """Every value is a finite number."""

    name = "finite"
    hard = True

    def find(self, batch: Batch) -> dict[int, str]:
        """Refuse samples holding NaN or infinity."""
        flat = batch.x.flatten(1)
        broken = (~torch.isfinite(flat)).sum(1)
        return {
            i: f"{int(broken[i])} of {flat.shape[1]} values are NaN or infinite"
            for i in torch.nonzero(broken).flatten().tolist()
        }

    def sound(self, seen: Survey) -> NDArray[np.bool_]:
        """As the survey saw it."""
        return seen.finite


@final
class Range(AbstractSampleCheck):
    """Every value lies in the range models are made for.

    Args:
        low: smallest value allowed.
        high: largest value allowed; a thousandth of the range is tolerated at both ends.
    """

    name = "range"
    hard = True

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        self.low = low
        self.high = high

    def find(self, batch: Batch) -> dict[int, str]:
        """Refuse samples with a value outside the range."""
        slack = 1e-3 * (self.high - self.low)
        flat = batch.x.flatten(1)
        least, most = flat.amin(1), flat.amax(1)
        outside = (least < self.low - slack) | (most > self.high + slack)
        return {
            i: f"values from {float(least[i]):.3g} to {float(most[i]):.3g}, "
            f"allowed are {self.low:g} to {self.high:g}"
            for i in torch.nonzero(outside).flatten().tolist()
        }

    def sound(self, seen: Survey) -> NDArray[np.bool_]:
        """Both ends inside; where values are not finite the ends mean nothing."""
        return seen.finite & (seen.low >= self.low) & (seen.high <= self.high)


@final
class Flat(AbstractSampleCheck):
    """A sample whose values are all equal has nothing to teach."""

    name = "flat"

    def find(self, batch: Batch) -> dict[int, str]:
        """Refuse samples where every channel holds one value."""
        # A picture is flat when each of its channels is, whatever its colour.
        flat = batch.x.flatten(2) if batch.x.ndim > 2 else batch.x[:, None]
        spread = (flat.amax(-1) - flat.amin(-1)).amax(1)
        same = torch.nonzero(spread < 1e-6).flatten().tolist()
        return dict.fromkeys(same, "all values are the same: nothing to learn")

    def sound(self, seen: Survey) -> NDArray[np.bool_]:
        """Some channel holds two values."""
        return seen.finite & (seen.spread >= 1e-6)


@final
class Noise(AbstractLessonCheck):
    """Pictures that cannot be told from white noise.

    Neighbouring pixels of white noise are uncorrelated: over an H x W picture the correlation has
    mean 0 and standard deviation about 1 / sqrt(2 H W). Pictures of things lie far above; grass
    or brick filling the frame at one pixel a blade comes closest. Samples that are not pictures
    pass.

    Where most of a lesson looks like this its pixels may only lie in another order (permuted
    digits). Then a picture is noise if it has nothing in common with the others either: thumbnails
    of noise are uncorrelated with the mean thumbnail, those of moved pixels are not.

    Args:
        sigmas: correlations closer to zero than this many deviations are refused, > 0.
    """

    name = "noise"
    by_likeness = True

    def __init__(self, sigmas: float = 3.5) -> None:
        self.sigmas = sigmas

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse pictures without any correlation of neighbouring pixels."""
        if digest.pixels is None:
            return {}
        limit = self.sigmas / float(np.sqrt(2 * digest.pixels))
        smooth = digest.summary[:, SUMMARY_NAMES.index("smoothness")]
        noisy = np.abs(smooth) < limit
        if digest.windows is not None and noisy.sum() > 0.5 * len(digest):
            noisy &= self._alone(digest)
        return {
            int(i): f"looks like pure noise: neighbouring pixels correlate by {smooth[i]:.2f}"
            for i in np.flatnonzero(noisy)
        }

    def _alone(self, digest: Digest) -> NDArray[np.bool_]:
        """Samples whose thumbnail has little in common with the mean of the lesson, bool [N]."""
        thumbnail = digest.features[:, :_THUMBNAIL].astype(np.float64)
        total = thumbnail.sum(0)
        # Without the sample itself, or a lesson of two would look alike.
        others = (total - thumbnail) / max(1, len(digest) - 1)
        a, b = (one - one.mean(1, keepdims=True) for one in (thumbnail, others))
        scale = np.sqrt((a * a).sum(1) * (b * b).sum(1))
        likeness = (a * b).sum(1) / np.maximum(scale, 1e-9)
        # Of noise it is 0 with deviation 1/8: a lesson that has more in common is none.
        alike = float(np.median(likeness)) > 0.5 * self.sigmas / np.sqrt(_THUMBNAIL)
        return np.asarray(likeness < 1.0 / np.sqrt(_THUMBNAIL)) | (not alike)


@final
class Duplicates(AbstractLessonCheck):
    """Exact copies: of an earlier sample of the lesson, or of something taught before.

    Args:
        names: concept names by index, for the reasons.
    """

    name = "duplicate"

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = names

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse all but the first of equal samples, and all that were taught before."""
        return self.told(digest, known, corrects=False)

    def told(self, digest: Digest, known: Known, *, corrects: bool) -> dict[int, str]:
        """The same; a lesson that ``corrects`` may teach known samples under another label."""
        found: dict[int, str] = {}
        original = np.empty(len(digest), np.int64)
        first_of_each(digest.prints, original)
        for i in np.flatnonzero(original != np.arange(len(digest))):
            where = f"sample {digest.position[original[i]]}"
            same = digest.label[i] == digest.label[original[i]]
            found[int(i)] = f"exact copy of {where}" + ("" if same else " under another label")
        before = known.label_of(digest.prints)
        for i in np.flatnonzero(before >= 0):
            if before[i] == digest.label[i]:
                found[int(i)] = "exact copy of a sample taught before"
            elif not corrects:
                found[int(i)] = f"taught before as {called(int(before[i]), self.names)}"
        return found


@final
class Outliers(AbstractLessonCheck):
    """Samples unlike the rest of their own lesson in a plain physical quantity.

    Robust score |v - median| / max(1.4826 MAD, unit) of each quantity of ``SUMMARY_NAMES`` and of
    the distance to the median feature vector; the unit keeps a very even lesson from calling its
    smallest differences large. Relative to the lesson, so any kind of picture may be taught; a
    lesson with fewer than ``least`` samples of a label is too small to have outliers. Medians of
    a label are those of a fair sample of at most ``most``.

    Args:
        sigmas: scores above this are refused, > 0.
        least: samples of one label needed.
        most: samples of one label that tell what is usual.
    """

    name = "outlier"
    by_likeness = True

    def __init__(self, sigmas: float = 12.0, least: int = 16, most: int = 128) -> None:
        self.sigmas = sigmas
        self.least = least
        self.most = most

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse samples whose score exceeds the limit in any quantity."""
        found: dict[int, str] = {}
        names = (*SUMMARY_NAMES, "distance to the others")
        order = np.argsort(digest.label, kind="stable")
        ends = np.flatnonzero(np.diff(digest.label[order])) + 1
        for rows in np.split(order, ends):
            if len(rows) < self.least:
                continue
            scores = self._scores(digest, rows)
            for i in np.flatnonzero(scores.max(1) > self.sigmas):
                worst = int(scores[i].argmax())
                found[int(rows[i])] = (
                    f"unlike the rest of its lesson: {names[worst]} is "
                    f"{scores[i, worst]:.0f} robust deviations off"
                )
        return found

    def _scores(self, digest: Digest, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """|v - median| / max(1.4826 MAD, unit), [K, S + 1]."""
        usual = np.arange(len(rows))
        if len(rows) > self.most:
            usual = np.argpartition(digest.prints[rows], self.most - 1)[: self.most]
        centre = _median(digest.features[rows[usual]])
        distance = np.empty(len(rows))
        mean_distance(digest.features, rows, centre.astype(np.float32), distance)
        values = np.column_stack([digest.summary[rows], distance])
        middle = _median(values[usual])
        deviation = np.abs(values - middle)
        spread = 1.4826 * _median(deviation[usual])
        unit = np.array([*SUMMARY_UNITS, max(0.25 * float(middle[-1]), 1e-9)])
        return np.asarray(deviation / np.maximum(spread, unit))


def called(label: int, names: Sequence[str]) -> str:
    """A concept's name in quotes, or its number where names are not given."""
    return f"'{names[label]}'" if label < len(names) else f"concept {label}"


def _median(values: NDArray[Any]) -> NDArray[Any]:
    """Median of each column; sorting short rows is faster than what ``np.median`` does."""
    inside = np.sort(np.ascontiguousarray(values.T), axis=1)
    return np.asarray((inside[:, (len(values) - 1) // 2] + inside[:, len(values) // 2]) / 2)
