"""What the gate has already seen: fingerprints of taught samples, and references by label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

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
    """

    position: NDArray[np.int64]
    prints: NDArray[np.int64]
    label: NDArray[np.int64]
    features: NDArray[np.float32]
    summary: NDArray[np.float64]
    marks: NDArray[np.uint8] | None = None

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
        )

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

    def add(self, digest: Digest, *, core: bool = False) -> None:
        """Remember the samples of a taught lesson, or of core knowledge."""
        if not len(digest):
            return
        prints = np.concatenate([self.prints, digest.prints])
        labels = np.concatenate([self.print_labels, digest.label])
        self.prints, first = np.unique(prints, return_index=True)
        self.print_labels = labels[first]
        old, is_core = self.references, np.full(len(digest), core)
        if len(old) and old.features.shape[1] == digest.features.shape[1]:
            digest = Digest.join([old, digest])
            is_core = np.concatenate([self.core, is_core])
        order = np.lexsort((digest.prints, ~is_core, digest.label))
        _, start = np.unique(digest.label[order], return_index=True)
        rank = np.arange(len(order)) - np.repeat(start, np.diff(np.append(start, len(order))))
        kept = order[rank < self.per_label]
        self.references, self.core = digest.select(kept), is_core[kept]

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
