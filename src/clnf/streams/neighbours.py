"""Checks that compare samples with their nearest neighbours: wrong labels, near duplicates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.streams.checks import AbstractLessonCheck, called
from clnf.streams.known import Digest, Known

__all__ = ["LabelParams", "Labels", "NearDuplicates", "squared_distances", "witnesses_of"]

_BLOCK = 512  # rows of the distance matrix held at once


@final
@dataclass(frozen=True, kw_only=True)
class LabelParams:
    """When a label is doubted.

    Attributes:
        neighbours: neighbours asked, >= 2.
        crowd_margin: all neighbours agree on another label, and the nearest sample of the own
            label is at least this many times as far as the farthest of them.
        twin_margin: or: the nearest sample of the own label is at least this many times as far
            as the nearest of another.
        closeness: quantile of nearest distances inside a label up to which a sample counts as
            close to that label; farther ones are novel and pass.
        rounds: times the check is repeated without the witness of samples already doubted.
        witnesses: samples of the lesson itself asked at most.
    """

    neighbours: int = quantity("1", 5)
    crowd_margin: float = quantity("1", 1.1)
    twin_margin: float = quantity("1", 1.75)
    closeness: float = quantity("1", 0.95)
    rounds: int = quantity("1", 3)
    witnesses: int = quantity("1", 2048)

    def __post_init__(self) -> None:
        if self.neighbours < 2 or min(self.crowd_margin, self.twin_margin) < 1.0:
            raise ConfigError(
                f"the label check needs 2 neighbours and margins of at least 1, got {self}"
            )


@final
class Labels(AbstractLessonCheck):
    """Labels that the neighbourhood contradicts (k nearest neighbours in feature space).

    Witnesses are the references of everything taught before and the lesson itself. A sample is
    doubted when it lies close to samples of another label and clearly farther from its own.
    A sample far from everything known is novel and passes. So does, on purpose, a whole lesson of
    something never seen under a wrong name: its samples agree with each other, and only a probe
    of the model can tell.

    Args:
        names: concept names by index, for the reasons.
        params: margins and sizes.
    """

    name = "label"
    by_likeness = True

    def __init__(self, names: Sequence[str] = (), params: LabelParams = LabelParams()) -> None:
        self.names = names
        self.params = params

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse samples that lie among another label."""
        found: dict[int, str] = {}
        witnesses, owner = witnesses_of(digest, known, self.params.witnesses)
        if len(np.unique(witnesses.label)) < 2:
            return found
        reach = self._reach(witnesses)
        for _ in range(self.params.rounds):
            trusted = np.array([int(row) not in found for row in owner])
            fresh = self._doubted(digest, witnesses.select(trusted), owner[trusted], reach)
            fresh = {row: reason for row, reason in fresh.items() if row not in found}
            if not fresh:
                break
            found.update(fresh)
        return found

    def _doubted(
        self,
        digest: Digest,
        witnesses: Digest,
        owner: NDArray[np.int64],
        reach: dict[int, float],
    ) -> dict[int, str]:
        found: dict[int, str] = {}
        k = self.params.neighbours
        members = dict(zip(*np.unique(witnesses.label, return_counts=True), strict=True))
        if len(witnesses) <= k:
            return found
        for rows, squares in squared_distances(digest, witnesses, owner):
            near = np.argpartition(squares, k - 1, axis=1)[:, :k]
            order = np.argsort(np.take_along_axis(squares, near, axis=1), axis=1, kind="stable")
            near = np.take_along_axis(near, order, axis=1)
            distance = np.sqrt(np.take_along_axis(squares, near, axis=1))
            label = witnesses.label[near]
            mine = digest.label[rows]
            foreign = witnesses.label[None, :] != mine[:, None]
            own = np.sqrt(np.where(foreign, np.inf, squares).min(1))
            crowd = (label == label[:, :1]).all(1)
            crowd &= own >= self.params.crowd_margin * distance[:, -1]
            twin = own >= self.params.twin_margin * distance[:, 0]
            close = distance[:, 0] <= np.array([reach[int(one)] for one in label[:, 0]])
            # With too few of its own kind around, nothing can be said.
            judged = np.array([members.get(one, 0) > k for one in mine])
            doubt = (label[:, 0] != mine) & (crowd | twin) & close & judged
            for i in np.flatnonzero(doubt):
                count = int((label[i] == label[i, 0]).sum())
                found[int(rows[i])] = (
                    f"taught as {called(int(mine[i]), self.names)}, but lies among "
                    f"{called(int(label[i, 0]), self.names)} ({count} of {k} neighbours)"
                )
        return found

    def _reach(self, witnesses: Digest) -> dict[int, float]:
        """Distance up to which a sample counts as close to each label."""
        inside: dict[int, NDArray[np.float64]] = {}
        for label in np.unique(witnesses.label):
            kin = witnesses.select(witnesses.label == label)
            blocks = squared_distances(kin, kin, np.arange(len(kin)))
            if len(kin) > 1:
                inside[int(label)] = np.concatenate([np.sqrt(s.min(1)) for _, s in blocks])
            else:
                inside[int(label)] = np.zeros(1)
        usual = float(np.median(np.concatenate(list(inside.values()))))
        quantile = self.params.closeness
        return {one: max(usual, float(np.quantile(d, quantile))) for one, d in inside.items()}


@final
class NearDuplicates(AbstractLessonCheck):
    """Samples almost equal to an earlier one; not among the standard checks.

    Honest lessons hold near duplicates too (a clock face one minute on), so this is for streams
    known to repeat themselves, such as the frames of a camera.

    Args:
        distance: root mean square difference of the features below which two are the same, > 0.
    """

    name = "near duplicate"
    by_likeness = True

    def __init__(self, distance: float = 2.0) -> None:
        self.distance = distance

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse samples closer than the limit to an earlier one, or to a reference."""
        found: dict[int, str] = {}
        if not len(digest):
            return found
        witnesses, owner = witnesses_of(digest, known, len(digest))
        limit = self.distance**2 * digest.features.shape[1]
        for rows, squares in squared_distances(digest, witnesses, owner):
            # Only earlier samples and references (owner -1) count, so the first one stays.
            squares = np.where(owner[None, :] < rows[:, None], squares, np.inf)
            for i in np.flatnonzero(squares.min(1) <= limit):
                row = int(owner[squares[i].argmin()])
                what = "a reference" if row < 0 else f"sample {digest.position[row]}"
                found[int(rows[i])] = f"almost the same as {what}"
        return found


def witnesses_of(digest: Digest, known: Known, most: int) -> tuple[Digest, NDArray[np.int64]]:
    """References and samples of the lesson, with each one's row in the lesson (-1: reference)."""
    rows = np.sort(np.argsort(digest.prints, kind="stable")[:most])
    own = digest.select(rows)
    old = known.references
    if not len(old) or old.features.shape[1] != digest.features.shape[1]:
        return own, rows
    return Digest.join([old, own]), np.concatenate([np.full(len(old), -1, np.int64), rows])


def squared_distances(
    digest: Digest, witnesses: Digest, owner: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Blocks of squared distances [rows, witnesses]; a sample is infinitely far from itself."""
    there = witnesses.features
    norm = (there * there).sum(1)
    for start in range(0, len(digest), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(digest)))
        here = digest.features[rows]
        squares = (here * here).sum(1)[:, None] + norm[None, :] - 2.0 * (here @ there.T)
        squares = np.maximum(squares, 0.0)
        squares[owner[None, :] == rows[:, None]] = np.inf
        yield rows, squares
