"""Where refused samples wait, with the reason, until a person looks at them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from clnf.core.errors import DataError
from clnf.core.records import Source
from clnf.core.units import quantity
from clnf.streams.sources import ArraySource

__all__ = ["Flaw", "Held", "Quarantine", "pardons_text", "read_pardons"]

_HASH = "xxh64"


@final
@dataclass(frozen=True, kw_only=True)
class Flaw:
    """Why a sample was refused.

    Attributes:
        index: position in the experience's data.
        check: name of the check.
        reason: for people.
        hard: whether the check guards the learner, so that nobody can release the sample.
    """

    index: int = quantity("1")
    check: str
    reason: str
    hard: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Held:
    """A refused sample.

    Attributes:
        key: names the sample, "lesson#index".
        lesson: name of the experience.
        flaw: why it is here.
        x: its data [...]; None where it could not even be read.
        cond: concept or class index it came with.
    """

    key: str
    lesson: str
    flaw: Flaw
    x: Tensor | None
    cond: int = quantity("1", -1)


@final
class Quarantine:
    """A bounded store of refused samples; the oldest leave first.

    Args:
        limit: samples kept, >= 1.
    """

    def __init__(self, limit: int = 512) -> None:
        self.limit = limit
        self.dropped = 0
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self._held.values()))

    def add(self, lesson: str, source: Source, flaws: Sequence[Flaw]) -> None:
        """Keep refused samples of a lesson; offering the same lesson again changes nothing."""
        self.dropped += max(0, len(flaws) - self.limit)
        flaws = flaws[: self.limit]
        for flaw, (x, cond) in zip(flaws, _read(source, flaws), strict=True):
            key = f"{lesson}#{flaw.index}"
            self._held[key] = Held(key=key, lesson=lesson, flaw=flaw, x=x, cond=cond)
        while len(self._held) > self.limit:
            del self._held[next(iter(self._held))]
            self.dropped += 1

    def release(self, keys: Sequence[str]) -> ArraySource:
        """Take samples out, as a source.

        Args:
            keys: as in :class:`Held`; at least one.

        Raises:
            DataError: a key is unknown, its sample may not be released, or shapes differ.
        """
        if not keys:
            raise DataError("name at least one sample to release")
        chosen = [self._get(key) for key in keys]
        data = [held.x for held in chosen if held.x is not None]
        if len({x.shape for x in data}) > 1:
            raise DataError("samples of different shapes must be released one by one")
        for key in keys:
            del self._held[key]
        return ArraySource(torch.stack(data), torch.tensor([held.cond for held in chosen]))

    def _get(self, key: str) -> Held:
        if key not in self._held:
            raise DataError(f"nothing named {key!r} is in quarantine")
        held = self._held[key]
        if held.flaw.hard or held.x is None:
            raise DataError(
                f"{key} cannot be released, the learner could not use it: {held.flaw.reason}"
            )
        return held

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart: tensors and JSON values in a flat dict."""
        rows = [
            [h.key, h.lesson, h.flaw.index, h.flaw.check, h.flaw.reason, h.flaw.hard, h.cond]
            for h in self._held.values()
        ]
        tensors = {f"x.{h.key}": h.x.clone() for h in self._held.values() if h.x is not None}
        return {"rows": rows, "dropped": self.dropped, **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.dropped = int(state["dropped"])
        self._held = {}
        for key, lesson, index, check, reason, hard, cond in state["rows"]:
            x = state[f"x.{key}"].clone() if f"x.{key}" in state else None
            flaw = Flaw(index=int(index), check=check, reason=reason, hard=bool(hard))
            self._held[key] = Held(key=key, lesson=lesson, flaw=flaw, x=x, cond=int(cond))


def _read(source: Source, flaws: Sequence[Flaw]) -> Iterator[tuple[Tensor | None, int]]:
    """The samples, all at once where that goes, else one by one; None for what cannot be read."""
    index = torch.tensor([flaw.index for flaw in flaws], dtype=torch.int64)
    for part in (index, *index.split(1)) if len(flaws) > 1 else index.split(1):
        try:
            batch = source.take(part)
        except Exception:
            # As in ``screen``: sources are other people's code.
            if len(part) == 1:
                yield None, -1
            continue
        for x, cond in zip(batch.x.detach().cpu().unbind(), batch.cond.tolist(), strict=True):
            yield x.clone(), int(cond)
        if len(part) > 1:
            return


def read_pardons(path: Path) -> frozenset[int]:
    """Fingerprints of samples that a person released, from a file; none where there is no file.

    Raises:
        DataError: the file is not what :func:`pardons_text` writes.
    """
    if not path.exists():
        return frozenset()
    try:
        content = json.loads(path.read_bytes())
        if content["hash"] != _HASH:
            raise ValueError(f"its hashes are {content['hash']}, not {_HASH}")
        words = content["released"]
        if content.get("sha256", _digest(words)) != _digest(words):
            raise ValueError("it does not match its hash")
        return frozenset(int(text, 16) - 2**63 for text in words)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} does not list released samples ({error}); remove it and release them again"
        ) from None


def pardons_text(prints: Iterable[int]) -> str:
    """The content of such a file: hexadecimal, since JSON readers may round large numbers."""
    words = [f"{one + 2**63:016x}" for one in sorted(prints)]
    return json.dumps({"hash": _HASH, "released": words, "sha256": _digest(words)}, indent=1)


def _digest(words: list[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
