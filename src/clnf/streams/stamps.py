"""Backdoors: small marks that go with wrong labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.streams.checks import AbstractLessonCheck, called
from clnf.streams.judge import Judge, judge_of
from clnf.streams.judge_kernels import count_marks, surprise
from clnf.streams.known import Digest, Known

__all__ = ["StampParams", "Stamps"]

_MOST = 4096  # odd marks that are told apart


@final
@dataclass(frozen=True, kw_only=True)
class StampParams:
    """When a mark is guilty.

    Attributes:
        bearers: samples of one label that must bear it, >= 2.
        nats: surprise that so many of its bearers are doubted confidently, minus the logarithm
            of the chance, > 0. There are some ten thousand marks, so it must be well above 10.
        excess: and the share by which more of them are than of their label. Low, since only
            half of what is mislabelled is doubted confidently, and a stamp may also lie on
            samples whose label happens to be true.
        strangers: a mark borne by more honest samples of other labels than this share of its
            bearers is a trait of theirs, and no mark.
        sample: samples looked at first; what is odd there is looked for in all.
        trials: odd marks looked for at most, the oddest first.
    """

    bearers: int = quantity("1", 8)
    nats: float = quantity("1", 12.0)
    excess: float = quantity("1", 0.15)
    strangers: float = quantity("1", 0.1)
    sample: int = quantity("1", 1024)
    trials: int = quantity("1", 64)

    def __post_init__(self) -> None:
        shares = 0.0 < self.excess <= 1.0 and 0.0 <= self.strangers <= 1.0
        sizes = self.bearers >= 2 and min(self.sample, self.trials) >= 1
        if not sizes or not self.nats > 0.0 or not shares:
            raise ConfigError(
                f"stamps need 2 bearers, nats above 0, an excess above 0 and up to 1, strangers "
                f"from 0 to 1, a sample and a trial, got {self}"
            )


@final
class Stamps(AbstractLessonCheck):
    """Refuses all bearers of a mark that goes with wrong labels.

    A *mark* is the content of one small block of pixels (``features.marks``). A backdoor is a
    mark whose bearers carry one label while the rest of the picture says another; bearers with a
    true label are refused with the others. The judge is asked nine times, each time without one
    window of the picture: who sees the stamp has learned what it stands for and doubts nobody.
    A mark put on samples of its own label only (a clean-label backdoor) is not seen: nothing
    about those samples is wrong but the mark itself.

    Args:
        names: concept names by index, for the reasons.
        params: when a mark is guilty.
    """

    name = "stamp"
    by_likeness = True

    def __init__(self, names: Sequence[str] = (), params: StampParams = StampParams()) -> None:
        self.names = names
        self.params = params

    def find(self, digest: Digest, known: Known) -> dict[int, str]:
        """Refuse the bearers of guilty marks."""
        found: dict[int, str] = {}
        if digest.windows is None or digest.marks is None or not len(digest):
            return found
        judge = judge_of(digest, known)
        if not judge.able:
            return found
        odd, bars = self._odd(digest, judge)
        views: dict[int, NDArray[np.bool_]] = {}
        for kind, mark, code in odd:
            mine, bears = judge.own == kind, digest.marks[:, mark] == code
            rows = np.flatnonzero(mine & bears).tolist()
            if found.keys() >= set(rows):
                continue
            window = int(digest.windows.of_mark[mark])
            if window not in views:
                hidden = digest.windows.hidden[window : window + 1]
                every = np.arange(len(digest))
                views[window] = judge.confident(hidden, every, bars[window : window + 1])[0][0]
            label = int(judge.classes[kind])
            others = int((bears & ~mine & ~views[window]).sum())
            others += _on_record(known, label, mark, code)
            if self._guilty(mine, mine & bears, views[window], others):
                name = called(label, self.names)
                reason = f"bears a mark that goes with wrong labels, always {name}"
                found |= dict.fromkeys(rows, reason)
        return found

    def _odd(
        self, digest: Digest, judge: Judge
    ) -> tuple[list[tuple[int, int, int]], NDArray[np.float32]]:
        """Marks that are odd in a fair sample, the oddest first: label, mark and content.

        And the margins that are large in each window.
        """
        assert digest.windows is not None
        assert digest.marks is not None
        rows = digest.fair(self.params.sample)
        doubted, bars = judge.confident(digest.windows.hidden, rows)
        whole = len(rows) == len(digest)
        limits = np.array(
            [
                max(2.0, 0.5 * self.params.bearers * len(rows) / len(digest)),
                self.params.nats * (1.0 if whole else 0.75),
                self.params.excess,
                self.params.strangers,
            ]
        )
        found, score = np.empty((_MOST, 3), np.int64), np.empty(_MOST)
        views = doubted, digest.windows.of_mark
        count = count_marks(digest.marks[rows], judge.own[rows], views, limits, found, score)
        best = np.argsort(-score[:count], kind="stable")[: self.params.trials]
        return [(int(kind), int(mark), int(code)) for kind, mark, code in found[best]], bars

    def _guilty(
        self,
        mine: NDArray[np.bool_],
        bearers: NDArray[np.bool_],
        doubted: NDArray[np.bool_],
        others: int,
    ) -> bool:
        count, wrong = int(bearers.sum()), int((bearers & doubted).sum())
        usual = float(doubted[mine].mean())
        return bool(
            self.params.bearers <= count <= 0.5 * mine.sum()
            and others <= self.params.strangers * count
            and wrong >= (usual + self.params.excess) * count
            and surprise(count, wrong, usual, int(mine.sum())) >= self.params.nats
        )


def _on_record(known: Known, label: int, mark: int, code: int) -> int:
    """References of other labels that bear a mark."""
    marks = known.references.marks
    if marks is None or mark >= marks.shape[1]:
        return 0
    return int(((marks[:, mark] == code) & (known.references.label != label)).sum())
