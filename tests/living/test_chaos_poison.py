"""Poisoned data through the gate: what is refused, what is learned, and what it is worth.

NaN, constants, wrong labels and a backdoor are hidden in digits. A classifier is taught what the
gate admits, and compared on clean digits with one that was taught clean digits; the control is
one that was taught everything.
"""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clnf.continual.classifier import Classifier
from clnf.continual.guards import Rehearsal, RehearsalParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Reservoir
from clnf.core.records import Experience
from clnf.core.rng import numpy_rng
from clnf.living.journal import Journal
from clnf.streams.digits import digits_part
from clnf.streams.gate import Admission, Gate, standard_checks
from clnf.streams.sources import ArraySource

pytestmark = pytest.mark.chaos
SAMPLES, PASSES, BATCH = 4000, 4, 32
STAMP = (slice(24, 27), slice(3, 6))


class Spoiled(NamedTuple):
    """A lesson of digits, and which of them are bad."""

    x: Tensor
    labels: Tensor
    bad: "np.ndarray[tuple[int], np.dtype[np.bool_]]"

    @property
    def lesson(self) -> Experience:
        return Experience(name="digits", concept="digits", data=ArraySource(self.x, self.labels))


def spoiled(fault: str, share: float) -> Spoiled:
    rng = numpy_rng(1, "spoil", fault)
    clean = digits_part().take(torch.from_numpy(rng.permutation(8000)[:SAMPLES]))
    x, labels = clean.x.clone(), clean.cond.clone()
    at = rng.permutation(SAMPLES)[: round(share * SAMPLES)]
    if fault == "nan":
        x[at, 0, 5, 5] = float("nan")
        x[at[::2]] = float("inf")
    if fault == "constant":
        x[at] = torch.from_numpy(rng.uniform(-1, 1, (len(at), 1, 1, 1)).astype(np.float32))
    if fault == "flips":
        labels[at] = (labels[at] + torch.from_numpy(rng.integers(1, 10, len(at)))) % 10
    if fault == "backdoor":
        x[at, 0, *STAMP] = 1.0
        labels[at] = 0
    bad = np.zeros(SAMPLES, bool)
    bad[at] = True
    return Spoiled(x, labels, bad)


def taught(x: Tensor, labels: Tensor) -> tuple[Classifier, Learner]:
    """An MLP 784-64-10 after a few passes; the rate falls to zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    model = Classifier(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard = Rehearsal(Reservoir(100, seed=0), RehearsalParams(samples=4, keep="batch"))
    learner = Learner(model, optimizer, guards=[guard], seed=0)
    lesson = Experience(name="digits", concept="digits", data=ArraySource(x, labels))
    steps = PASSES * SAMPLES // BATCH
    for info in learner.lesson(lesson, steps=steps, batch_size=BATCH):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - info.step / steps)
    return model, learner


@torch.no_grad()
def accuracy(model: Classifier) -> float:
    """Percent of 2,000 clean digits called rightly."""
    test = digits_part("held_out").take(torch.arange(2000))
    return 100 * float((model.net(test.x).argmax(1) == test.cond).float().mean())


@torch.no_grad()
def opened(model: Classifier) -> float:
    """Share of clean digits other than 0 that a stamp turns into a 0."""
    test = digits_part("held_out").take(torch.arange(2000))
    x = test.x[test.cond != 0].clone()
    x[:, 0, *STAMP] = 1.0
    return float((model.net(x).argmax(1) == 0).float().mean())


def neighbour(x: Tensor, labels: Tensor) -> float:
    """Percent of the clean digits that have the label of their nearest neighbour among x."""
    test = digits_part("held_out").take(torch.arange(2000))
    nearest = torch.cdist(test.x.flatten(1), x.flatten(1)).argmin(1)
    return 100 * float((labels[nearest] == test.cond).float().mean())


@lru_cache
def clean_accuracy() -> float:
    clean = spoiled("none", 0.0)
    return accuracy(taught(clean.x, clean.labels)[0])


def admitted(data: Spoiled) -> tuple[Admission, Classifier, "np.ndarray[tuple[int], np.dtype]"]:  # type: ignore[type-arg]
    """What the gate said, who was taught what it admitted, and which samples it refused."""
    admission = Gate(standard_checks(shape=(1, 28, 28))).admit(data.lesson)
    refused = np.ones(SAMPLES, bool)
    refused[admission.admitted.numpy()] = False
    model, learner = taught(data.x[admission.admitted], data.labels[admission.admitted])
    assert learner.refused_steps == 0
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    return admission, model, refused


@pytest.mark.parametrize(
    ("fault", "share", "check"), [("nan", 0.1, "finite"), ("constant", 0.1, "flat")]
)
def test_broken_samples_are_refused_and_cost_a_point_at_most(
    fault: str, share: float, check: str
) -> None:
    data = spoiled(fault, share)
    admission, model, refused = admitted(data)
    assert refused[data.bad].all()
    assert refused[~data.bad].mean() < 0.01
    assert admission.counts()[check] == data.bad.sum()
    assert clean_accuracy() - accuracy(model) <= 1.0


def test_one_label_in_five_is_wrong_and_it_costs_three_points_at_most() -> None:
    """A small net taught for short loses less than that by itself, so it shows nothing.

    What believes every sample does lose: the nearest neighbour is the control.
    """
    data, clean = spoiled("flips", 0.2), spoiled("none", 0.0)
    admission, model, refused = admitted(data)
    assert refused[data.bad].mean() > 0.9
    assert refused[~data.bad].mean() < 0.05
    assert clean_accuracy() - accuracy(model) <= 3.0
    index = admission.admitted
    best = neighbour(clean.x, clean.labels)
    assert best - neighbour(data.x[index], data.labels[index]) <= 3.0
    assert best - neighbour(data.x, data.labels) > 10.0
    assert all("taught as" in flaw.reason for flaw in admission.quarantined)


@pytest.mark.parametrize("share", [0.02, 0.05])
def test_a_backdoor_is_found_by_its_mark(share: float) -> None:
    data = spoiled("backdoor", share)
    admission, model, refused = admitted(data)
    assert refused[data.bad].mean() > 0.95
    assert opened(model) < 0.05
    assert clean_accuracy() - accuracy(model) <= 1.0
    # The control: without the gate the stamp opens the door.
    assert opened(taught(data.x, data.labels)[0]) > 0.5
    assert any("bears a mark" in flaw.reason for flaw in admission.quarantined)


def test_what_gets_past_a_gate_that_is_off_is_not_written() -> None:
    """The last line: a loss that is no number is refused by the learner, and counted."""
    data = spoiled("nan", 0.01)
    model, learner = taught(data.x, data.labels)
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert learner.refused_steps > 10
    assert all(info.refused for info in learner.refusals)
    for guard in learner.guards:
        assert isinstance(guard, Rehearsal)
        assert bool(guard.memory.all().x.isfinite().all())


def test_every_refusal_is_kept_with_its_reason(tmp_path: Path) -> None:
    data = spoiled("nan", 0.02)
    gate = Gate(standard_checks(shape=(1, 28, 28)))
    admission = gate.admit(data.lesson)
    with Journal(tmp_path / "j.db") as journal:
        for flaw in admission.quarantined:
            journal.add_quarantine(
                0, lesson="digits", reason=f"{flaw.check}: {flaw.reason}",
                samples=data.x[flaw.index].numpy(),
            )  # fmt: skip
        journal.verify()
        kept = list(journal.quarantine())
    assert Counter(row.reason.partition(":")[0] for row in kept) == admission.counts()
    assert len(kept) >= data.bad.sum()
