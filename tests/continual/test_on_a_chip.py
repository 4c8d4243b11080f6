"""The same learner and guards, with the adapters' weights in cells."""

import copy
from typing import Any

import pytest
import torch

from clnf.chip.hosting import host
from clnf.chip.spec import ChipSpec
from clnf.continual.adapters import adapter_parameters, attach
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import (
    AGEM,
    DER,
    ERACE,
    EWC,
    SI,
    AGEMParams,
    DERParams,
    ERACEParams,
    EWCParams,
    Fence,
    FenceParams,
    Metaplastic,
    PackNet,
    PackNetParams,
    Rehearsal,
    RehearsalParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir


class Rig:
    """A classifier with a frozen digital base, adapters on plastic cells, and every guard."""

    def __init__(self, classifier: Any) -> None:
        self.model = classifier()
        attach(self.model, rank=2, seed=1)

        def plastic(name: str, _: Any) -> Any:
            return "plastic" if name.endswith((".down", ".up")) else None

        self.chip = host(self.model, assign=plastic, seed=4, spec=ChipSpec())
        names = list(adapter_parameters(self.model))
        optimizer = self.chip.optimizer(adapter_parameters(self.model).values(), lr=0.02)
        fisher = Fisher(self.model, names, FisherParams(samples=8), seed=2)
        self.fence = Fence(fisher, FenceParams(fraction=0.3), optimizer=optimizer)
        guards = [
            Rehearsal(Balanced(12, seed=0), RehearsalParams(samples=4)),
            EWC(fisher, EWCParams(strength=1.0)),
            self.fence,
        ]
        self.learner = Learner(self.model, optimizer, guards=guards, seed=3)

    def weights(self) -> dict[str, torch.Tensor]:
        return {n: p.detach().clone() for n, p in adapter_parameters(self.model).items()}


@pytest.fixture
def rig(classifier, lesson):
    made = Rig(classifier)
    list(made.learner.lesson(lesson("a"), steps=10, batch_size=8))
    made.learner.consolidate(lesson("a"))
    return made


def test_resume_in_the_middle_of_a_lesson_is_bit_identical(rig, classifier, lesson, through_disk):
    saved = None
    for info in rig.learner.lesson(lesson("b"), steps=12, batch_size=8):
        if info.step == 5:
            state = copy.deepcopy(through_disk(rig.learner.state_dict()))
            saved = (rig.chip.state_dict(), state)
    again = Rig(classifier)
    again.chip.load_state_dict(saved[0])
    again.learner.load_state_dict(saved[1])
    list(again.learner.lesson(lesson("b"), steps=12, batch_size=8, start_step=6))
    for one in (rig, again):
        one.learner.consolidate(lesson("b"))
    for name, value in rig.weights().items():
        assert torch.equal(value, again.weights()[name]), name
        assert torch.equal(rig.fence.masks[name], again.fence.masks[name])
    assert rig.chip.ledger.state() == again.chip.ledger.state()


def test_fenced_cells_get_no_pulse(rig, lesson):
    """The mask keeps chi at rest; handed to the chip it shuts the cells themselves."""
    before = rig.weights()
    worn = {name: tile.wear.clone() for name, tile in rig.chip.tiles.items()}
    for name, mask in rig.fence.masks.items():
        assert bool((mask == 0).any())
        rig.chip.set_fence(name.removesuffix(".weight"), mask)
    list(rig.learner.lesson(lesson("b"), steps=10, batch_size=8))
    moved = 0
    for name, value in rig.weights().items():
        assert torch.equal(
            value[rig.fence.masks[name] == 0], before[name][rig.fence.masks[name] == 0]
        )
        moved += int((value != before[name]).sum())
    assert moved > 0
    assert any(not torch.equal(t.wear, worn[n]) for n, t in rig.chip.tiles.items())


def test_reads_for_the_fisher_are_counted_sample_by_sample(rig, lesson):
    """Custom functions send the estimate down the loop, so no read goes unpaid."""
    reads = {name: layer.reads for name, layer in rig.chip.layers.items()}
    names = list(adapter_parameters(rig.model))
    Fisher(rig.model, names, FisherParams(samples=8, chunk=1), seed=9).measure(lesson("c"))
    assert all(layer.reads - reads[name] == 8 for name, layer in rig.chip.layers.items())
    Fisher(rig.model, names, FisherParams(samples=8), seed=9).measure(lesson("c"))
    assert all(layer.reads - reads[name] == 17 for name, layer in rig.chip.layers.items())


KINDS = ("agem", "der", "er-ace", "metaplastic", "packnet", "si")


def other_rig(classifier: Any, kind: str) -> tuple[Any, Any, Learner, Any]:
    """One of the other guards over plastic adapters; gradients become pulses."""
    model = classifier()
    attach(model, rank=2, seed=1)

    def plastic(name: str, _: Any) -> Any:
        return "plastic" if name.endswith((".down", ".up")) else None

    chip = host(model, assign=plastic, seed=4, spec=ChipSpec())
    weights = adapter_parameters(model)
    optimizer = chip.optimizer(weights.values(), lr=0.05)
    guard: Any = {
        "agem": lambda: AGEM(Balanced(12, seed=0), model, weights, AGEMParams(keep="batch")),
        "der": lambda: DER(Reservoir(12, seed=0), model, DERParams(samples=4)),
        "er-ace": lambda: ERACE(Reservoir(12, seed=0), model, ERACEParams(samples=4)),
        "metaplastic": lambda: Metaplastic(weights),
        "packnet": lambda: PackNet(weights, PackNetParams(at=4, by_writing=False)),
        "si": lambda: SI(weights),
    }[kind]()
    return model, chip, Learner(model, optimizer, guards=[guard], seed=3), guard


@pytest.mark.parametrize("kind", KINDS)
def test_other_guards_learn_on_cells_and_resume_to_the_same_bits(
    kind, classifier, lesson, through_disk
):
    model, chip, learner, _ = other_rig(classifier, kind)
    start = {n: p.detach().clone() for n, p in adapter_parameters(model).items()}
    list(learner.lesson(lesson("a"), steps=6, batch_size=8))
    learner.consolidate(lesson("a"))
    saved = None
    for info in learner.lesson(lesson("b"), steps=8, batch_size=8):
        if info.step == 5:
            saved = (chip.state_dict(), copy.deepcopy(through_disk(learner.state_dict())))
    again, other_chip, other, _ = other_rig(classifier, kind)
    other_chip.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    list(other.lesson(lesson("b"), steps=8, batch_size=8, start_step=6))
    moved = 0
    for name, value in adapter_parameters(model).items():
        assert torch.equal(value, adapter_parameters(again)[name]), name
        moved += int((value.detach() != start[name]).sum())
    assert moved > 0
    assert chip.ledger.state() == other_chip.ledger.state()


def test_packed_cells_are_fences(classifier, lesson):
    """PackNet's masks, handed to the chip, shut the cells a lesson owns."""
    model, chip, learner, guard = other_rig(classifier, "packnet")
    list(learner.lesson(lesson("a"), steps=10, batch_size=8))
    learner.consolidate(lesson("a"))
    guard.begin(lesson("b"))
    before = {n: p.detach().clone() for n, p in adapter_parameters(model).items()}
    for name, mask in guard.masks.items():
        assert bool((mask == 0).any())
        chip.set_fence(name.removesuffix(".weight"), mask)
    batch = lesson("b").data.take(torch.arange(8))
    for _ in range(3):  # before it gives back: what is free learns, what is owned stays
        learner.step(batch)
    changed = 0
    for name, mask in guard.masks.items():
        now = adapter_parameters(model)[name].detach()
        assert torch.equal(now[mask == 0], before[name][mask == 0])
        changed += int((now != before[name]).sum())
    assert changed > 0
