"""The checks of the gate. Each is small, knows no model, and says why it refuses.

A *sample check* sees raw samples, a chunk at a time; a *lesson check* sees the digest of a whole
lesson and what is already known. Both return the refused positions with a reason each. A check
marked ``hard`` guards the learner itself: a person cannot release what it refused. One marked
``by_likeness`` only guesses, from how samples usually look; kinds of knowledge that may not be
doubted (see ``rights``) are spared it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from clnf.core.records import Batch
from clnf.streams.features import SUMMARY_NAMES, SUMMARY_UNITS, summarise
from clnf.streams.known import Digest, Known

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


class AbstractSampleCheck(ABC):
    """Looks at each sample alone."""

    name: str
    hard: bool = False
    by_likeness: bool = False

    @abstractmethod
    def find(self, batch: Batch) -> dict[int, str]:
        """Refused positions in the batch, each with a reason."""


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


@final
class Noise(AbstractSampleCheck):
    """A picture that cannot be told from white noise.

    Neighbouring pixels of white noise are uncorrelated: over an H x W picture the correlation has
    mean 0 and standard deviation about 1 / sqrt(2 H W). Pictures of things lie far above; grass
    or brick filling the frame at one pixel a blade comes closest. Samples that are not pictures
    pass.

    Args:
        sigmas: correlations closer to zero than this many deviations are refused, > 0.
    """

    name = "noise"
    by_likeness = True

    def __init__(self, sigmas: float = 3.5) -> None:
        self.sigmas = sigmas

    def find(self, batch: Batch) -> dict[int, str]:
        """Refuse pictures without any correlation of neighbouring pixels."""
        if batch.x.ndim != 4 or min(batch.x.shape[2:]) < 8:
            return {}
        limit = self.sigmas / float(np.sqrt(2 * batch.x.shape[2] * batch.x.shape[3]))
        smooth = summarise(batch.x)[:, SUMMARY_NAMES.index("smoothness")]
        return {
            int(i): f"looks like pure noise: neighbouring pixels correlate by {smooth[i]:.2f}"
            for i in np.flatnonzero(np.abs(smooth) < limit)
        }


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
        _, first, group = np.unique(digest.prints, return_index=True, return_inverse=True)
        original = first[group]
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
    lesson with fewer than ``least`` samples of a label is too small to have outliers.

    Args:
        sigmas: scores above this are refused, > 0.
        least: samples of one label needed.
    """

    name = "outlier"
    by_likeness = True

    def __init__(self, sigmas: float = 12.0, least: int = 16) -> None:
        self.sigmas = sigmas
        self.least = least

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse samples whose score exceeds the limit in any quantity."""
        found: dict[int, str] = {}
        for label in np.unique(digest.label):
            rows = np.flatnonzero(digest.label == label)
            if len(rows) < self.least:
                continue
            scores = _robust_scores(digest.select(rows))
            worst = scores.argmax(1)
            names = (*SUMMARY_NAMES, "distance to the others")
            for i in np.flatnonzero(scores.max(1) > self.sigmas):
                found[int(rows[i])] = (
                    f"unlike the rest of its lesson: {names[worst[i]]} is "
                    f"{scores[i, worst[i]]:.0f} robust deviations off"
                )
        return found


def called(label: int, names: Sequence[str]) -> str:
    """A concept's name in quotes, or its number where names are not given."""
    return f"'{names[label]}'" if label < len(names) else f"concept {label}"


def _robust_scores(digest: Digest) -> NDArray[np.float64]:
    """|v - median| / max(1.4826 MAD, unit), [N, S + 1]."""
    centre = np.median(digest.features, axis=0)
    distance = np.abs(digest.features - centre).mean(1, dtype=np.float64)
    values = np.column_stack([digest.summary, distance])
    middle = np.median(values, axis=0)
    deviation = np.abs(values - middle)
    spread = 1.4826 * np.median(deviation, axis=0)
    unit = np.array([*SUMMARY_UNITS, max(0.25 * float(middle[-1]), 1e-9)])
    return np.asarray(deviation / np.maximum(spread, unit))
