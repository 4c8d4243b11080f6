"""Drift between lessons: what a lesson brings that earlier ones of its labels did not.

The gate watches the stream as it comes, and a stream of lessons changes at every boundary. What
calls for action is another question: is this news? Three things are:

    concept   a label that was never taught
    look      samples of a known label look otherwise than those taught under it before
    shares    labels of mixed lessons come in other shares than before

The last two are asked of ADWIN (:mod:`clnf.streams.drift`), label by label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from clnf.core.units import quantity
from clnf.streams.drift import AdwinParams
from clnf.streams.drift_bank import AdwinBank
from clnf.streams.features import SUMMARY_NAMES, SUMMARY_UNITS
from clnf.streams.known import Digest

__all__ = ["LessonWatch", "News"]

# Lessons are short and each is looked at once: asked at every sample, and with a chance of a false
# alarm that a detector asked forever could not afford. `benchmarks/drift.py` counts them.
_USUAL = AdwinParams(delta=0.05, clock=1)


@final
@dataclass(frozen=True, kw_only=True)
class News:
    """One thing that a lesson brings.

    Attributes:
        kind: what is new, see the head of this module.
        label: of which label; -1 where it is about all of them.
        text: the same in words, without the label's name.
    """

    kind: Literal["concept", "look", "shares"]
    label: int = quantity("1")
    text: str

    def sentence(self, names: Sequence[str] = ()) -> str:
        """In words.

        Args:
            names: of the labels, by label; numbers where there are none.

        >>> News(kind="concept", label=1, text="was never taught").sentence(["", "hands"])
        'hands was never taught'
        """
        if self.label < 0:
            return self.text
        known = self.label < len(names) and names[self.label]
        return f"{known or f'label {self.label}'} {self.text}"


@final
class LessonWatch:
    """Says what is new in a lesson; nothing is remembered until it was taught.

    Samples go to the detectors in the order of their hashes, so that a sorted folder is no drift.

    Args:
        params: of the detectors; None for one in twenty at each check, asked at every sample.
    """

    def __init__(self, params: AdwinParams | None = None) -> None:
        self.params = params or _USUAL
        self._looks: dict[int, AdwinBank] = {}
        self._shares: dict[int, AdwinBank] = {}

    def look(self, digest: Digest) -> tuple[News, ...]:
        """What is new in a lesson's samples, by label; the same whenever it is asked."""
        return self._feed(digest, copies=True)

    def add(self, digest: Digest) -> None:
        """Remember the samples of a lesson that was taught."""
        self._feed(digest, copies=False)

    def _feed(self, digest: Digest, *, copies: bool) -> tuple[News, ...]:
        if not len(digest):
            return ()
        found = []
        order = np.argsort(digest.prints, kind="stable")
        labels = digest.label[order]
        summary = digest.summary[order] / (4.0 * np.array(SUMMARY_UNITS))
        for label in np.unique(labels).tolist():
            if label not in self._looks:
                found.append(News(kind="concept", label=label, text="was never taught"))
                if copies:
                    continue
            bank = self._looks.setdefault(label, AdwinBank(SUMMARY_NAMES, self.params))
            bank = bank.copy() if copies else bank
            seen = _names(bank, summary[labels == label])
            if seen:
                found.append(News(kind="look", label=label, text=f"looks other in {seen}"))
        return (*found, *self._other_shares(labels, copies=copies))

    def _other_shares(self, labels: NDArray[np.int64], *, copies: bool) -> tuple[News, ...]:
        """Whether known labels come oftener or less often; a lesson of one label says so itself."""
        present = np.unique(labels).tolist()
        if len(present) < 2:
            return ()
        changed = []
        for label in sorted({*present, *self._shares}):
            known = label in self._shares
            if copies and not known:
                continue
            bank = self._shares.setdefault(label, AdwinBank(("share",), self.params))
            bank = bank.copy() if copies else bank
            if bank.feed((labels == label).astype(np.float64)[:, None]).any() and known:
                changed.append(str(label))
        if not changed:
            return ()
        text = f"labels come in other shares ({', '.join(changed)})"
        return (News(kind="shares", label=-1, text=text),)

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart, as JSON values."""
        return {
            "looks": {str(label): bank.state_dict() for label, bank in self._looks.items()},
            "shares": {str(label): bank.state_dict() for label, bank in self._shares.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._looks = self._banks(state["looks"], SUMMARY_NAMES)
        self._shares = self._banks(state["shares"], ("share",))

    def _banks(self, states: dict[str, Any], names: tuple[str, ...]) -> dict[int, AdwinBank]:
        found = {}
        for label, state in states.items():
            bank = found[int(label)] = AdwinBank(names, self.params)
            bank.load_state_dict(state)
        return found


def _names(bank: AdwinBank, values: NDArray[np.float64]) -> str:
    """Names of the quantities that changed, joined."""
    changed: list[bool] = np.asarray(bank.feed(values).any(axis=0)).tolist()
    return ", ".join(name for name, seen in zip(bank.names, changed, strict=True) if seen)
