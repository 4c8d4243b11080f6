"""What the gate has already seen: fingerprints of taught samples, and references by label."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from clnf.core.units import quantity
from clnf.streams.features import Windows

__all__ = ["Digest", "Known"]


@final
@dataclass(frozen=True, kw_only=True)
class Digest:
    """The samples of a lesson as lesson checks see them; row i of each field is one sample.

    Attributes:
        position: int64 [N], position in the experience's data.
        prints: int64 [N], content hashes.
        label: int64 [N], concept or class index.
        features: float32 [N, F].
        summary: float64 [N, S], see ``features.SUMMARY_NAMES``.
        marks: uint8 [N, M], contents of small blocks, see ``features.marks``; None where samples
            are no pictures.
        pixels: of a picture; None where samples are no pictures.
        windows: what belongs to which part of a picture; None where that is not known.
        shared: what one check worked out and another may use, by its name; a lesson and all
            selections from it share it.
    """

    position: NDArray[np.int64]
    prints: NDArray[np.int64]
    label: NDArray[np.int64]
    features: NDArray[np.float32]
    summary: NDArray[np.float64]
    marks: NDArray[np.uint8] | None = None
    pixels: int | None = quantity("1", None)
    windows: Windows | None = None
    shared: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.position)

    def select(self, rows: NDArray[Any]) -> "Digest":
        """The samples at ``rows`` (int64 [K] or bool [N])."""
        return Digest(
            position=self.position[rows],
            prints=self.prints[rows],
            label=self.label[rows],
            features=self.features[rows],
            summary=self.summary[rows],
            marks=None if self.marks is None else self.marks[rows],
            pixels=self.pixels,
            windows=self.windows,
            shared=self.shared,
        )

    def fair(self, most: int) -> NDArray[np.int64]:
        """Rows of at most ``most`` samples, ascending: those with the smallest fingerprints.

        A fair sample that depends on what is in the lesson, not on the order it came in.
        """
        if len(self) <= most:
            return np.arange(len(self))
        return np.sort(np.argpartition(self.prints, most - 1)[:most])

    @staticmethod
    def join(parts: "Sequence[Digest]") -> "Digest":
        """Digests one after another; no parts give a digest of no samples."""
        none = np.empty(0, np.int64)
        if not parts:
            void = np.empty((0, 0), np.float32)
            return Digest(
                position=none, prints=none, label=none, features=void, summary=np.empty((0, 0))
            )
        marks = [part.marks for part in parts if part.marks is not None]
        return Digest(
            position=np.concatenate([part.position for part in parts]),
            prints=np.concatenate([part.prints for part in parts]),
            label=np.concatenate([part.label for part in parts]),
            features=np.concatenate([part.features for part in parts]),
            summary=np.concatenate([part.summary for part in parts]),
            marks=np.concatenate(marks) if len(marks) == len(parts) else None,
            pixels=parts[0].pixels,
            windows=parts[0].windows,
        )


@final
class Known:
    """Compact memory of what was taught.

    Fingerprints take 16 bytes a sample. Of each label at most ``per_label`` samples are kept as
    references: the ones with the smallest fingerprints, which is a fair sample that depends
    neither on order nor on batch size. References of core knowledge come first: whatever is taught
    under their label later cannot push them out.

    Args:
        per_label: references kept of one label, >= 1.
    """

    def __init__(self, per_label: int = 256) -> None:
        self.per_label = per_label
        self.prints: NDArray[np.int64] = np.empty(0, np.int64)
        self.print_labels: NDArray[np.int64] = np.empty(0, np.int64)
        self.references = Digest.join([])
        self.core: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.pardoned: set[int] = set()

    def add(self, digest: Digest, *, core: bool = False, corrects: bool = False) -> None:
        """Remember the samples of a taught lesson.

        Args:
            digest: the lesson.
            core: whether it is core knowledge.
            corrects: whether its labels replace those that its samples were taught under before.
        """
        if not len(digest):
            return
        if corrects:
            self._correct(digest)
        self._add_prints(digest)
        # Of each label only the smallest can become references; sorting them all takes longer.
        rows = []
        for label in np.unique(digest.label):
            mine = np.flatnonzero(digest.label == label)
            if len(mine) > self.per_label:
                mine = mine[np.argpartition(digest.prints[mine], self.per_label - 1)]
            rows.append(mine[: self.per_label])
        digest = digest.select(np.concatenate(rows))
        old, is_core = self.references, np.full(len(digest), core)
        if len(old) and old.features.shape[1] == digest.features.shape[1]:
            digest = Digest.join([old, digest])
            is_core = np.concatenate([self.core, is_core])
        order = np.lexsort((digest.prints, ~is_core, digest.label))
        _, start = np.unique(digest.label[order], return_index=True)
        rank = np.arange(len(order)) - np.repeat(start, np.diff(np.append(start, len(order))))
        kept = order[rank < self.per_label]
        self.references, self.core = replace(digest.select(kept), shared={}), is_core[kept]

    def _correct(self, digest: Digest) -> None:
        """Forget other labels of these samples; core knowledge keeps its own."""
        order = np.argsort(digest.prints, kind="stable")
        prints, label = digest.prints[order], digest.label[order]

        def now(asked: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
            place = np.minimum(np.searchsorted(prints, asked), len(prints) - 1)
            return np.where(prints[place] == asked, label[place], before)

        self.print_labels = now(self.prints, self.print_labels)
        old = self.references
        if len(old):
            kept = self.core | (now(old.prints, old.label) == old.label)
            self.references, self.core = old.select(kept), self.core[kept]

    def _add_prints(self, digest: Digest) -> None:
        """Insert what is new, in order; of equal ones the first label stays."""
        prints, first = np.unique(digest.prints, return_index=True)
        place = np.searchsorted(self.prints, prints)
        new = np.ones(len(prints), bool)
        inside = place < len(self.prints)
        new[inside] = self.prints[place[inside]] != prints[inside]
        self.prints = np.insert(self.prints, place[new], prints[new])
        labels = digest.label[first[new]]
        self.print_labels = np.insert(self.print_labels, place[new], labels)

    def label_of(self, prints: NDArray[np.int64]) -> NDArray[np.int64]:
        """Label under which each fingerprint was taught, or -1 where it was not."""
        if not len(self.prints):
            return np.full(len(prints), -1, np.int64)
        place = np.minimum(np.searchsorted(self.prints, prints), len(self.prints) - 1)
        return np.where(self.prints[place] == prints, self.print_labels[place], -1)

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart: tensors and JSON values in a flat dict."""
        references = self.references
        marks = references.marks
        return {
            **({} if marks is None else {"reference_marks": torch.from_numpy(marks.copy())}),
            "prints": torch.from_numpy(self.prints.copy()),
            "print_labels": torch.from_numpy(self.print_labels.copy()),
            "reference_prints": torch.from_numpy(references.prints.copy()),
            "reference_labels": torch.from_numpy(references.label.copy()),
            "reference_features": torch.from_numpy(references.features.copy()),
            "reference_summary": torch.from_numpy(references.summary.copy()),
            "reference_core": torch.from_numpy(self.core.copy()),
            "pardoned": sorted(self.pardoned),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.prints = state["prints"].numpy().copy()
        self.print_labels = state["print_labels"].numpy().copy()
        prints = state["reference_prints"].numpy().copy()
        self.references = Digest(
            position=np.full(len(prints), -1, np.int64),
            prints=prints,
            label=state["reference_labels"].numpy().copy(),
            features=state["reference_features"].numpy().copy(),
            summary=state["reference_summary"].numpy().copy(),
            marks=state["reference_marks"].numpy().copy() if "reference_marks" in state else None,
        )
        # States of earlier versions know no marks, nor which references are core knowledge.
        core = state.get("reference_core", torch.zeros(len(prints), dtype=torch.bool))
        self.core = core.numpy().copy()
        self.pardoned = {int(value) for value in state["pardoned"]}
