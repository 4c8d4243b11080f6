"""Labels put to the vote, where a lesson holds many wrong ones.

``neighbours.Labels`` wants all neighbours to agree, so it hardly ever errs; where a fifth of all
labels is wrong, neighbours seldom agree. Here a judge who has seen the whole lesson doubts
samples, and what is made of his doubts is weighed against how often he errs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.streams.checks import AbstractLessonCheck, called
from clnf.streams.judge import Judge, Opinion, judge_of
from clnf.streams.known import Digest, Known
from clnf.streams.witnesses import nearest_witnesses, witnesses_of

__all__ = ["Ballot", "BallotParams", "chances"]


@final
@dataclass(frozen=True, kw_only=True)
class BallotParams:
    """When a doubted sample is refused.

    Attributes:
        guilt: chance that its label is wrong from which on a doubted sample is refused. Below one
            half, as a wrong label costs a learner more than a missing sample.
        crowd: confident doubts below which nothing is refused: too few to say what share of the
            labels is wrong.
        confirmed: share of the confident doubts that neighbours must share. Where they do not,
            the features say little about the labels, and the judge has no say.
        voters: neighbours asked about a doubt, >= 1.
        asked: confident doubts they are asked about at most.
        least: witnesses a label needs before its samples are judged, >= 2.
        rounds: times the lesson is judged, each time without the samples refused before.
        witnesses: samples of the lesson that testify at most; four times as many where labels
            were found to be wrong.
    """

    guilt: float = quantity("1", 0.3)
    crowd: int = quantity("1", 12)
    confirmed: float = quantity("1", 0.75)
    voters: int = quantity("1", 15)
    asked: int = quantity("1", 256)
    least: int = quantity("1", 60)
    rounds: int = quantity("1", 3)
    witnesses: int = quantity("1", 2048)

    def __post_init__(self) -> None:
        shares = 0.0 < self.guilt <= 1.0 and 0.0 <= self.confirmed <= 1.0
        if not shares or min(self.voters, self.asked, self.rounds) < 1 or self.least < 2:
            raise ConfigError(
                f"a ballot needs a guilt above 0 and up to 1, a confirmed share from 0 to 1, a "
                f"voter, one doubt asked about, one round and 2 witnesses a label, got {self}"
            )


@final
class Ballot(AbstractLessonCheck):
    """Refuses what is mislabelled in a lesson with many wrong labels.

    A judge (``judge``) elects a label for every sample; where it is not the sample's own, the
    sample is doubted, by a margin. Honest samples that look like another label are doubted too,
    mostly by small margins. Were every label of an agreeing sample exchanged for a wrong one, the
    margins would be known; the share of doubts among the large ones tells which part of the
    lesson was exchanged, and so how many doubts of any margin stand for wrong labels and how many
    for honest samples. What is likely enough wrong is refused: the local false discovery rate of
    Efron (2008), with the alternative simulated instead of fitted.

    In a clean lesson hardly any doubt is confident, and nothing is refused.

    Args:
        names: concept names by index, for the reasons.
        params: when a doubted sample is refused.
    """

    name = "ballot"
    by_likeness = True

    def __init__(self, names: Sequence[str] = (), params: BallotParams = BallotParams()) -> None:
        self.names = names
        self.params = params

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse what is likely enough wrong."""
        chance, elected = self.weigh(digest, known)
        share = float(chance.sum()) / max(1, len(digest))
        found: dict[int, str] = {}
        for row in np.flatnonzero(chance >= self.params.guilt).tolist():
            mine, other = (
                called(int(label), self.names) for label in (digest.label[row], elected[row])
            )
            found[row] = (
                f"taught as {mine}, but is {other} with a chance of {chance[row]:.0%}, since "
                f"{share:.0%} of the labels of this lesson are wrong"
            )
        return found

    def weigh(self, digest: Digest, known: Known) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """How likely each label is wrong, [N], and the label elected instead, [N].

        Chances are 0 where nothing can be said.
        """
        params = self.params
        nothing = np.zeros(len(digest)), digest.label
        if not len(digest):
            return nothing
        judge = judge_of(digest, known, least=params.least, most=params.witnesses)
        if not judge.able:
            return nothing
        opinion = judge.opine()
        chance, confident = chances(opinion, digest.prints, params.crowd)
        if not self._heard(digest, known, opinion, confident):
            return nothing
        for _ in range(params.rounds - 1):
            guilty = chance >= params.guilt
            judge = Judge(
                digest, known, least=params.least, most=4 * params.witnesses, trusted=~guilty
            )
            if not judge.able:
                break
            opinion = judge.opine()
            chance, _ = chances(opinion, digest.prints, params.crowd)
            if np.array_equal(guilty, chance >= params.guilt):
                break
        return chance, opinion.classes[opinion.elected]

    def _heard(
        self, digest: Digest, known: Known, opinion: Opinion, confident: NDArray[np.bool_]
    ) -> bool:
        """Whether the doubts are many enough, and neighbours of the samples share them."""
        rows = np.flatnonzero(confident)
        if len(rows) < self.params.crowd:
            return False
        rows = rows[np.argsort(digest.prints[rows], kind="stable")[: self.params.asked]]
        witnesses = witnesses_of(digest, known, self.params.witnesses)
        count = min(self.params.voters, len(witnesses) - 1)
        near = nearest_witnesses(digest, rows, witnesses, count)
        labels, place = np.unique(witnesses.label, return_inverse=True)
        votes = np.zeros((len(rows), len(labels)), np.int64)
        np.add.at(votes, (np.arange(len(rows))[:, None], place[near]), 1)
        said = labels[votes.argmax(1)]
        agreed = float(np.mean(said == opinion.classes[opinion.elected[rows]]))
        return agreed >= self.params.confirmed


def chances(
    opinion: Opinion, prints: NDArray[np.int64], crowd: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How likely each doubted label is wrong, and which doubts are confident.

    Args:
        opinion: of the judge.
        prints: int64 [N], content hashes; they stand for the dice.
        crowd: confident doubts below which all chances are 0.

    Returns:
        float64 [N] in [0, 1], 0 where nothing is doubted, and bool [N].
    """
    doubted = opinion.doubted
    agreed = int((opinion.own >= 0).sum()) - int(doubted.sum())
    none = np.zeros(len(doubted)), np.zeros(len(doubted), bool)
    if agreed < crowd or not doubted.any():
        return none
    margins = opinion.margins_if_wrong(prints)
    confident = doubted & (opinion.margin >= np.float32(margins[len(margins) // 2]))
    if confident.sum() < crowd:
        return none[0], confident
    bins = int(np.clip(len(margins) // 20, 4, 64))
    edges = margins[np.arange(1, bins) * len(margins) // bins]
    place = np.searchsorted(edges, opinion.margin[doubted], side="right")
    usual = np.bincount(np.searchsorted(edges, margins, side="right"), minlength=bins)
    could = usual * (agreed / len(margins))
    seen = np.bincount(place, minlength=bins)
    upper = slice(bins // 2, None)
    wrong = seen[upper].sum() / max(could[upper].sum(), 1.0)
    rate = _falling(seen / np.maximum(could, 1e-9), np.maximum(could, 1e-9))
    chance = none[0]
    chance[doubted] = np.minimum(1.0, wrong / np.maximum(rate, 1e-12))[place]
    return chance, confident


def _falling(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The closest numbers that never rise: neighbours that do are put together (PAVA).

    >>> _falling(np.array([3.0, 1.0, 2.0]), np.ones(3)).tolist()
    [3.0, 1.5, 1.5]
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        count = 1
        while blocks and blocks[-1][0] <= value:
            other, heavy, more = blocks.pop()
            value = (value * weight + other * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + more
        blocks.append((value, weight, count))
    return np.repeat([value for value, _, _ in blocks], [count for _, _, count in blocks])
