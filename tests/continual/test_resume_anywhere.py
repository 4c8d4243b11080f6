"""Resume by way of snapshots as a run takes them: at every step, from any shelf, on a chip.

``test_resume`` goes through the guards one by one; here are the places it does not reach.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from clnf.chip.hosting import host
from clnf.chip.spec import ChipSpec
from clnf.chip.updates import PulseRule
from clnf.continual.adapters import adapter_parameters, attach
from clnf.continual.baselines.gdumb import GDumb
from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import (
    DER,
    EWC,
    MAS,
    SI,
    DERParams,
    EWCParams,
    LatentRehearsal,
    MASParams,
    Rehearsal,
    RehearsalParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir
from clnf.continual.shelves import Compressed, Database
from clnf.living import snapshots
from clnf.streams.sentry import Sentry, SentryParams

STEPS = 9


class World:
    """What learns; everything of it that a snapshot must hold."""

    def __init__(
        self, guards: Callable[..., list[Any]], *, chip: str = "", lr: float = 0.1
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3))
        self.model, self.chip = Classifier(net), None
        weights = dict(self.model.named_parameters())
        optimizer: torch.optim.Optimizer
        if chip:
            attach(self.model, rank=2, seed=1)
            ends = (".down", ".up")
            self.chip = host(
                self.model, assign=lambda name, _: "plastic" if name.endswith(ends) else None,
                seed=4, spec=ChipSpec(pairs=1),
            )  # fmt: skip
            weights = adapter_parameters(self.model)
            rule = PulseRule(mode=chip)  # type: ignore[arg-type]
            optimizer = self.chip.optimizer(weights.values(), lr=lr, rule=rule)
        else:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.9)
        made = guards(self.model, weights, optimizer)
        self.learner = Learner(self.model, optimizer, guards=made, seed=3, clip_norm=5.0)

    def parts(self) -> dict[str, dict[str, Any]]:
        found = {"model": dict(self.model.state_dict()), "learner": self.learner.state_dict()}
        return found if self.chip is None else {**found, "chip": self.chip.state_dict()}

    def load(self, parts: dict[str, dict[str, Any]]) -> None:
        if self.chip is not None:
            self.chip.load_state_dict(parts["chip"])
            own = {k: v for k, v in parts["model"].items() if not k.endswith("weight")}
            self.model.load_state_dict(own, strict=False)
            for name, value in self.model.state_dict().items():  # digital weights of the base
                if ".down" not in name and ".up" not in name:
                    value.copy_(parts["model"][name])
        else:
            self.model.load_state_dict(parts["model"])
        self.learner.load_state_dict(parts["learner"])


def go(world: World, lesson: Any, start: int, steps: int, keep: Callable[[int], None]) -> None:
    """Go on with the second lesson, to the end of the third."""
    for info in world.learner.lesson(lesson("b"), steps=steps, batch_size=8, start_step=start):
        keep(info.step)
    world.learner.consolidate(lesson("b"))
    if world.chip is not None:
        world.chip.advance(3600.0)
    for _ in world.learner.lesson(lesson("c"), steps=2, batch_size=8):
        pass


def resumed_everywhere(
    build: Callable[[], World], lesson: Any, folder: Path, stops: range, steps: int = STEPS
) -> None:
    """Stop after each of the steps, go on from what a snapshot holds, and end with equal bits.

    Who goes on takes the same snapshots from there on, as a run does: to take a chip's state
    closes the windows of worn cells, so snapshots at other steps are another course.
    """

    def end(world: World, start: int, name: str) -> str:
        def keep(step: int) -> None:
            if step in stops:
                snapshots.save(folder / name, step, world.parts(), keep=len(stops) + 1)

        go(world, lesson, start, steps, keep)
        return snapshots.save(folder / f"{name} end", 1, world.parts())

    one = build()
    for _ in one.learner.lesson(lesson("a"), steps=4, batch_size=8):
        pass
    one.learner.consolidate(lesson("a"))
    wanted = end(one, 0, "whole")
    for stop in stops:
        kept = snapshots.load(folder / "whole" / f"{stop:08d}").parts
        again = build()
        again.load(kept)
        assert end(again, stop + 1, f"from {stop}") == wanted, f"stopped after step {stop}"
    # The control: what is compared is able to differ.
    late = build()
    late.load(snapshots.load(folder / "whole" / f"{stops[0]:08d}").parts)
    assert end(late, stops[0] + 2, "late") != wanted


def fisher(model: Any, weights: Any, of: Any = "loss") -> Fisher:
    return Fisher(model, list(weights), FisherParams(samples=4, of=of), seed=2)


def several(model: Any, weights: Any, optimizer: Any) -> list[Any]:
    return [
        Sentry(SentryParams(low=-6.0, high=6.0, copies=24)),
        SI(weights),
        DER(Reservoir(12, seed=1), model, DERParams(samples=4)),
        EWC(fisher(model, weights), EWCParams(strength=1.0)),
    ]


def test_every_step_of_a_lesson(lesson: Any, tmp_path: Path) -> None:
    resumed_everywhere(lambda: World(several), lesson, tmp_path, range(STEPS))


def test_steps_whose_samples_were_chosen_together_with_others(lesson: Any, tmp_path: Path) -> None:
    """Samples are chosen for 64 steps at once; stops before, at and after that seam."""
    resumed_everywhere(lambda: World(several), lesson, tmp_path, range(62, 67), 70)


@pytest.mark.parametrize("policy", ["reservoir", "balanced"])
@pytest.mark.parametrize("kind", ["compressed", "database"])
def test_memories_on_shelves(kind: str, policy: str, lesson: Any, tmp_path: Path) -> None:
    """A database is one file for all, and ahead of every snapshot but the last."""
    shelves: list[Database] = []
    stops = range(0, STEPS, 2)

    def shelf() -> Any:
        if kind == "compressed":
            return Compressed()
        # Each resumed world goes on in the same file, as a run does.
        shelves.append(Database(tmp_path / "samples.db", generations=99))
        return shelves[-1]

    def build() -> World:
        kind_of = Reservoir if policy == "reservoir" else Balanced
        memory = kind_of(12, seed=1, shelf=shelf())
        params = RehearsalParams(samples=4, keep="batch")
        return World(lambda *_: [Rehearsal(memory, params)])

    resumed_everywhere(build, lesson, tmp_path, stops)
    for one in shelves:
        one.close()


def test_a_herd_and_gdumb_come_back(lesson: Any, tmp_path: Path) -> None:
    batch = lesson("a").data.take(torch.arange(40))
    herd = Balanced(9, seed=0, herding=True)
    herd.add(batch, batch.x)
    snapshots.save(tmp_path / "herd", 1, {"memory": herd.state_dict()})
    again = Balanced(9, seed=0, herding=True)
    again.load_state_dict(snapshots.load_latest(tmp_path / "herd").parts["memory"])
    more = lesson("b").data.take(torch.arange(40))
    for memory in (herd, again):
        memory.add(more, more.x)
    assert torch.equal(herd.all().x, again.all().x)
    assert torch.equal(herd.all().cond, again.all().cond)
    forgetful = Balanced(9, seed=0, herding=True)
    forgetful.add(more, more.x)
    assert not torch.equal(herd.all().x, forgetful.all().x)

    def greedy() -> GDumb:
        return GDumb(Balanced(9, seed=0), _small, seed=5)

    one, other = greedy(), greedy()
    one.learn(batch)
    snapshots.save(tmp_path / "gdumb", 1, {"memory": one.state_dict()})
    other.load_state_dict(snapshots.load_latest(tmp_path / "gdumb").parts["memory"])
    ends = []
    for each in (one, other, greedy()):
        each.learn(more)
        ends.append(torch.cat([p.flatten() for p in each.fit(passes=2, batch_size=4).parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def _small() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier(nn.Sequential(nn.Linear(5, 3)))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


CHIP: dict[str, Callable[..., list[Any]]] = {
    "er": lambda m, w, o: [
        Rehearsal(Reservoir(12, seed=0), RehearsalParams(samples=4, keep="batch"))
    ],
    "latent": lambda m, w, o: [LatentRehearsal(Reservoir(12, seed=0), m, m.net[2], m.net[3])],
    "mas": lambda m, w, o: [MAS(fisher(m, w, "outputs"), MASParams(strength=1.0))],
    "several": several,
}


@pytest.mark.parametrize("guard", sorted(CHIP))
def test_on_a_chip(guard: str, lesson: Any, tmp_path: Path) -> None:
    resumed_everywhere(
        lambda: World(CHIP[guard], chip="mixed"), lesson, tmp_path, range(0, STEPS, 2)
    )


@pytest.mark.parametrize("mode", ["stochastic", "tiki_taka_2", "agad"])
def test_on_a_chip_whose_gradients_never_were_numbers(
    mode: str, lesson: Any, tmp_path: Path
) -> None:
    """Pulses straight from vectors, with and without fast cells, beside a memory."""
    resumed_everywhere(lambda: World(CHIP["er"], chip=mode), lesson, tmp_path, range(0, STEPS, 3))
