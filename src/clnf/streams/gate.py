"""The gate: every experience passes here before a model sees it.

    data -> survey and sample checks (a chunk at a time) -> digest -> lesson checks -> drift
         -> Admission

What is refused goes to quarantine with a reason; a change of the stream's distribution raises the
lesson's priority. :meth:`Gate.admit` changes nothing but the quarantine, and gives the same
answer when asked again; :meth:`Gate.consolidate` remembers a lesson after it was committed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.records import Experience, Kind, Source
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
from clnf.streams.features import SUMMARY_NAMES, SUMMARY_UNITS, describe, fingerprint
from clnf.streams.known import Digest, Known
from clnf.streams.neighbours import Labels
from clnf.streams.quarantine import Flaw, Quarantine
from clnf.streams.rights import RIGHTS, Rights
from clnf.streams.screen import Features, screen
from clnf.streams.sources import ArraySource, SubsetSource
from clnf.streams.stamps import Stamps

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
        watched: samples of a lesson in which drift is looked for, a fair sample of it.
        drift_priority: factor on the priority of a lesson at which drift was seen, >= 1.
    """

    chunk: int = quantity("1", 2048)
    quarantine: int = quantity("1", 512)
    references: int = quantity("1", 256)
    watched: int = quantity("1", 512)
    drift_priority: float = quantity("1", 1.25)

    def __post_init__(self) -> None:
        least = min(self.chunk, self.quarantine, self.references, self.watched)
        if least < 1 or not self.drift_priority >= 1.0:
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
        Stamps(names),
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
        features: Features = describe,
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

        Raises:
            ShapeError: the data give another number of samples than asked for, or conditions or
                weights that are not [B].
        """
        rights = RIGHTS[experience.kind]
        digest, flaws = self._screen(experience.data, rights)
        for check in self.lesson_checks:
            found = self._ask(check, digest, rights)
            if not found:
                continue
            kept = np.ones(len(digest), bool)
            for row, reason in found.items():
                if int(digest.prints[row]) not in self.known.pardoned:
                    position = int(digest.position[row])
                    flaws[position] = Flaw(index=position, check=check.name, reason=reason)
                    kept[row] = False
            digest = digest.select(kept)
        refused = tuple(flaws[position] for position in sorted(flaws))
        self.quarantine.add(experience.name, experience.data, refused)
        drift = self._watch(digest, self._drift.copy())
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
        rights = RIGHTS[admission.experience.kind]
        self.known.add(admission.digest, core=rights.stays, corrects=rights.corrects)
        self._watch(admission.digest, self._drift)

    def know(self, source: Source, *, kind: Kind = "new") -> Digest:
        """Remember what was taught without being admitted just now, such as core knowledge.

        Args:
            source: the samples.
            kind: whose they are; ``rights`` says what follows from it.

        Returns:
            The samples as checks see them.
        """
        rights = RIGHTS[kind]
        digest, _ = self._screen(source, rights)
        self.known.add(digest, core=rights.stays, corrects=rights.corrects)
        self._watch(digest, self._drift)
        return digest

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
        """Sample checks over all data; only the digest is kept."""
        asked = [c for c in self.sample_checks if rights.doubted or not c.by_likeness]
        return screen(
            source,
            asked,
            pardoned=self.known.pardoned,
            chunk=self.params.chunk,
            features=self.features,
        )

    def _watch(self, digest: Digest, detectors: AdwinBank) -> tuple[str, ...]:
        """Feed a lesson to the detectors; names of the quantities that changed.

        The samples go in the order of their hashes: a sorted folder is no drift, another lesson is.
        """
        if not len(digest):
            return ()
        rows = digest.fair(self.params.watched)
        rows = rows[np.argsort(digest.prints[rows], kind="stable")]
        changed = detectors.feed(digest.summary[rows] / (4.0 * np.array(SUMMARY_UNITS)))
        return tuple(
            name
            for name, seen in zip(SUMMARY_NAMES, np.asarray(changed.any(axis=0)), strict=True)
            if seen
        )

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
