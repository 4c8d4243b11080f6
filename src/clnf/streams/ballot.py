"""Labels put to the vote: lessons with many wrong labels, and marks that go with wrong labels.

``neighbours.Labels`` wants all neighbours to agree, so it hardly ever errs; where a fifth of all
labels is wrong, neighbours seldom agree. Here many neighbours vote, and what they say is acted on
only where it cannot be chance: where a whole lesson is doubted, or all bearers of one mark are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.streams.checks import AbstractLessonCheck, called
from clnf.streams.known import Digest, Known
from clnf.streams.neighbours import squared_distances, witnesses_of

__all__ = ["Ballot", "BallotParams"]

_CODES = 256  # contents a mark may have


@final
@dataclass(frozen=True, kw_only=True)
class BallotParams:
    """Sizes of the vote.

    Attributes:
        voters: neighbours asked, >= 3.
        lead: votes by which another label must lead before a sample is doubted, in [1, voters].
        noisy: share of doubted samples above which all of them are refused. Below it they are
            what honest data holds: fours that look like nines.
        crowd: doubted samples below which a lesson is not called noisy, whatever their share.
        least: witnesses a label needs before its samples are judged.
        bearers: samples that must bear a mark before it is judged, >= 2.
        guilty: a mark's bearers are refused where this share more of them is doubted than of
            their label. Lower than one half, since a stamp may also lie on samples whose label
            happens to be true.
        strangers: a mark borne by more honest samples of other labels than this share of its
            bearers is a trait of theirs, and no mark.
        trials: marks of one label judged at most, those with most doubted bearers first.
        rounds: times the vote is repeated without the samples doubted before.
        witnesses: samples of the lesson itself asked at most.
    """

    voters: int = quantity("1", 15)
    lead: int = quantity("1", 7)
    noisy: float = quantity("1", 0.04)
    crowd: int = quantity("1", 30)
    least: int = quantity("1", 60)
    bearers: int = quantity("1", 8)
    guilty: float = quantity("1", 0.25)
    strangers: float = quantity("1", 0.1)
    trials: int = quantity("1", 64)
    rounds: int = quantity("1", 3)
    witnesses: int = quantity("1", 2048)

    def __post_init__(self) -> None:
        shares = 0.0 <= self.noisy < 1.0 and 0.0 < self.guilty <= 1.0
        if self.voters < 3 or not 1 <= self.lead <= self.voters or not shares or self.bearers < 2:
            raise ConfigError(
                f"a ballot needs 3 voters, a lead from 1 to their number, shares from 0 to 1 and "
                f"2 bearers, got {self}"
            )


@final
class Ballot(AbstractLessonCheck):
    """Refuses the doubted samples of a noisy lesson, and all bearers of a guilty mark.

    A sample is *doubted* when another label leads its own by ``lead`` votes among the nearest
    ``voters`` of lesson and references. A *mark* is the content of one small block of pixels
    (``features.marks``). A backdoor is a mark whose bearers carry one label while their
    neighbourhood says another; bearers with a true label are refused with the others. A mark
    put on samples of its own label only (a clean-label backdoor) is not seen: nothing about
    those samples is wrong but the mark itself.

    Args:
        names: concept names by index, for the reasons.
        params: sizes of the vote.
    """

    name = "ballot"
    by_likeness = True

    def __init__(self, names: Sequence[str] = (), params: BallotParams = BallotParams()) -> None:
        self.names = names
        self.params = params

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse what the vote proves wrong."""
        if not len(digest):
            return {}
        elected, judged = self._elect(digest, known)
        doubted = elected >= 0
        found: dict[int, str] = {}
        share = doubted.sum() / max(1, judged.sum())
        if doubted.sum() >= self.params.crowd and share > self.params.noisy:
            for row in np.flatnonzero(doubted).tolist():
                mine, other = (
                    called(int(label), self.names) for label in (digest.label[row], elected[row])
                )
                found[row] = (
                    f"taught as {mine}, but its neighbours say {other}, as they do against "
                    f"{share:.0%} of this lesson"
                )
        for row in self._marked(digest, doubted, known).tolist():
            found[row] = (
                f"bears a mark that goes with wrong labels, always "
                f"{called(int(digest.label[row]), self.names)}"
            )
        return found

    def _elect(self, digest: Digest, known: Known) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The label elected against each doubted sample, else -1; and who could be judged."""
        elected = np.full(len(digest), -1, np.int64)
        witnesses, owner = witnesses_of(digest, known, self.params.witnesses)
        labels, place = np.unique(witnesses.label, return_inverse=True)
        enough = labels[np.bincount(place, minlength=len(labels)) >= self.params.least]
        judged = np.isin(digest.label, enough)
        if len(labels) < 2 or not judged.any():
            return elected, judged
        near = self._nearest(digest, witnesses, owner)
        for _ in range(self.params.rounds):
            # An honest witness is a reference, or a sample not doubted.
            trusted = (owner < 0) | (elected[owner] < 0)
            before = elected >= 0
            elected = self._vote(digest.label, witnesses.label, near, trusted)
            elected[~judged] = -1
            if np.array_equal(before, elected >= 0):
                break
        return elected, judged

    def _nearest(
        self, digest: Digest, witnesses: Digest, owner: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The nearest witnesses of each sample, nearest first, int64 [N, four times the voters].

        More than vote at once, so that a later round need not look for others.
        """
        count = min(4 * self.params.voters, len(witnesses) - 1)
        found = np.empty((len(digest), count), np.int64)
        for rows, squares in squared_distances(digest, witnesses, owner):
            near = np.argpartition(squares, count - 1, axis=1)[:, :count]
            order = np.argsort(np.take_along_axis(squares, near, axis=1), axis=1, kind="stable")
            found[rows] = np.take_along_axis(near, order, axis=1)
        return found

    def _vote(
        self,
        label: NDArray[np.int64],
        witness: NDArray[np.int64],
        near: NDArray[np.int64],
        trusted: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """The label that leads a sample's own among its nearest trusted witnesses, else -1."""
        labels, place = np.unique(witness, return_inverse=True)
        heard = trusted[near]
        heard &= heard.cumsum(1) <= self.params.voters
        votes = np.zeros((len(near), len(labels)), np.int64)
        rows, columns = np.nonzero(heard)
        np.add.at(votes, (rows, place[near[rows, columns]]), 1)
        own = ((labels[None, :] == label[:, None]) * votes).sum(1)
        first = votes.argmax(1)
        led = votes[np.arange(len(votes)), first] >= own + self.params.lead
        return np.where(led, labels[first], -1)

    def _marked(
        self, digest: Digest, doubted: NDArray[np.bool_], known: Known
    ) -> NDArray[np.int64]:
        """Bearers of a mark, under one label, of whom too many are doubted.

        They are judged anew without each other as witnesses: stamped samples are alike in their
        stamp, and would vouch for one another.
        """
        guilty = np.zeros(len(digest), bool)
        witnesses, owner = witnesses_of(digest, known, self.params.witnesses)
        if digest.marks is None or witnesses.marks is None or len(np.unique(witnesses.label)) < 2:
            return np.flatnonzero(guilty)
        honest = (owner < 0) | ~doubted[owner]
        codes = _codes(digest.marks)
        for label in np.unique(digest.label[doubted]):
            mine = digest.label == label
            usual = float(doubted[mine].mean())
            for place, code in self._candidates(codes, mine, doubted, known.references, label):
                bearers = np.flatnonzero(mine & (digest.marks[:, place] == code))
                if guilty[bearers].all():
                    continue
                others = honest & ~(
                    (witnesses.marks[:, place] == code) & (witnesses.label == label)
                )
                if others.sum() <= self.params.voters:
                    continue
                asked = digest.select(bearers)
                clear = witnesses.select(others)
                near = self._nearest(asked, clear, np.full(len(clear), -1))
                told = self._vote(asked.label, clear.label, near, np.ones(len(clear), bool))
                if np.mean(told >= 0) > usual + self.params.guilty:
                    guilty[bearers] = True
        return np.flatnonzero(guilty)

    def _candidates(
        self,
        codes: NDArray[np.int64],
        mine: NDArray[np.bool_],
        doubted: NDArray[np.bool_],
        references: Digest,
        label: int,
    ) -> list[tuple[int, int]]:
        """Marks of one label that few honest samples of others bear: (place, content).

        What others bear as well is a trait, and what half of the label bears is its own.
        """
        size = _CODES * codes.shape[1]
        bearers = np.bincount(codes[mine].ravel(), minlength=size)
        others = np.bincount(codes[~mine & ~doubted].ravel(), minlength=size)
        if references.marks is not None and references.marks.shape[1] == codes.shape[1]:
            stands = _codes(references.marks)[references.label != label]
            others += np.bincount(stands.ravel(), minlength=size)
        fits = (bearers >= self.params.bearers) & (bearers <= 0.5 * mine.sum())
        fits &= others <= self.params.strangers * bearers
        # Even if bearers vouch for one another, more of them are doubted than chance explains.
        wrong = np.bincount(codes[mine & doubted].ravel(), minlength=size)
        excess = wrong - float(doubted[mine].mean()) * bearers
        found = np.flatnonzero(fits & (excess > 2.0))
        best = found[np.argsort(-excess[found], kind="stable")]
        return [(int(one) // _CODES, int(one) % _CODES) for one in best[: self.params.trials]]


def _codes(marks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """One number for each content at each place, int64 [N, M]."""
    return np.asarray(marks.astype(np.int64) + _CODES * np.arange(marks.shape[1]))
