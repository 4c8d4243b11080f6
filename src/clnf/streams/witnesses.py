"""Samples that are asked about labels, and how far they lie from others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.streams.judge_kernels import nearest
from clnf.streams.known import Digest, Known

__all__ = ["Witnesses", "nearest_among", "nearest_witnesses", "squared_distances", "witnesses_of"]

_BLOCK = 512  # rows of the distance matrix held at once


@final
@dataclass(frozen=True, kw_only=True)
class Witnesses:
    """Samples whose labels are asked about.

    Attributes:
        features: float32 [W, F].
        label: int64 [W].
        owner: int64 [W], row of each in the lesson; -1 for references.
    """

    features: NDArray[np.float32]
    label: NDArray[np.int64]
    owner: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.owner)


def witnesses_of(digest: Digest, known: Known, most: int) -> Witnesses:
    """References, and a fair sample of at most ``most`` of the lesson."""
    rows = digest.fair(most)
    features, label = digest.features[rows], digest.label[rows]
    old = known.references
    if not len(old) or old.features.shape[1] != digest.features.shape[1]:
        return Witnesses(features=features, label=label, owner=rows)
    return Witnesses(
        features=np.concatenate([old.features, features]),
        label=np.concatenate([old.label, label]),
        owner=np.concatenate([np.full(len(old), -1, np.int64), rows]),
    )


def squared_distances(
    features: NDArray[np.float32],
    rows: NDArray[np.int64],
    witnesses: Witnesses,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Blocks of squared distances [rows, witnesses]; a sample is infinitely far from itself.

    Args:
        features: float32 [A, F], of the samples asked about.
        rows: int64 [A], their rows in the lesson.
        witnesses: whom they are compared with.

    Yields:
        Rows and float32 [B, W].
    """
    there = witnesses.features
    norm = (there * there).sum(1)
    for start in range(0, len(rows), _BLOCK):
        part, here = rows[start : start + _BLOCK], features[start : start + _BLOCK]
        squares = here @ there.T
        squares *= -2.0
        squares += norm
        squares += (here * here).sum(1)[:, None]
        np.maximum(squares, 0.0, out=squares)
        squares[witnesses.owner[None, :] == part[:, None]] = np.inf
        yield part, squares


def nearest_witnesses(
    digest: Digest,
    rows: NDArray[np.int64],
    witnesses: Witnesses,
    count: int,
) -> NDArray[np.int64]:
    """The nearest witnesses of some samples, nearest first, int64 [A, count]."""
    found = np.empty((len(rows), count), np.int64)
    blocks = squared_distances(digest.features[rows], rows, witnesses)
    for number, (part, squares) in enumerate(blocks):
        nearest(squares, found[number * _BLOCK : number * _BLOCK + len(part)])
    return found


def nearest_among(witnesses: Witnesses, asked: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The nearest other witnesses of some of them, nearest first, int64 [A, count]."""
    alone = Witnesses(
        features=witnesses.features, label=witnesses.label, owner=np.arange(len(witnesses))
    )
    found = np.empty((len(asked), count), np.int64)
    blocks = squared_distances(alone.features[asked], asked, alone)
    for number, (part, squares) in enumerate(blocks):
        nearest(squares, found[number * _BLOCK : number * _BLOCK + len(part)])
    return found
