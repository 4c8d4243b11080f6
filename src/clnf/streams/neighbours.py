"""Checks that compare samples with their nearest neighbours: wrong labels, near duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.streams.checks import AbstractLessonCheck, called
from clnf.streams.judge import judge_of
from clnf.streams.judge_kernels import nearest, nearest_earlier
from clnf.streams.known import Digest, Known
from clnf.streams.witnesses import Witnesses, nearest_among, squared_distances, witnesses_of

__all__ = ["LabelParams", "Labels", "NearDuplicates"]

_SPARE = 24  # neighbours remembered, so that a later round need not look for others
_KIN_NEAR = 8  # of those, of the own label
_KIN = 256  # samples of one label that tell how far apart its samples lie
_SURE = 0.8  # accuracy of the judge from which on likeness says enough about labels


@final
@dataclass(frozen=True, kw_only=True)
class LabelParams:
    """When a label is doubted.

    Attributes:
        neighbours: neighbours asked, from 2 to 16.
        crowd_margin: all neighbours agree on another label, and the nearest sample of the own
            label is at least this many times as far as the farthest of them.
        twin_margin: or: the nearest sample of the own label is at least this many times as far
            as the nearest of another.
        closeness: quantile of nearest distances inside a label up to which a sample counts as
            close to that label; farther ones are novel and pass.
        rounds: times the check is repeated without the witness of samples already doubted.
        witnesses: samples of the lesson itself asked at most.
        telling: share of the witnesses that must bear the label most of their neighbours bear.
            Where fewer do, likeness says little about labels, and nobody is doubted.
        many: samples from which on only those are looked at that a judge of the whole lesson
            doubts, or cannot judge.
    """

    neighbours: int = quantity("1", 5)
    crowd_margin: float = quantity("1", 1.1)
    twin_margin: float = quantity("1", 1.75)
    closeness: float = quantity("1", 0.95)
    rounds: int = quantity("1", 3)
    witnesses: int = quantity("1", 2048)
    telling: float = quantity("1", 0.7)
    many: int = quantity("1", 512)

    def __post_init__(self) -> None:
        margins = min(self.crowd_margin, self.twin_margin) >= 1.0
        if not 2 <= self.neighbours <= 16 or not margins or not 0.0 <= self.telling <= 1.0:
            raise ConfigError(
                f"the label check needs 2 to 16 neighbours, margins of at least 1 and a telling "
                f"share from 0 to 1, got {self}"
            )


@final
@dataclass(frozen=True, kw_only=True)
class _Near:
    """Nearest witnesses of the samples asked about: of all, and of their own label.

    Attributes:
        rows: int64 [A], rows of the lesson.
        near: int64 [A, S], nearest first; ``distance`` float32 [A, S].
        kin: int64 [A, K], those of the own label; ``kin_distance`` float32 [A, K], infinite
            where there are no more.
    """

    rows: NDArray[np.int64]
    near: NDArray[np.int64]
    distance: NDArray[np.float32]
    kin: NDArray[np.int64]
    kin_distance: NDArray[np.float32]


@final
class Labels(AbstractLessonCheck):
    """Labels that the neighbourhood contradicts (k nearest neighbours in feature space).

    Witnesses are the references of everything taught before and the lesson itself. A sample is
    doubted when it lies close to samples of another label and clearly farther from its own.
    A sample far from everything known is novel and passes. So does, on purpose, a whole lesson of
    something never seen under a wrong name: its samples agree with each other, and only a probe
    of the model can tell. Where like samples bear unlike labels anyway, nobody is doubted.

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
        witnesses = witnesses_of(digest, known, self.params.witnesses)
        labels, counts = np.unique(witnesses.label, return_counts=True)
        if len(labels) < 2 or len(witnesses) <= self.params.neighbours + 1:
            return found
        near = self._look(digest, known, witnesses)
        if near is None:
            return found
        # With too few of its own kind around, nothing can be said.
        able = np.isin(digest.label[near.rows], labels[counts > self.params.neighbours])
        reach: dict[int, float] = {}
        for _ in range(self.params.rounds):
            trusted = ~np.isin(witnesses.owner, list(found))
            label, distance, doubted = self._doubted(digest, witnesses, near, trusted)
            doubted &= able & ~np.isin(near.rows, list(found))
            if doubted.any() and not reach:
                reach = self._reach(
                    witnesses, _KIN if len(digest) <= self.params.many else _KIN // 4
                )
            fresh = {
                int(near.rows[i]): self._reason(digest.label[near.rows[i]], label[i])
                for i in np.flatnonzero(doubted)
                if distance[i] <= reach[int(label[i, 0])]
            }
            if not fresh:
                break
            found.update(fresh)
        return found

    def _reason(self, mine: int, label: NDArray[np.int64]) -> str:
        count = int((label == label[0]).sum())
        return (
            f"taught as {called(int(mine), self.names)}, but lies among "
            f"{called(int(label[0]), self.names)} ({count} of {len(label)} neighbours)"
        )

    def _look(self, digest: Digest, known: Known, witnesses: Witnesses) -> _Near | None:
        """At the samples that may be mislabelled; None where likeness says too little."""
        judge = judge_of(digest, known) if len(digest) > self.params.many else None
        if judge is None or not judge.able:
            rows = np.arange(len(digest)) if self._telling(witnesses) else None
        elif judge.opine().accuracy < _SURE and not self._telling(witnesses):
            rows = None
        else:
            opinion = judge.opine()
            usual = opinion.margins_if_wrong(digest.prints)
            bar = usual[len(usual) // 10] if len(usual) else np.float32(0.0)
            rows = np.flatnonzero(opinion.doubted & (opinion.margin > bar) | (opinion.own < 0))
        return None if rows is None else _near(digest, rows, witnesses)

    def _telling(self, witnesses: Witnesses) -> bool:
        """Whether enough witnesses bear the label that most of their neighbours bear."""
        asked = np.arange(0, len(witnesses), -(-len(witnesses) // _KIN))
        label = witnesses.label[nearest_among(witnesses, asked, self.params.neighbours)]
        votes = (label[:, :, None] == label[:, None, :]).sum(2)
        most = np.take_along_axis(label, votes.argmax(1)[:, None], axis=1)[:, 0]
        return float(np.mean(most == witnesses.label[asked])) >= self.params.telling

    def _doubted(
        self, digest: Digest, witnesses: Witnesses, near: _Near, trusted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Labels of the trusted neighbours [A, k], distance of the nearest, and the doubted."""
        heard = trusted[near.near]
        # The first k that are heard; where there are fewer, the rest of the row stands in.
        place = np.argsort(~heard, axis=1, kind="stable")[:, : self.params.neighbours]
        label = witnesses.label[np.take_along_axis(near.near, place, axis=1)]
        distance = np.take_along_axis(near.distance, place, axis=1)
        own = np.where(trusted[near.kin], near.kin_distance, np.inf).min(1)
        # Kin that is not remembered lies at least as far as the last that is.
        own = np.minimum(own, np.where(trusted[near.kin].any(1), np.inf, near.kin_distance[:, -1]))
        crowd = (label == label[:, :1]).all(1)
        crowd &= own >= self.params.crowd_margin * distance[:, -1]
        twin = own >= self.params.twin_margin * distance[:, 0]
        doubted = (label[:, 0] != digest.label[near.rows]) & (crowd | twin)
        doubted &= heard.sum(1) >= self.params.neighbours
        return label, distance[:, 0], doubted

    def _reach(self, witnesses: Witnesses, most: int) -> dict[int, float]:
        """Distance up to which a sample counts as close to each label.

        At most ``most`` samples of a label tell how far apart its samples lie.
        """
        inside: dict[int, NDArray[np.float64]] = {}
        for label in np.unique(witnesses.label).tolist():
            rows = np.flatnonzero(witnesses.label == label)
            kin = Witnesses(
                features=witnesses.features[rows], label=rows, owner=np.arange(len(rows))
            )
            asked = np.arange(0, len(rows), -(-len(rows) // most))
            blocks = squared_distances(kin.features[asked], asked, kin)
            near = [np.sqrt(squares.min(1)) for _, squares in blocks]
            inside[label] = np.concatenate(near) if len(rows) > 1 else np.zeros(1)
        usual = float(np.median(np.concatenate(list(inside.values()))))
        return {one: max(usual, _quantile(d, self.params.closeness)) for one, d in inside.items()}


@final
class NearDuplicates(AbstractLessonCheck):
    """Samples almost equal to an earlier one; not among the standard checks.

    Honest lessons hold near duplicates too (a clock face one minute on), so this is for streams
    known to repeat themselves, such as the frames of a camera.

    Samples that lie close lie close along any direction. They are sorted along the one in which
    the lesson is widest, and each is compared with those near it there: nothing is overlooked,
    and a long lesson costs little more than its sorting.

    Args:
        distance: root mean square difference of the features up to which two are the same, > 0.
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
        witnesses = witnesses_of(digest, known, len(digest))
        place = witnesses.features.astype(np.float64) @ _widest(witnesses.features)
        order = np.argsort(place, kind="stable")
        nearest_one = np.full(len(digest), -2, np.int64)
        nearest_earlier(
            witnesses.features[order], place[order], witnesses.owner[order],
            self.distance**2 * digest.features.shape[1], nearest_one,
        )  # fmt: skip
        for row in np.flatnonzero(nearest_one > -2).tolist():
            other = int(nearest_one[row])
            what = "a reference" if other < 0 else f"sample {digest.position[other]}"
            found[row] = f"almost the same as {what}"
        return found


def _quantile(values: NDArray[np.floating[Any]], share: float) -> float:
    """As ``np.quantile`` of a row, at a tenth of its price.

    >>> _quantile(np.array([0.0, 1.0, 4.0]), 0.75)
    2.5
    """
    order = np.sort(values)
    place = share * (len(order) - 1)
    low = int(place)
    high = min(low + 1, len(order) - 1)
    return float(order[low] + (place - low) * (order[high] - order[low]))


def _widest(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """A unit vector along which samples are spread widely: a few steps of power iteration."""
    some = features[:: max(1, len(features) // 512)].astype(np.float64)
    some -= some.mean(0)
    found = np.ones(some.shape[1]) / np.sqrt(some.shape[1])
    for _ in range(8):
        found = some.T @ (some @ found) + 1e-12
        found /= np.linalg.norm(found)
    return found


def _near(digest: Digest, rows: NDArray[np.int64], witnesses: Witnesses) -> _Near:
    spare, kin = min(_SPARE, len(witnesses) - 1), min(_KIN_NEAR, len(witnesses) - 1)
    found = _Near(
        rows=rows,
        near=np.empty((len(rows), spare), np.int64),
        distance=np.empty((len(rows), spare), np.float32),
        kin=np.empty((len(rows), kin), np.int64),
        kin_distance=np.empty((len(rows), kin), np.float32),
    )
    start = 0
    for part, squares in squared_distances(digest.features[rows], rows, witnesses):
        block = slice(start, start + len(part))
        nearest(squares, found.near[block])
        found.distance[block] = np.sqrt(np.take_along_axis(squares, found.near[block], axis=1))
        squares[witnesses.label[None, :] != digest.label[part][:, None]] = np.inf
        nearest(squares, found.kin[block])
        found.kin_distance[block] = np.sqrt(np.take_along_axis(squares, found.kin[block], axis=1))
        start += len(part)
    return found
