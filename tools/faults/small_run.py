"""A run at its smallest: a learner, its memory and guards, a journal, snapshots and a lock.

A few tenths of a second from start to end, so that it can be killed at every change it makes.
What it writes is what an arm writes; the model is a classifier of a hundred weights: digital, on
a chip, or of spiking cells.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from clnf.chip import Chip, ChipSpec, host
from clnf.continual.adapters import adapter_parameters, attach
from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import (
    DER,
    ERACE,
    EWC,
    SI,
    DERParams,
    ERACEParams,
    EWCParams,
    Fence,
    FenceParams,
    Rehearsal,
    RehearsalParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir
from clnf.continual.shelves import Database
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.living.files import write_whole
from clnf.living.lock import RunLock
from clnf.living.recipe import Recipe
from clnf.living.store import Store
from clnf.spiking import LI, LIF, EventLinear, Readout, SpikingLinear

__all__ = ["KINDS", "RECIPE", "go"]

STEPS, EVERY = 6, 2
_SHUT = -1  # a lesson that the gate has not seen
RECIPE = Recipe(name="small", undo_points=1)


@final
class _Points:
    """Random points of three classes, the same for the same lesson."""

    def __init__(self, lesson: int) -> None:
        rng = torch_rng(0, "points", lesson)
        self.x = torch.randn(32, 5, generator=rng)
        self.cond = torch.randint(3, (32,), generator=rng)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Batch:
        return Batch.of(self.x[index], self.cond[index])


@final
@dataclass
class _World:
    """What learns."""

    model: nn.Module
    learner: Learner
    chip: Chip | None = None
    shelf: Database | None = None

    def state(self) -> dict[str, dict[str, Any]]:
        state = {"model": dict(self.model.state_dict()), "learner": self.learner.state_dict()}
        return state if self.chip is None else {**state, "chip": self.chip.state_dict()}

    def load(self, parts: dict[str, dict[str, Any]]) -> None:
        if self.chip is not None:
            self.chip.load_state_dict(parts["chip"])
        else:
            self.model.load_state_dict(parts["model"])
        self.learner.load_state_dict(parts["learner"])


def _network() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)))


def _digital(folder: Path) -> _World:
    model = _network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    names = [name for name, _ in model.named_parameters()]
    shelf = Database(folder / "memory.db")
    guards = [
        SI(dict(model.named_parameters())),
        DER(Reservoir(12, seed=1, shelf=shelf), model, DERParams(samples=4)),
        EWC(Fisher(model, names, FisherParams(samples=8), seed=0)),
    ]
    learner = Learner(model, optimizer, guards=guards, seed=0)
    return _World(model, learner, shelf=shelf)


def _on_a_chip(folder: Path) -> _World:
    model = _network()
    attach(model, rank=2, seed=1)
    ends = (".down", ".up")
    chip = host(
        model, assign=lambda name, _: "plastic" if name.endswith(ends) else None, seed=4,
        spec=ChipSpec(),
    )  # fmt: skip
    weights = adapter_parameters(model)
    optimizer = chip.optimizer(weights.values(), lr=0.05)
    fisher = Fisher(model, list(weights), FisherParams(samples=4), seed=2)
    guards = [
        Rehearsal(Balanced(12, seed=0), RehearsalParams(samples=4)),
        EWC(fisher, EWCParams(strength=1.0)),
        Fence(fisher, FenceParams(fraction=0.3), optimizer=optimizer),
    ]
    return _World(model, Learner(model, optimizer, guards=guards, seed=3), chip)


@final
class _OverTime(nn.Module):
    """Rows of numbers as currents of as many steps, through spiking cells, to one mean a class."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = SpikingLinear((5, 9), LIF(tau_s=5e-3), dt_s=1e-3, recurrent=True, seed=1)
        self.arrive = EventLinear(9, 3, bias=True, seed=2)
        self.read = Readout(LI(tau_s=5e-3), dt_s=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.read(self.arrive(self.cells(2 * x.expand(8, *x.shape)))).mean(0)
        return out


def _spiking(folder: Path) -> _World:
    model = Classifier(_OverTime())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    names = [name for name, _ in model.named_parameters()]
    guards = [
        ERACE(Reservoir(12, seed=1), model, ERACEParams(samples=4)),
        SI(dict(model.named_parameters())),
        EWC(Fisher(model, names, FisherParams(samples=8, chunk=1), seed=0)),
    ]
    return _World(model, Learner(model, optimizer, guards=guards, seed=5))


KINDS: dict[str, Callable[[Path], _World]] = {
    "digital": _digital,
    "chip": _on_a_chip,
    "spiking": _spiking,
}


def _silent(text: str) -> None:
    pass


def go(folder: Path, kind: str, note: Callable[[str], None] = _silent, *, lessons: int = 3) -> str:
    """Begin a run or go on with it, to its end.

    Args:
        folder: of the run; must exist.
        kind: of :data:`KINDS`.
        lessons: of six steps each.
        note: told "saved STEP SHA256" once a snapshot is said to be safe.

    Returns:
        SHA-256 of the last snapshot, and through it of all state and of the journal.
    """
    with RunLock(folder):
        store = Store(folder, RECIPE)
        try:
            return _go(store, KINDS[kind](folder), note, lessons)
        finally:
            store.close()


def _go(store: Store, world: _World, note: Callable[[str], None], lessons: int) -> str:
    folder = store.folder.parent
    found = store.open()
    lesson, step, number, last = 0, _SHUT, 0, ""
    if found is not None:
        state = found.parts["run"]
        world.load(found.parts)
        lesson, step, number = state["lesson"], state["at"], state["step"]
        last = found.sha256

    def save(lesson: int, step: int, point: str = "") -> None:
        nonlocal number, last
        number += 1
        last = store.save(number, world.state(), {"lesson": lesson, "at": step}, point)
        note(f"saved {number} {last}")

    journal = store.journal
    if found is None:
        journal.append("start", 0)
        save(0, _SHUT, "start")
    while lesson < lessons:
        one = Experience(name=f"l{lesson}", concept=f"l{lesson}", data=_Points(lesson))
        if step == _SHUT:
            if world.chip is not None:
                world.chip.advance(3600.0)
            journal.append("gate", number, {"lesson": one.name})
            away = np.full((2, 5), lesson, np.float32)
            journal.add_quarantine(number, lesson=one.name, reason="flat", samples=away)
            step = 0
            save(lesson, step)
        for info in world.learner.lesson(one, steps=STEPS, batch_size=8, start_step=step):
            journal.append("step", info.step, {"loss": info.loss})
            journal.add_measure(info.step, "norm", one.name, info.gradient_norm)
            if (info.step + 1) % EVERY == 0 and info.step + 1 < STEPS:
                save(lesson, info.step + 1)
        world.learner.consolidate(one)
        picture = b"picture of " + last.encode()
        write_whole([(folder / "media" / one.name / "a.png", picture)])
        hashes = {f"{one.name}/a.png": hashlib.sha256(picture).hexdigest()}
        journal.append("pictures", number, {"after": one.name, "sha256": hashes})
        lesson, step = lesson + 1, _SHUT
        save(lesson, step, one.name)
    if world.shelf is not None:
        world.shelf.close()
    return last
