"""Reads a lesson once, a chunk at a time: sample checks, then the digest of what passed them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ClnfError, ShapeError
from clnf.core.records import Batch, Source
from clnf.streams.checks import AbstractSampleCheck
from clnf.streams.features import describe, fingerprint
from clnf.streams.known import Digest
from clnf.streams.quarantine import Flaw
from clnf.streams.sources import Levels, levels_of
from clnf.streams.survey import Survey, survey, survey_levels

__all__ = ["Features", "screen"]

Features = Callable[[Tensor], NDArray[np.float32]]


@final
@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """A chunk of a lesson: positions, what the survey saw, and the samples where they were read.

    Bytes in memory are surveyed as they lie; the samples are only made of them when a check
    wants a closer look.
    """

    source: Source
    positions: NDArray[np.int64]
    seen: Survey | None
    batch: Batch | None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.seen.shape if self.seen is not None else tuple(self.samples().x.shape[1:])

    def samples(self) -> Batch:
        """The samples themselves."""
        return self.batch or self.source.take(torch.from_numpy(self.positions))

    def select(self, rows: NDArray[Any]) -> "_Chunk":
        """The samples at ``rows`` (bool [B])."""
        return _Chunk(
            source=self.source,
            positions=self.positions[rows],
            seen=self.seen and self.seen.select(rows),
            batch=self.batch and self.batch.select(torch.from_numpy(rows)),
        )


def screen(
    source: Source,
    checks: Sequence[AbstractSampleCheck],
    *,
    pardoned: Collection[int],
    chunk: int,
    features: Features,
) -> tuple[Digest, dict[int, Flaw]]:
    """Read all samples, refuse those with a flaw, and digest the others.

    Args:
        source: the lesson.
        checks: in order, but those that guard the learner come first.
        pardoned: fingerprints of samples that only those may refuse.
        chunk: samples read at once.
        features: as in ``gate.Gate``.

    Returns:
        The digest, and the flaws by position.

    Raises:
        ShapeError: the source gives another number of samples than asked for, or conditions or
            weights that are not [B].
    """
    flaws: dict[int, Flaw] = {}
    digests: list[Digest] = []
    shape: tuple[int, ...] | None = None
    hard = [check for check in checks if check.hard]
    soft = [check for check in checks if not check.hard]
    for part in _parts(source, flaws, chunk):
        part = _sift(part, flaws, hard, pardoned)
        if not len(part):
            continue
        shape = shape or part.shape
        if part.shape != shape:
            text = f"shape {list(part.shape)} in a lesson of {list(shape)}"
            _refuse(flaws, part, dict.fromkeys(range(len(part)), text), "schema", True)
            continue
        part = _sift(part, flaws, soft, pardoned)
        if len(part):
            digests.append(_digest(part, features))
    return Digest.join(digests), flaws


def _parts(source: Source, flaws: dict[int, Flaw], chunk: int) -> Iterator[_Chunk]:
    """All samples in order; where a chunk cannot be read, sample by sample."""
    for start in range(0, len(source), chunk):
        index = torch.arange(start, min(start + chunk, len(source)))
        for rows in (index, *index.split(1)) if len(index) > 1 else (index,):
            try:
                read = levels_of(source, rows) or source.take(rows)
            except Exception as error:
                # Whatever other people's sources raise: one bad sample must not end the stream.
                if len(rows) == 1:
                    _unreadable(flaws, int(rows), error)
                continue
            yield _part(source, rows, read)
            if len(rows) == len(index):
                break


def _unreadable(flaws: dict[int, Flaw], position: int, error: Exception) -> None:
    reason = f"cannot be read: {error if isinstance(error, ClnfError) else repr(error)}"
    flaws[position] = Flaw(index=position, check="schema", reason=reason, hard=True)


def _part(source: Source, index: Tensor, read: Levels | Batch) -> _Chunk:
    if isinstance(read, Levels):
        seen: Survey | None = survey_levels(read)
        return _Chunk(source=source, positions=index.numpy(), seen=seen, batch=None)
    batch, x = read, read.x
    shapes = [list(one.shape) for one in (batch.cond, batch.weight)]
    if len(batch) != len(index) or shapes != [[len(index)]] * 2:
        # No fault of a sample: the source itself is made wrong.
        raise ShapeError(
            f"a source asked for {len(index)} samples gives as many, with conditions and weights "
            f"[{len(index)}]; {type(source).__name__} gave {len(batch)} samples, conditions "
            f"{shapes[0]} and weights {shapes[1]}; correct its take(index)"
        )
    usable = x.dtype.is_floating_point and x.ndim > 1 and x.numel() > 0
    seen = survey(batch) if usable and batch.cond.dtype == torch.int64 else None
    return _Chunk(source=source, positions=index.numpy(), seen=seen, batch=batch)


def _sift(
    part: _Chunk,
    flaws: dict[int, Flaw],
    checks: Sequence[AbstractSampleCheck],
    pardoned: Collection[int],
) -> _Chunk:
    """Apply sample checks; return what passed all of them."""
    for check in checks:
        if not len(part):
            break
        sound = None if part.seen is None else check.sound(part.seen)
        if sound is not None and sound.all():
            continue
        batch = part.samples()
        found = check.find(batch)
        if found and not check.hard and pardoned:
            prints = fingerprint(batch.x).tolist()
            found = {i: reason for i, reason in found.items() if prints[i] not in pardoned}
        if found:
            _refuse(flaws, part, found, check.name, check.hard)
            part = part.select(np.array([i not in found for i in range(len(part))]))
    return part


def _digest(part: _Chunk, features: Features) -> Digest:
    seen = part.seen
    if seen is None or not seen.finite.all():
        # Only where a gate is built without the checks for it.
        batch = part.samples()
        x = torch.nan_to_num(batch.x.to(torch.float32), nan=0.0, posinf=1.0, neginf=-1.0)
        x = x.reshape(len(x), -1) if x.ndim < 2 else x
        seen = survey(Batch(x=x, cond=batch.cond, weight=batch.weight))
    usual = features is describe
    return Digest(
        position=part.positions,
        prints=seen.prints,
        label=seen.label,
        features=seen.features if usual else features(part.samples().x),
        summary=seen.summary,
        marks=seen.marks,
        pixels=seen.pixels,
        windows=seen.windows if usual else None,
    )


def _refuse(
    flaws: dict[int, Flaw], part: _Chunk, found: dict[int, str], check: str, hard: bool
) -> None:
    for i, reason in found.items():
        position = int(part.positions[i])
        flaws[position] = Flaw(index=position, check=check, reason=reason, hard=hard)
