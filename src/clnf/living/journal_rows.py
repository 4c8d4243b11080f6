"""Rows of a journal, and the hashes that chain them."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from clnf.core.units import quantity

__all__ = ["Event", "Measure", "Quarantined", "Row", "canonical", "first_hash", "next_hash"]

# Of a row: its table, its hash, and what stands in it.
Row = tuple[str, str, tuple[Any, ...]]


@final
@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened at a step of the run."""

    row: int = quantity("1")
    step: int = quantity("1")
    event: str
    payload: dict[str, Any]
    hash: str


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measured value: which measure, of which probe, at which step."""

    step: int = quantity("1")
    measure: str
    probe: str
    value: float = quantity("1")


@final
@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """Samples the gate turned away, of one lesson and for one reason."""

    row: int = quantity("1")
    step: int = quantity("1")
    lesson: str
    reason: str
    samples: np.ndarray[Any, Any]


def first_hash(table: str) -> str:
    """What the hash of a table's first row follows."""
    return hashlib.sha256(f"clnf journal 1: {table}".encode()).hexdigest()


def next_hash(previous: str, values: Any) -> str:
    """The hash of a row, after that of the row before."""
    plain = [hashlib.sha256(v).hexdigest() if isinstance(v, bytes) else v for v in values]
    text = json.dumps(plain, separators=(",", ":"))
    return hashlib.sha256((previous + text).encode()).hexdigest()


def canonical(value: Any) -> str:
    """A value as JSON with one form for each; numbers that are not finite become null."""
    return json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
