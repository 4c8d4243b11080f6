"""The same penalties where adapters lie on cells: changes and directions are what is read."""

import copy

import pytest
import torch

from clnf.chip import ChipSpec, host
from clnf.continual.adapters import (
    CLoRA,
    CLoRAParams,
    OLoRA,
    OLoRAParams,
    Stack,
    adapter_parameters,
    attach,
    factors_of,
)
from clnf.continual.learner import Learner


class Rig:
    """A digital base, adapters on plastic cells, one guard."""

    def __init__(self, classifier, guard, *, stacked):
        self.model = classifier()
        self.stack = None
        if stacked:
            self.stack = Stack(self.model, rank=2, seed=1)
            for name in ("a", "b"):
                self.stack.add(name)
        else:
            attach(self.model, rank=2, seed=1)
        self.chip = host(
            self.model,
            assign=lambda name, _: "plastic" if name.endswith((".down", ".up")) else None,
            seed=4,
            spec=ChipSpec(),
        )
        optimizer = self.chip.optimizer(adapter_parameters(self.model).values(), lr=0.05)
        self.guard = guard(self.model)
        self.learner = Learner(self.model, optimizer, guards=[self.guard], seed=3)

    def learn(self, name):
        if self.stack is not None:
            self.stack.learn(name)

    def teach(self, lesson, name, steps=8, start=0):
        self.learn(name)
        run = self.learner.lesson(lesson(name), steps=steps, batch_size=8, start_step=start)
        for info in run:
            yield info.step
        self.learner.consolidate(lesson(name))


def c_lora(strength):
    return lambda model: CLoRA(model, CLoRAParams(strength=strength))


def o_lora(strength):
    return lambda model: OLoRA(model, OLoRAParams(strength=strength))


def overlap(rig, kind):
    first, second = (factors_of(rig.model, name) for name in ("a", "b"))
    if kind is o_lora:
        return sum(float((first[n].down @ second[n].down.T).abs().sum()) for n in first)
    products = [{n: f.up @ f.down for n, f in g.items()} for g in (first, second)]
    return sum(float((products[0][n] * products[1][n]).square().sum()) for n in first)


@pytest.mark.parametrize(("kind", "strength"), [(c_lora, 3e3), (o_lora, 2.0)])
def test_lessons_keep_apart_on_cells(classifier, lesson, kind, strength):
    found = []
    for at in (0.0, strength):
        rig = Rig(classifier, kind(at), stacked=True)
        for name in ("a", "b"):
            list(rig.teach(lesson, name, steps=25))
        found.append(overlap(rig, kind))
    free, held = found
    assert held < 0.6 * free


@pytest.mark.parametrize(
    ("guard", "stacked"), [(c_lora(1e3), True), (c_lora(1e3), False), (o_lora(0.1), True)]
)
def test_resume_goes_on_to_the_same_bits(classifier, lesson, through_disk, guard, stacked):
    rig = Rig(classifier, guard, stacked=stacked)
    list(rig.teach(lesson, "a"))
    for step in rig.teach(lesson, "b"):
        if step == 3:
            state = copy.deepcopy(through_disk(rig.learner.state_dict()))
            saved = rig.chip.state_dict(), state
    again = Rig(classifier, guard, stacked=stacked)
    again.learn("b")
    again.chip.load_state_dict(saved[0])
    again.learner.load_state_dict(saved[1])
    list(again.teach(lesson, "b", start=4))
    for name, value in adapter_parameters(rig.model).items():
        assert torch.equal(value, adapter_parameters(again.model)[name]), name
    assert rig.chip.ledger.state() == again.chip.ledger.state()


def test_a_penalty_alone_pulses_cells(classifier, lesson):
    """Its gradient reaches the cells, and those alone that it is about."""
    rig = Rig(classifier, o_lora(1.0), stacked=True)
    list(rig.teach(lesson, "a"))
    rig.learn("b")
    rig.guard.begin(lesson("b"))
    worn = {name: tile.wear.clone() for name, tile in rig.chip.tiles.items()}
    before = rig.guard.energy()
    for _ in range(10):
        rig.learner.optimizer.zero_grad()
        rig.guard.penalty().backward()
        rig.learner.optimizer.step()
    assert rig.guard.energy() < 0.5 * before
    pulsed = {n for n, tile in rig.chip.tiles.items() if not torch.equal(tile.wear, worn[n])}
    assert pulsed
    assert all(".of.b.down" in name for name in pulsed)
