"""Every guard and every memory, digital and on a chip, goes on to the same bits.

One table: what it lacks is named, and why. Without its guard's state no row ends the same.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from clnf.chip import Chip, ChipSpec, host
from clnf.chip.updates import PulseRule
from clnf.continual import guards as every
from clnf.continual.adapters import CLoRA, CLoRAParams, OLoRA, OLoRAParams, Stack
from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir
from clnf.continual.shelves import Compressed, Database
from clnf.core.records import Batch, Experience
from clnf.living import snapshots
from clnf.spiking import LI, LIF, Neurons, Readout
from faults.small_generator import Field

STEPS, STOPS = 5, (0, 2, 4)
Lesson = Callable[..., Experience]


class Made(NamedTuple):
    """What a guard is made of."""

    model: Any
    weights: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    layers: list[nn.Module]


class OverTime(nn.Module):
    """A constant current through spiking cells; one mean potential a class."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Linear(5, 9), Neurons(LIF(tau_s=5e-3), dt_s=1e-3),
            nn.Linear(9, 3), Readout(LI(tau_s=5e-3), dt_s=1e-3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stages(2 * x.expand(6, *x.shape)).mean(0)
        return out


def classifier() -> nn.Module:
    return Classifier(nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)))


class World:
    """A model, digital or with every linear layer on cells, and one guard."""

    def __init__(
        self, guard: Callable[[Made], Any], place: str, kind: Callable[[], nn.Module] = classifier,
        stacked: bool = False,
    ) -> None:  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = kind()
        self.stack = Stack(self.model, rank=2, seed=1) if stacked else None
        for name in "abc" if self.stack else "":
            self.stack.add(name)  # type: ignore[union-attr]
        self.chip: Chip | None = None
        if place == "chip":
            ends = (".down", ".up") if stacked else ("",)
            self.chip = host(
                self.model, assign=lambda name, _: "plastic" if name.endswith(ends) else None,
                seed=4, spec=ChipSpec(pairs=1),
            )  # fmt: skip
        weights = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        found = [m for m in self.model.modules() if isinstance(getattr(m, "weight", None), Tensor)]
        layers = [m for m in found if m.weight.dim() == 2]
        everything = [*weights.values()]
        optimizer: torch.optim.Optimizer
        if self.chip is None:
            optimizer = torch.optim.SGD(everything, lr=0.1, momentum=0.9)
        else:
            optimizer = self.chip.optimizer(everything, lr=0.1, rule=PulseRule(digital_lr=0.05))
        made = guard(Made(self.model, weights, optimizer, layers))
        self.learner = Learner(self.model, optimizer, guards=[made], seed=3)

    def learn(self, name: str) -> None:
        if self.stack is not None:
            self.stack.learn(name)

    def parts(self) -> dict[str, dict[str, Any]]:
        cells = {} if self.chip is None else {f"{name}.weight" for name in self.chip.layers}
        model = {k: v for k, v in self.model.state_dict().items() if k not in cells}
        found = {"model": model, "learner": self.learner.state_dict()}
        return found if self.chip is None else {**found, "chip": self.chip.state_dict()}

    @torch.no_grad()
    def load(self, parts: dict[str, dict[str, Any]]) -> None:
        if self.chip is not None:
            self.chip.load_state_dict(parts["chip"])
        there = self.model.state_dict()
        for name, value in parts["model"].items():
            there[name].copy_(value)
        self.learner.load_state_dict(parts["learner"])


def hat(made: Made) -> every.HAT:
    params = every.HATParams(lessons=3, steps=5, steepness=20.0)
    return every.HAT(made.layers, params, seed=0, optimizer=made.optimizer)


def fisher(made: Made, of: Any = "loss") -> Fisher:
    return Fisher(made.model, list(made.weights), FisherParams(samples=4, of=of, chunk=1), seed=2)


def er(memory: Any, keep: Any = "batch") -> Any:
    return every.Rehearsal(memory, every.RehearsalParams(samples=4, keep=keep))


def backprop(made: Made) -> Any:
    params = every.ContinualBackpropParams(rate=0.2, maturity=1, decay=0.9)
    return every.ContinualBackprop(
        made.layers, [made.model.net[1]], params, optimizer=made.optimizer, seed=0
    )


GUARDS: dict[str, Callable[[Made], Any]] = {
    "AGEM": lambda m: every.AGEM(
        Balanced(12, seed=0), m.model, m.weights, every.AGEMParams(keep="batch")
    ),
    "ContinualBackprop": backprop,
    "DER": lambda m: every.DER(Reservoir(12, seed=0), m.model, every.DERParams(samples=4)),
    "ERACE": lambda m: every.ERACE(Reservoir(12, seed=0), m.model, every.ERACEParams(samples=4)),
    "EWC": lambda m: every.EWC(fisher(m), every.EWCParams(strength=10.0)),
    "Fence": lambda m: every.Fence(
        fisher(m), every.FenceParams(fraction=0.3), optimizer=m.optimizer
    ),
    "HAT": hat,
    "LatentRehearsal": lambda m: every.LatentRehearsal(
        Reservoir(12, seed=0), m.model, m.model.net[1], m.model.net[2]
    ),
    "LwF": lambda m: every.LwF(m.model),
    "MAS": lambda m: every.MAS(fisher(m, "outputs"), every.MASParams(strength=1.0)),
    "Metaplastic": lambda m: every.Metaplastic(m.weights),
    "PackNet": lambda m: every.PackNet(
        m.weights, every.PackNetParams(at=2, by_writing=False), optimizer=m.optimizer
    ),
    "Rehearsal": lambda m: er(Balanced(12, seed=0), "lesson"),
    "SI": lambda m: every.SI(m.weights, every.SIParams(strength=5.0)),
}
GENERATORS: dict[str, Callable[[Made], Any]] = {
    "Distillation": lambda m: every.Distillation(
        m.model, (5,), every.DistillationParams(steps=2), seed=1
    ),
    "MatchedReplay": lambda m: every.MatchedReplay(m.model, every.MatchedReplayParams(samples=4)),
    "ReducedRehearsal": lambda m: every.ReducedRehearsal(
        m.model, Balanced(12, seed=0), every.RehearsalParams(samples=4)
    ),
}
ADAPTERS: dict[str, Callable[[Made], Any]] = {
    "CLoRA": lambda m: CLoRA(m.model, CLoRAParams(strength=1e3)),
    "OLoRA": lambda m: OLoRA(m.model, OLoRAParams(strength=0.1)),
}
# A chip holds one set of weights, and its cells are not overwritten.
NOT_ON_A_CHIP = {"ContinualBackprop", "LwF", "MatchedReplay"}
# All they know is in the weights, or in the adapters of earlier lessons.
WITHOUT_STATE = {"Metaplastic", "CLoRA", "OLoRA"}
# Their lesson must have begun for anything to be asked of them.
BEGIN = {"Fence", "HAT", "PackNet", "SI"}


def teach(world: World, lesson: Lesson, start: int, keep: Callable[[int], None]) -> None:
    """Go on with the second lesson, to the end of the third."""
    world.learn("b")
    for info in world.learner.lesson(lesson("b"), steps=STEPS, batch_size=8, start_step=start):
        keep(info.step)
    world.learner.consolidate(lesson("b"))
    if world.chip is not None:
        world.chip.advance(3600.0)
    world.learn("c")
    list(world.learner.lesson(lesson("c"), steps=2, batch_size=8))


def resumed(build: Callable[[], World], lesson: Lesson, folder: Path, name: str = "") -> None:
    """Stop early, in the middle and late, go on from the snapshot, and end with the same bits.

    Who goes on takes the same snapshots: to take a chip's state closes windows of worn cells.
    """

    def end(world: World, start: int, into: str) -> str:
        def keep(step: int) -> None:
            snapshots.save(folder / into, step, world.parts(), keep=STEPS + 1)

        teach(world, lesson, start, keep)
        return snapshots.save(folder / f"{into} end", 1, world.parts())

    whole = build()
    whole.learn("a")
    list(whole.learner.lesson(lesson("a"), steps=3, batch_size=8))
    whole.learner.consolidate(lesson("a"))
    wanted = end(whole, 0, "whole")
    for stop in STOPS:
        kept = snapshots.load(folder / "whole" / f"{stop:08d}").parts
        again = build()
        again.learn("b")
        again.load(kept)
        assert end(again, stop + 1, f"from {stop}") == wanted, f"stopped after step {stop}"
    if name not in WITHOUT_STATE:
        # The control: one that forgets what its guard knew.
        kept = snapshots.load(folder / "whole" / "00000002").parts
        again = build()
        again.learn("b")
        own = again.learner.state_dict()
        fresh = {key: own[key] for key in own if key.startswith("guard.")}
        rest = {k: v for k, v in kept["learner"].items() if not k.startswith("guard.")}
        again.load({**kept, "learner": {**rest, **fresh}})
        for guard in again.learner.guards if name in BEGIN else ():
            guard.begin(lesson("b"))
        assert end(again, 3, "forgetful") != wanted


def rows() -> Iterator[tuple[str, str]]:
    for name in (*GUARDS, *GENERATORS, *ADAPTERS):
        yield name, "digital"
        if name not in NOT_ON_A_CHIP:
            yield name, "chip"


@pytest.mark.parametrize(("name", "place"), [*rows()])
def test_every_guard(name: str, place: str, lesson: Lesson, tmp_path: Path) -> None:
    guard = (GUARDS | GENERATORS | ADAPTERS)[name]
    kind = Field if name in GENERATORS else classifier
    resumed(lambda: World(guard, place, kind, stacked=name in ADAPTERS), lesson, tmp_path, name)


def test_no_guard_is_left_out() -> None:
    there = {name for name in every.__all__ if not name.endswith("Params")}
    assert there == {*GUARDS, *GENERATORS}
    assert there >= NOT_ON_A_CHIP


class Herd:
    """A memory that herds by the samples themselves: no guard hands it features."""

    def __init__(self, memory: Balanced) -> None:
        self._memory = memory

    def __len__(self) -> int:
        return len(self._memory)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def add(self, batch: Batch, outputs: Tensor | None = None) -> None:
        self._memory.add(batch, batch.x)


MEMORIES = ("reservoir", "balanced", "herding")
SHELVES = ("ram", "compressed", "database")


@pytest.mark.parametrize("place", ["digital", "chip"])
@pytest.mark.parametrize("shelf", SHELVES)
@pytest.mark.parametrize("policy", MEMORIES)
def test_every_memory(policy: str, shelf: str, place: str, lesson: Lesson, tmp_path: Path) -> None:
    """A database is one file for all, and ahead of every snapshot but the last."""
    files: list[Database] = []

    def memory() -> Any:
        place_of: Any = {"ram": lambda: None, "compressed": Compressed}.get(shelf)
        if place_of is None:
            files.append(Database(tmp_path / "samples.db", generations=99))
        on = files[-1] if place_of is None else place_of()
        if policy == "reservoir":
            return Reservoir(12, seed=1, shelf=on)
        return Balanced(12, seed=1, shelf=on, herding=policy == "herding")

    def guard(made: Made) -> Any:
        return er(Herd(memory()), "lesson") if policy == "herding" else er(memory())

    resumed(lambda: World(guard, place), lesson, tmp_path)
    for one in files:
        one.close()


@pytest.mark.parametrize("place", ["digital", "chip"])
def test_a_spiking_classifier(place: str, lesson: Lesson, tmp_path: Path) -> None:
    build = GUARDS["DER"]
    assert OverTime().stages[:2](2 * torch.randn(6, 4, 5)).count_nonzero() > 5  # it does spike
    resumed(lambda: World(build, place, lambda: Classifier(OverTime())), lesson, tmp_path)
