"""The same learner and guards over a spiking net whose weights are memristive synapses, gated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams, diagonal_fisher
from clnf.continual.guards import (
    DER,
    EWC,
    DERParams,
    EWCParams,
    Rehearsal,
    RehearsalParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Reservoir
from clnf.core.ledger import Ledger
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.living import snapshots
from clnf.spiking.memristive import Gate, GateRule, Lay, PulseSGD, laid
from clnf.spiking.tasks import EventClassifier, PictureCode

CODE = PictureCode(steps=12, side=4)
ROW = material("hfo2_array_optimised").supply(
    conductance_min_s=1e-6, conductance_max_s=1e-4, write_voltage_v=1.5, write_time_s=1e-7,
    endurance_cycles=1e4,
)  # fmt: skip
STEPS = 8


def guards(kind: str, model: Classifier) -> list[Any]:
    memory = Reservoir(12, seed=1)
    if kind == "ewc":
        params = FisherParams(samples=6)
        fisher = Fisher(model, params=params, seed=2, relabel=model.drawn_label)
        return [EWC(fisher, EWCParams(strength=10.0))]
    if kind == "er":
        return [Rehearsal(memory, RehearsalParams(samples=4, keep="batch"))]
    return [DER(memory, model, DERParams(samples=4))]


class World:
    """What learns, and everything of it that a snapshot holds."""

    def __init__(self, kind: str, *, budget: int | None = None) -> None:
        self.net = EventClassifier(CODE, hidden=20, classes=3, seed=1)
        rule = GateRule(threshold=0.8, budget=budget, steps=50)
        self.gate, self.ledger = Gate(rule), Ledger()
        self.model = Classifier(nn.Sequential(self.net, self.gate))
        self.arrays = laid(self.net, cell(ROW), seed=4, lay=Lay(range_v=0.8), ledger=self.ledger)
        parameters = self.net.parameters()
        self.optimizer = PulseSGD(parameters, self.arrays, lr=1.5, gate=self.gate)
        self.guards = guards(kind, self.model)
        self.learner = Learner(self.model, self.optimizer, guards=self.guards, seed=3)

    def parts(self) -> dict[str, dict[str, Any]]:
        cells = {f"{one.name}.{key}": value for one in self.arrays.values()
                 for key, value in one.state_dict().items()}  # fmt: skip
        bill = {"rows": self.ledger.state()}
        model, learner = dict(self.model.state_dict()), self.learner.state_dict()
        return {"model": model, "cells": cells, "learner": learner, "bill": bill}

    def load(self, parts: dict[str, dict[str, Any]]) -> None:
        self.model.load_state_dict(parts["model"])
        for one in self.arrays.values():
            head = f"{one.name}."
            own = {k.removeprefix(head): v for k, v in parts["cells"].items() if k.startswith(head)}
            one.load_state_dict(own)
        self.learner.load_state_dict(parts["learner"])
        self.ledger.load_state(parts["bill"]["rows"])


def told(name: str, lesson: Callable[..., Experience]) -> Experience:
    """Pictures of three classes, each with its own bright corner."""
    rng = torch_rng(5, name)
    y = torch.randint(3, (40,), generator=rng)
    x = torch.rand(40, 1, 8, 8, generator=rng) * 0.6 - 1.0
    for n, label in enumerate(y.tolist()):
        x[n, 0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 1
    return lesson(name, x=x.clamp(-1, 1), cond=y)


def test_the_fisher_of_a_spiking_net_is_the_plain_ones(lesson: Callable[..., Experience]) -> None:
    """Kernels are custom functions, which sends the estimate down the loop, sample by sample."""
    batch = told("a", lesson).data.take(torch.arange(9))
    found = []
    for kernels in (True, False):
        net = EventClassifier(CODE, hidden=20, classes=3, seed=1)
        net.layer.kernels = net.out.kernels = net.readout.kernels = kernels
        model = Classifier(net)
        known = dict(model.named_parameters())
        found.append(diagonal_fisher(model, batch, known, torch.Generator()))
    for name, value in found[0].items():
        assert bool(value.any())
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=1e-9)
    whole = Batch(x=batch.x, cond=batch.cond, weight=batch.weight)
    model.loss(whole, torch.Generator()).mean().backward()
    squared = model.net.layer.weight.grad.square()
    assert not torch.allclose(squared, found[0]["net.layer.weight"])  # a batch's is no Fisher


def test_a_gate_at_the_end_of_a_net_leaves_measuring_alone(
    lesson: Callable[..., Experience],
) -> None:
    world = World("ewc")
    Fisher(world.model, params=FisherParams(samples=6), seed=2).measure(told("a", lesson))
    assert int(world.gate.seen) == 0
    assert world.model.training


@pytest.mark.parametrize("kind", ["er", "ewc", "der++"])
def test_it_learns_and_resumes_to_the_same_bits(
    kind: str, lesson: Callable[..., Experience], tmp_path: Path
) -> None:
    one, kept = World(kind, budget=1200), 4
    first, second = told("a", lesson), told("b", lesson)
    for _ in one.learner.lesson(first, steps=50, batch_size=8):
        pass
    every = first.data.take(torch.arange(40))
    assert (one.model(every.x).argmax(1) == every.cond).float().mean() > 0.7
    assert one.optimizer.pulses > 0
    assert 0 < one.gate.share < 1
    one.learner.consolidate(first)
    one.gate.lesson()
    for info in one.learner.lesson(second, steps=STEPS, batch_size=8):
        if info.step == kept:
            snapshots.save(tmp_path, kept, one.parts())
    ends = []
    for spoil in ("", "cells", "gate"):
        again, parts = World(kind, budget=1200), snapshots.load(tmp_path / f"{kept:08d}").parts
        if spoil == "cells":
            parts["cells"]["layer.weight.hidden"] = parts["cells"]["layer.weight.hidden"] * 0.9
        if spoil == "gate":
            parts["model"]["net.1.threshold"] = parts["model"]["net.1.threshold"] * 3
        again.load(parts)
        for _ in again.learner.lesson(second, steps=STEPS, batch_size=8, start_step=kept + 1):
            pass
        ends.append(again.parts())
    wanted, got = one.parts(), ends[0]
    for part in ("model", "cells"):
        assert all(torch.equal(value, got[part][key]) for key, value in wanted[part].items())
    assert wanted["bill"] == got["bill"]
    # The controls: a cell elsewhere, or a threshold, and it ends elsewhere.
    places = ("cells", "layer.weight.hidden"), ("model", "net.1.threshold")
    for other, (part, key) in zip(ends[1:], places, strict=True):
        assert not torch.equal(other[part][key], wanted[part][key])
