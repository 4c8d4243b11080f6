"""The gate: every experience passes here before a model sees it.

    data -> sample checks (a chunk at a time) -> digest -> lesson checks -> drift -> Admission

What is refused goes to quarantine with a reason; a change of the stream's distribution raises the
lesson's priority. :meth:`Gate.admit` changes nothing but the quarantine, and gives the same
answer when asked again; :meth:`Gate.consolidate` remembers a lesson after it was committed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ClnfError, ConfigError
from clnf.core.records import Batch, Experience, Kind, Source
from clnf.core.units import quantity
from clnf.streams.ballot import Ballot
from clnf.streams.checks import (
    AbstractLessonCheck,
    AbstractSampleCheck,
    Duplicates,
    Finite,
    Flat,
    Noise,
    Outliers,
    Range,
    Schema,
)
from clnf.streams.drift_bank import AdwinBank
from clnf.streams.features import (
    SUMMARY_NAMES,
    SUMMARY_UNITS,
    describe,
    fingerprint,
    marks,
    summarise,
)
from clnf.streams.known import Digest, Known
from clnf.streams.neighbours import Labels
from clnf.streams.quarantine import Flaw, Quarantine
from clnf.streams.rights import RIGHTS, Rights
from clnf.streams.sources import ArraySource, SubsetSource

__all__ = ["Admission", "Gate", "GateParams", "standard_checks"]

Check = AbstractSampleCheck | AbstractLessonCheck


@final
@dataclass(frozen=True, kw_only=True)
class GateParams:
    """Sizes of the gate.

    Attributes:
        chunk: samples read at once.
        quarantine: refused samples kept.
        references: samples of each taught label kept for comparison.
        drift_priority: factor on the priority of a lesson at which drift was seen, >= 1.
    """

    chunk: int = quantity("1", 512)
    quarantine: int = quantity("1", 512)
    references: int = quantity("1", 256)
    drift_priority: float = quantity("1", 1.25)

    def __post_init__(self) -> None:
        if min(self.chunk, self.quarantine, self.references) < 1 or self.drift_priority < 1.0:
            raise ConfigError(f"gate sizes and the drift priority must be at least 1, got {self}")


@final
@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the gate decided about one experience.

    Attributes:
        experience: the same experience with only the admitted data and the new priority.
        admitted: int64 [K], positions in the offered data.
        quarantined: the refused samples with reasons, by position.
        drift: quantities whose distribution changed with this lesson.
        digest: the admitted samples as checks saw them.
    """

    experience: Experience
    admitted: Tensor
    quarantined: tuple[Flaw, ...]
    drift: tuple[str, ...]
    digest: Digest

    @property
    def priority(self) -> float:
        """Factor on the loss of the lesson's samples."""
        return self.experience.priority

    def counts(self) -> dict[str, int]:
        """Refused samples by check."""
        return dict(sorted(Counter(flaw.check for flaw in self.quarantined).items()))

    def sentence(self) -> str:
        """The decision in one sentence."""
        offered = len(self.admitted) + len(self.quarantined)
        text = f"{len(self.admitted)} of {offered} samples admitted"
        if self.quarantined:
            text += "; quarantined: " + ", ".join(f"{n} {c}" for c, n in self.counts().items())
        if self.drift:
            text += f"; the stream changed in {', '.join(self.drift)}"
        return text


def standard_checks(
    *, shape: tuple[int, ...] | None = None, names: Sequence[str] = ()
) -> tuple[Check, ...]:
    """The checks for pictures in [-1, 1].

    Args:
        shape: shape of one sample; None accepts any.
        names: concept names by index; other indices are refused. None given accepts any.
    """
    return (
        Schema(shape, concepts=len(names) or None),
        Finite(),
        Range(),
        Flat(),
        Noise(),
        Duplicates(names),
        Outliers(),
        Ballot(names),
        Labels(names),
    )


@final
class Gate:
    """Checks what arrives and remembers what was taught.

    Args:
        checks: in order; a sample is refused by the first that finds a flaw.
        params: sizes.
        features: ``x [B, ...] -> float32 [B, F]``, coordinates in which like samples lie close;
            the default needs no model.
    """

    def __init__(
        self,
        checks: Sequence[Check] | None = None,
        *,
        params: GateParams = GateParams(),
        features: Callable[[Tensor], NDArray[np.float32]] = describe,
    ) -> None:
        chosen = standard_checks() if checks is None else checks
        self.params = params
        self.features = features
        self.sample_checks = tuple(c for c in chosen if isinstance(c, AbstractSampleCheck))
        self.lesson_checks = tuple(c for c in chosen if isinstance(c, AbstractLessonCheck))
        self.known = Known(params.references)
        self.quarantine = Quarantine(params.quarantine)
        self._drift = AdwinBank(SUMMARY_NAMES)

    def admit(self, experience: Experience) -> Admission:
        """Check an experience, sample by sample and as a whole.

        What its kind has the right to is in ``rights``: core knowledge and feedback are not doubted
        for what they look like, and feedback may correct labels.

        Refused samples go to :attr:`quarantine`. Nothing is learned about the lesson until
        :meth:`consolidate`, so a lesson rolled back leaves no trace in later decisions.
        """
        rights = RIGHTS[experience.kind]
        digest, flaws = self._screen(experience.data, rights)
        for check in self.lesson_checks:
            found = self._ask(check, digest, rights)
            kept = np.ones(len(digest), bool)
            for row, reason in found.items():
                if int(digest.prints[row]) not in self.known.pardoned:
                    position = int(digest.position[row])
                    flaws[position] = Flaw(index=position, check=check.name, reason=reason)
                    kept[row] = False
            digest = digest.select(kept)
        refused = tuple(flaws[position] for position in sorted(flaws))
        self.quarantine.add(experience.name, experience.data, refused)
        drift = _watch(digest, self._drift.copy())
        factor = self.params.drift_priority if drift else 1.0
        admitted = torch.from_numpy(digest.position.copy())
        return Admission(
            experience=replace(
                experience,
                data=SubsetSource(experience.data, admitted),
                priority=experience.priority * factor,
            ),
            admitted=admitted,
            quarantined=refused,
            drift=drift,
            digest=digest,
        )

    def consolidate(self, admission: Admission) -> None:
        """Remember an admitted lesson after it was committed."""
        self.known.add(admission.digest, core=RIGHTS[admission.experience.kind].stays)
        _watch(admission.digest, self._drift)

    def know(self, source: Source, *, kind: Kind = "new") -> None:
        """Remember data that was taught before this gate existed, such as core knowledge."""
        digest, _ = self._screen(source, RIGHTS["new"])
        self.known.add(digest, core=RIGHTS[kind].stays)
        _watch(digest, self._drift)

    def release(self, keys: Sequence[str]) -> ArraySource:
        """Let quarantined samples go: a person says they are good.

        They come back as a source for a new lesson, which this gate will admit.

        Raises:
            DataError: a key is unknown, or no learner could use its sample.
        """
        source = self.quarantine.release(keys)
        batch = source.take(torch.arange(len(source)))
        self.pardon(int(value) for value in fingerprint(batch.x))
        return source

    def pardon(self, prints: Iterable[int]) -> None:
        """Admit samples from now on, by their fingerprints: a person says they are good."""
        self.known.pardoned.update(prints)

    def _ask(self, check: AbstractLessonCheck, digest: Digest, rights: Rights) -> dict[int, str]:
        """What a check finds, as far as it may be asked."""
        if check.by_likeness and not rights.doubted:
            return {}
        if isinstance(check, Duplicates):
            return check.told(digest, self.known, corrects=rights.corrects)
        return check.find(digest, self.known)

    def _screen(self, source: Source, rights: Rights) -> tuple[Digest, dict[int, Flaw]]:
        """Sample checks over all data, a chunk at a time; only the digest is kept."""
        flaws: dict[int, Flaw] = {}
        parts: list[Digest] = []
        shape: tuple[int, ...] | None = None
        hard = [check for check in self.sample_checks if check.hard]
        soft = [
            c for c in self.sample_checks if not c.hard and (rights.doubted or not c.by_likeness)
        ]
        for positions, batch in self._chunks(source, flaws):
            positions, batch = self._sift(positions, batch, flaws, hard)
            if not len(batch):
                continue
            shape = shape or tuple(batch.x.shape[1:])
            if tuple(batch.x.shape[1:]) != shape:
                text = f"shape {list(batch.x.shape[1:])} in a lesson of {list(shape)}"
                _refuse(flaws, positions, dict.fromkeys(range(len(batch)), text), "schema", True)
                continue
            positions, batch = self._sift(positions, batch, flaws, soft)
            if len(batch):
                # Broken values can only get here when a gate is built without the finite check.
                x = torch.nan_to_num(batch.x, nan=0.0, posinf=1.0, neginf=-1.0)
                parts.append(
                    Digest(
                        position=positions,
                        prints=fingerprint(x),
                        label=batch.cond.numpy().copy(),
                        features=self.features(x),
                        summary=summarise(x),
                        marks=marks(x),
                    )
                )
        return Digest.join(parts), flaws

    def _chunks(
        self, source: Source, flaws: dict[int, Flaw]
    ) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """All samples in order; where a chunk cannot be read, sample by sample."""
        for start in range(0, len(source), self.params.chunk):
            index = torch.arange(start, min(start + self.params.chunk, len(source)))
            try:
                yield index.numpy(), source.take(index)
                continue
            except ClnfError:
                pass
            for one in index.split(1):
                try:
                    yield one.numpy(), source.take(one)
                except ClnfError as error:
                    reason = f"cannot be read: {error}"
                    _refuse(flaws, one.numpy(), {0: reason}, "schema", True)

    def _sift(
        self,
        positions: NDArray[np.int64],
        batch: Batch,
        flaws: dict[int, Flaw],
        checks: Sequence[AbstractSampleCheck],
    ) -> tuple[NDArray[np.int64], Batch]:
        """Apply sample checks; return what passed all of them."""
        for check in checks:
            if not len(batch):
                break
            found = check.find(batch)
            if found and not check.hard and self.known.pardoned:
                prints = fingerprint(batch.x)
                found = {i: r for i, r in found.items() if prints[i] not in self.known.pardoned}
            if found:
                _refuse(flaws, positions, found, check.name, check.hard)
                kept = np.array([i not in found for i in range(len(batch))])
                positions, batch = positions[kept], batch.select(torch.from_numpy(kept))
        return positions, batch

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart: tensors and JSON values in a flat dict."""
        return {
            **{f"known.{key}": value for key, value in self.known.state_dict().items()},
            **{f"quarantine.{key}": value for key, value in self.quarantine.state_dict().items()},
            **{f"drift.{name}": one for name, one in self._drift.state_dict().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""

        def under(prefix: str) -> dict[str, Any]:
            size = len(prefix)
            return {key[size:]: value for key, value in state.items() if key.startswith(prefix)}

        self.known.load_state_dict(under("known."))
        self.quarantine.load_state_dict(under("quarantine."))
        self._drift.load_state_dict(under("drift."))


def _refuse(
    flaws: dict[int, Flaw],
    positions: NDArray[np.int64],
    found: dict[int, str],
    check: str,
    hard: bool,
) -> None:
    for i, reason in found.items():
        position = int(positions[i])
        flaws[position] = Flaw(index=position, check=check, reason=reason, hard=hard)


def _watch(digest: Digest, detectors: AdwinBank) -> tuple[str, ...]:
    """Feed a lesson to the detectors; names of the quantities that changed.

    The samples go in the order of their hashes: a sorted folder is no drift, another lesson is.
    """
    if not len(digest):
        return ()
    order = np.argsort(digest.prints, kind="stable")
    changed = detectors.feed(digest.summary[order] / (4.0 * np.array(SUMMARY_UNITS)))
    return tuple(
        name
        for name, seen in zip(SUMMARY_NAMES, np.asarray(changed.any(axis=0)), strict=True)
        if seen
    )
