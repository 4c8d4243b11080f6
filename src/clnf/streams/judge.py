"""A linear judge: what label a sample should bear, told from all the others, in one pass.

Fisher's linear discriminant (1936) with a ridge, in the model-free features of ``features``. Each
half of the witnesses judges the samples of the other half, so nobody testifies in a case of his
own, and a wrong label cannot explain itself. It costs two matrix products however many samples
there are; neighbours, who see what is not linear, are asked about the few it doubts.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError
from clnf.streams.judge_kernels import verdicts
from clnf.streams.known import Digest, Known

__all__ = ["Judge", "Opinion", "judge_of"]

_RIDGE = 0.05  # of the mean variance of a feature
_BLOCK = 256  # rows whose products of bytes add up exactly in float32: 256 * 255^2 < 2^24
_EXACT = 2.0**24
_Moments = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
_SAMPLE = 2048  # agreeing samples of which the margins of wrong labels are made


@final
@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What the judge says of each sample of a lesson.

    Attributes:
        classes: int64 [K], labels that were judged.
        own: int64 [N], place of each sample's label among them; -1 where it is not judged.
        elected: int64 [N], place of the label it should bear.
        margin: float32 [N], by how much the elected label is likelier than the sample's own, the
            logarithm of their odds; 0 where they agree.
        scores: float32 [N, K], log odds of all labels up to a constant of the sample.
    """

    classes: NDArray[np.int64]
    own: NDArray[np.int64]
    elected: NDArray[np.int64]
    margin: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def doubted(self) -> NDArray[np.bool_]:
        """Where another label is elected, bool [N]."""
        return (self.own >= 0) & (self.elected != self.own)

    @property
    def accuracy(self) -> float:
        """Share of the judged samples whose label is the elected one; 0 where none is judged."""
        judged = int((self.own >= 0).sum())
        return 1.0 - float(self.doubted.sum()) / judged if judged else 0.0

    def margins_if_wrong(self, prints: NDArray[np.int64]) -> NDArray[np.float32]:
        """Margins that agreeing samples would have if their labels were wrong, sorted.

        Wrong labels are dealt as the doubted samples of the same elected label bear them, so a
        mix-up of two labels looks like one.

        Args:
            prints: int64 [N], content hashes: they choose the samples and stand for the dice.

        Returns:
            float32, one for each of at most 2,048 agreeing samples.
        """
        kinds, doubted = len(self.classes), self.doubted
        sample = np.flatnonzero((self.own >= 0) & ~doubted)
        if len(sample) > _SAMPLE:
            sample = sample[np.argpartition(prints[sample], _SAMPLE - 1)[:_SAMPLE]]
        dealt = np.full((kinds, kinds), 1e-3)
        np.add.at(dealt, (self.elected[doubted], self.own[doubted]), 1.0)
        np.fill_diagonal(dealt, 0.0)
        dealt = (dealt / dealt.sum(1, keepdims=True)).cumsum(1)
        with np.errstate(over="ignore"):
            mixed = prints[sample].view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        dice = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
        own = self.own[sample]
        fake = np.minimum((dice[:, None] >= dealt[own]).sum(1), kinds - 1)
        scores, row = self.scores[sample], np.arange(len(sample))
        return np.sort(scores[row, own] - scores[row, fake])


@final
class Judge:
    """Judges the labels of a lesson by witnesses of it and by references.

    Labels with fewer than ``least`` witnesses are not judged, and their samples judge nobody.

    Args:
        digest: the lesson.
        known: references, which are trusted.
        least: witnesses a label needs, >= 2.
        most: samples of the lesson that testify at most.
        trusted: bool [N], samples of the lesson that may testify; all where not given.

    Attributes:
        classes: int64 [K], labels that are judged.
        own: int64 [N], place of each sample's label among them; -1 where it is not judged.
        able: whether there are two labels to tell apart, with witnesses in both halves.
    """

    def __init__(
        self,
        digest: Digest,
        known: Known,
        *,
        least: int,
        most: int,
        trusted: NDArray[np.bool_] | None = None,
    ) -> None:
        rows = digest.fair(most)
        rows = rows if trusted is None else rows[trusted[rows]]
        old = known.references
        usable = len(old) and old.features.shape[1] == digest.features.shape[1]
        labels = [digest.label[rows], old.label if usable else np.empty(0, np.int64)]
        found, counts = np.unique(np.concatenate(labels), return_counts=True)
        self.classes = found[counts >= least]
        self.own = _places(self.classes, digest.label)
        self.features = digest.features
        self._opinion: Opinion | None = None
        # A sample's fingerprint says which half it is in, whatever else is in the lesson.
        self._half = digest.prints & 1
        taught = _moments(old.features, old.label, self.classes) if usable else None
        parts = [rows[self._half[rows] == half] for half in (0, 1)]
        halves = [_moments(digest.features[r], digest.label[r], self.classes) for r in parts]
        if taught is not None:
            halves = [(a + taught[0], b + taught[1], c + taught[2]) for a, b, c in halves]
        self.able = len(self.classes) > 1 and all((count > 1).all() for count, _, _ in halves)
        if self.able:
            count, total, product = (np.stack(part) for part in zip(*halves, strict=True))
            self._mean = total / count[..., None]
            self._inside = product - (self._mean.swapaxes(1, 2) * count[:, None]) @ self._mean
            self._inside /= count.sum(1)[:, None, None]

    def opine(self) -> Opinion:
        """Judge every sample of the lesson.

        Raises:
            ConfigError: the judge is not able to.
        """
        if self._opinion is None:
            hidden = np.zeros((1, self.features.shape[1]), bool)
            elected, margin, _, scores = self._judge(hidden, np.arange(len(self.features)))
            self._opinion = Opinion(
                classes=self.classes,
                own=self.own,
                elected=elected[0],
                margin=margin[0],
                scores=scores[0],
            )
        return self._opinion

    def confident(
        self,
        hidden: NDArray[np.bool_],
        rows: NDArray[np.int64],
        bars: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which samples are doubted confidently by a judge who does not see some features.

        A doubt is confident where the margin is as large as the lead that the label of half of
        the agreeing samples has over the next.

        Args:
            hidden: bool [V, F], features left out in each of several views, as many in each.
            rows: int64 [N], samples asked about.
            bars: float32 [V], margins that are large; worked out where not given.

        Returns:
            bool [V, N], and the bars.

        Raises:
            ConfigError: the judge is not able to.
        """
        elected, margin, lead, _ = self._judge(hidden, rows)
        own = self.own[rows]
        if bars is None:
            # Sorted with those that disagree behind; the middle one of the others.
            agreed = elected == own
            lead = np.sort(np.where(agreed, lead, np.float32(np.inf)), axis=1)
            bars = lead[np.arange(len(lead)), agreed.sum(1) // 2]
        return (own >= 0) & (elected != own) & (margin >= bars[:, None]), bars

    def _judge(
        self, hidden: NDArray[np.bool_], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Elected, margins and leads [V, N], and scores [V, N, K]."""
        if not self.able:
            raise ConfigError("a judge needs two labels with witnesses; ask whether it is able")
        features = self.features if len(rows) == len(self.features) else self.features[rows]
        views, kinds = len(hidden), len(self.classes)
        grid, unit, bias = self._weights(hidden, float(features.max(initial=1.0)))
        flat = features @ grid.reshape(-1, features.shape[1]).T
        asked = np.stack([self._half[rows], self.own[rows]])
        elected = np.empty((views, len(rows)), np.int64)
        ahead = np.empty((2, views, len(rows)), np.float32)
        scores = np.empty((views, len(rows), kinds), np.float32)
        flat = flat.reshape(len(rows), views, 2, kinds)
        verdicts(flat, (unit, bias), asked, elected, ahead, scores)
        return elected, ahead[0], ahead[1], scores

    def _weights(
        self, hidden: NDArray[np.bool_], largest: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Weights as whole numbers [V, 2, K, F], their unit [V, 2], and biases [V, 2, K].

        With features that are whole numbers up to ``largest`` the sums of products are exact in
        float32: an opinion depends neither on the order of summation nor on threads. The grid
        has thousands of steps on either side, far finer than the weights are known.
        """
        views, size = hidden.shape
        kinds = len(self.classes)
        grid = np.zeros((views, 2, kinds, size), np.float32)
        unit = np.empty((views, 2), np.float32)
        bias = np.empty((views, 2, kinds), np.float32)
        seen = np.stack([np.flatnonzero(~one) for one in hidden])
        for half, (mean, inside) in enumerate(zip(self._mean, self._inside, strict=True)):
            some = inside[seen[:, :, None], seen[:, None, :]]
            diagonal = np.arange(seen.shape[1])
            ridge = some[:, diagonal, diagonal].mean(1, keepdims=True)
            some[:, diagonal, diagonal] += _RIDGE * ridge + 1e-12
            middle = mean[:, seen].transpose(1, 2, 0)  # [V, S, K]
            weights = np.linalg.solve(some, middle)
            constant = -0.5 * (middle * weights).sum(1)
            # Only differences between labels matter.
            bias[:, half] = constant - constant.mean(1, keepdims=True)
            weights -= weights.mean(2, keepdims=True)
            room = max(_EXACT - seen.shape[1] * largest, 1.0)
            most = np.abs(weights).sum(1).max(1) * largest / room
            unit[:, half] = np.maximum(most, 1e-30)
            whole = np.rint(weights / np.maximum(most, 1e-30)[:, None, None])
            view = np.arange(views)[:, None]
            grid[view, half, :, seen] = whole
        return grid, unit, bias


def _moments(
    features: NDArray[np.float32], label: NDArray[np.int64], classes: NDArray[np.int64]
) -> _Moments:
    """Counts [K], sums [K, F] and products [F, F] of the features of some labels."""
    own = _places(classes, label)
    if (own < 0).any():
        features, own = features[own >= 0], own[own >= 0]
    kinds, size = len(classes), features.shape[1]
    member = (own[:, None] == np.arange(kinds)).astype(np.float32)
    total, product = np.zeros((kinds, size)), np.zeros((size, size))
    for start in range(0, len(features), _BLOCK):
        part = features[start : start + _BLOCK]
        total += member[start : start + _BLOCK].T @ part
        product += part.T @ part
    return member.sum(0, dtype=np.float64), total, product


def _places(classes: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each label among the classes, or -1."""
    if not len(classes):
        return np.full(len(labels), -1, np.int64)
    place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where(classes[place] == labels, place, -1)


def judge_of(digest: Digest, known: Known, *, least: int = 60, most: int = 2048) -> Judge:
    """A judge of a lesson, the same for all checks that ask as long as nothing was refused."""
    key = f"judge {least} {most}"
    held: tuple[NDArray[np.int64], Judge] | None = digest.shared.get(key)
    if held is not None and np.array_equal(held[0], digest.position):
        return held[1]
    made = Judge(digest, known, least=least, most=most)
    digest.shared[key] = (digest.position, made)
    return made
