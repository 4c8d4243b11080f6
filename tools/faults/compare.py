"""Runs to their end or stopped on the way, and whether two of them ended alike to the bit."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from clnf.living import snapshots
from clnf.living.arm import Arm
from clnf.living.journal import Journal
from clnf.living.recipe import Recipe

__all__ = ["final_state", "finish", "paused", "same"]


def finish(folder: Path, recipe: Recipe) -> None:
    """Run an arm to its end."""
    arm = Arm(folder, recipe)
    try:
        for _ in arm.run():
            pass
    finally:
        arm.close()


def paused(folder: Path, recipe: Recipe, stops: Iterable[int]) -> Arm:
    """Run an arm and leave it so many times, as a kill would: nothing is saved on the way out.

    Args:
        folder: of the arm.
        recipe: its recipe.
        stops: after how many further pauses of the arm it is left, each time anew.

    Returns:
        The arm as it was left last, closed.
    """
    for stop_after in stops:
        arm = Arm(folder, recipe)
        for count, _ in enumerate(arm.run()):
            if count >= stop_after:
                break
        arm.close()
    return arm


def final_state(folder: Path) -> dict[str, Any]:
    """All parts of the newest snapshot, and the hashes of a journal that was verified."""
    parts = snapshots.load_latest(folder / "snapshots").parts
    with Journal(folder / "journal.db", read_only=True) as journal:
        journal.verify()
        hashes = [event.hash for event in journal.events()]
    return {"parts": parts, "hashes": hashes}


def same(a: Any, b: Any) -> bool:
    """Whether two states are equal to the bit; a NaN equals another."""
    if isinstance(a, torch.Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
