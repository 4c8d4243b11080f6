"""What each method keeps, on split and permuted digits: one pass, one small network.

8,000 digits of ``digits10k`` train, 2,000 test (a shuffle by the seed); five lessons; MLP
784-256-256-k with ReLU, SGD 0.05 without momentum, batch 32, one pass, memories of 500 samples.

    class     digits 2t and 2t+1 in lesson t, ten outputs, no lesson told when asked
    domain    the same lessons, two outputs (even, odd)
    permuted  all ten digits, pixels permuted by lesson, the first lesson as it is
    task      as class, but the lesson is told, in teaching and when asked: PackNet, HAT need that

ACC is the mean over lessons at the end, BWT against right after each, both in percent. ``keep``
says when samples enter a memory: with each batch (no boundaries) or at the end of a lesson. A
step with rehearsal runs on more samples than one without: ``samples`` counts them all. ``joint``
trains lesson t on all lessons so far. ``sum of means`` adds the mean losses of new and old
samples instead of taking one mean over both, which for equal sizes is twice the rate. 10,000
digits are not MNIST's 70,000: expect less than papers have.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.baselines.gdumb import GDumb
from clnf.continual.baselines.slda import SLDA
from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import (
    AGEM,
    DER,
    ERACE,
    EWC,
    HAT,
    MAS,
    SI,
    AGEMParams,
    ContinualBackprop,
    DERParams,
    ERACEParams,
    EWCParams,
    Fence,
    HATParams,
    LwF,
    MASParams,
    Metaplastic,
    PackNet,
    PackNetParams,
    Rehearsal,
    RehearsalParams,
    SIParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir
from clnf.continual.metrics import average_accuracy, backward_transfer
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.streams.bundled import digits10k
from clnf.streams.sources import ArraySource

SEEDS, LESSONS, BATCH, MEMORY, RATE = 5, 5, 32, 500, 0.05
SCENARIOS = ("class", "domain", "permuted")
Pair = tuple[Tensor, Tensor]
Make = Callable[[Classifier, int], list[Guard]]


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """Data of each lesson, the number of outputs, and whether the lesson is told."""

    train: list[Pair]
    test: list[Pair]
    outputs: int
    told: bool = False


def lessons(scenario: str, seed: int) -> Lessons:
    """Cut the digits into lessons."""
    digits = digits10k()
    x = torch.from_numpy(np.array(digits.images)).flatten(1).float() / 255
    y = torch.from_numpy(np.array(digits.labels))
    order = torch.randperm(len(y), generator=torch_rng(seed, "digits"))
    x, y = x[order], y[order]
    train, test = (x[:8000], y[:8000]), (x[8000:], y[8000:])
    parts: tuple[list[Pair], list[Pair]] = ([], [])
    for t in range(LESSONS):
        shuffle = torch.randperm(784, generator=torch_rng(seed, "pixels", t))
        for part, (pixels, labels) in zip(parts, (train, test), strict=True):
            if scenario == "permuted":
                part.append((pixels[:, shuffle] if t else pixels, labels))
            else:
                at = (labels // 2) == t
                part.append((pixels[at], labels[at] % 2 if scenario == "domain" else labels[at]))
    return Lessons(
        train=parts[0],
        test=parts[1],
        outputs=2 if scenario == "domain" else 10,
        told=scenario == "task",
    )


def model_of(outputs: int, seed: int) -> Classifier:
    """The network, the same for every method of a seed."""
    torch.manual_seed(seed)
    layers = nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()
    return Classifier(nn.Sequential(*layers, nn.Linear(256, outputs)))


class Heads(nn.Module):
    """The loss of a lesson among its own two digits, as with a head for each lesson."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape [B, 10]."""
        return self.model(x)

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Cross entropy of each sample, shape [B]."""
        first = int(batch.cond[0]) // 2 * 2
        logits = self.model(batch.x)[:, first : first + 2]
        return functional.cross_entropy(logits, batch.cond - first, reduction="none")


def right(model: nn.Module, data: Pair, among: Tensor | None = None) -> float:
    """Accuracy in percent, over all outputs or those of the lesson told."""
    model.eval()
    with torch.no_grad():
        logits = model(data[0])
    if among is not None:
        shut = torch.ones(logits.shape[1], dtype=torch.bool)
        shut[among] = False
        logits = logits.masked_fill(shut, -torch.inf)
    return 100 * float((logits.argmax(1) == data[1]).double().mean())


def run(data: Lessons, make: Make, seed: int, name: str = "") -> list[list[float]]:
    """Teach all lessons; the matrix of accuracies."""
    joint = name == "joint"
    model = model_of(data.outputs, seed)
    guards = make(model, seed)
    more = [p for guard in guards if isinstance(guard, HAT) for p in guard.parameters()]
    optimizer = torch.optim.SGD(
        [*model.parameters(), *more], lr=2 * RATE if "sum" in name else RATE
    )
    teachable = Heads(model) if data.told else model
    learner = Learner(teachable, optimizer, guards=guards, seed=seed)
    matrix = []
    for t in range(LESSONS):
        parts = data.train[: t + 1] if joint else [data.train[t]]
        x, y = (torch.cat(side) for side in zip(*parts, strict=True))
        lesson = Experience(name=f"lesson {t}", concept="digits", data=ArraySource(x, y))
        for _ in learner.lesson(lesson, steps=-(-len(x) // BATCH), batch_size=BATCH):
            pass
        learner.consolidate(lesson)
        matrix.append([told(model, guards, data, i, t) for i in range(LESSONS)])
    return matrix


def told(model: Classifier, guards: list[Guard], data: Lessons, asked: int, now: int) -> float:
    """Accuracy on one lesson's test data; masks are told which lesson it is."""
    classes = torch.arange(2 * asked, 2 * asked + 2) if data.told else None
    for guard in guards:
        if isinstance(guard, PackNet):
            with guard.as_of(min(asked, now) + 1):
                return right(model, data.test[asked], classes)
        if isinstance(guard, HAT):
            with guard.as_of(min(asked, now)):
                return right(model, data.test[asked], classes)
    return right(model, data.test[asked], classes)


def fisher(model: Classifier, kind: str, seed: int) -> Fisher:
    """Importance from 600 samples, or 200 with every label."""
    if kind == "outputs":
        return Fisher(model, params=FisherParams(samples=600, chunk=16, of="outputs"), seed=seed)
    relabel = {"true": None, "drawn": model.drawn_label, "exact": model.every_label}[kind]
    count = 200 if kind == "exact" else 600
    return Fisher(model, params=FisherParams(samples=count, chunk=16), seed=seed, relabel=relabel)


def _ewc(kind: str, strength: float) -> Make:
    return lambda m, s: [EWC(fisher(m, kind, s), EWCParams(strength=strength))]


def _er(keep: str) -> Make:
    params = RehearsalParams(samples=BATCH, coefficient=1.0, keep=keep)  # type: ignore[arg-type]
    return lambda m, s: [Rehearsal(memory(keep, s), params)]


def _der(keep: str, beta: float) -> Make:
    params = DERParams(samples=BATCH, alpha=0.5, beta=beta, keep=keep)  # type: ignore[arg-type]
    return lambda m, s: [DER(memory(keep, s), m, params)]


def memory(keep: str, seed: int) -> Reservoir | Balanced:
    """A reservoir where there are no boundaries, a balanced memory where there are."""
    return Reservoir(MEMORY, seed=seed) if keep == "batch" else Balanced(MEMORY, seed=seed)


def _backprop(m: Classifier, s: int) -> list[Guard]:
    net = m.net
    assert isinstance(net, nn.Sequential)
    return [ContinualBackprop([net[0], net[2], net[4]], [net[1], net[3]], seed=s)]


def _named(m: Classifier) -> dict[str, Tensor]:
    return dict(m.named_parameters())


METHODS: dict[str, tuple[Make, str, int]] = {
    # name: guards, when samples enter a memory, samples per step
    "naive": (lambda m, s: [], "", BATCH),
    "joint": (lambda m, s: [], "", BATCH),
    "ewc 100, true labels": (_ewc("true", 100), "", BATCH),
    "ewc 100, drawn labels": (_ewc("drawn", 100), "", BATCH),
    "ewc 100, exact": (_ewc("exact", 100), "", BATCH),
    "ewc 1000, exact": (_ewc("exact", 1000), "", BATCH),
    "si 0.5": (lambda m, s: [SI(_named(m), SIParams(strength=0.5, damping=0.1))], "", BATCH),
    "mas 1": (lambda m, s: [MAS(fisher(m, "outputs", s), MASParams(strength=1.0))], "", BATCH),
    "fence": (lambda m, s: [Fence(fisher(m, "true", s))], "", BATCH),
    "lwf": (lambda m, s: [LwF(m)], "", BATCH),
    "metaplastic": (lambda m, s: [Metaplastic(_named(m))], "", BATCH),
    "continual backprop": (_backprop, "", BATCH),
    "a-gem": (
        lambda m, s: [AGEM(memory("lesson", s), m, _named(m), AGEMParams(samples=BATCH))],
        "lesson",
        2 * BATCH,
    ),
    "er": (_er("batch"), "batch", 2 * BATCH),
    "er, sum of means": (_er("batch"), "batch", 2 * BATCH),
    "er by lesson": (_er("lesson"), "lesson", 2 * BATCH),
    "er by lesson, sum of means": (_er("lesson"), "lesson", 2 * BATCH),
    "er-ace": (
        lambda m, s: [ERACE(memory("batch", s), m, ERACEParams(samples=BATCH))],
        "batch",
        2 * BATCH,
    ),
    "er-ace, balanced": (
        lambda m, s: [ERACE(memory("lesson", s), m, ERACEParams(samples=BATCH))],
        "batch",
        2 * BATCH,
    ),
    "der": (_der("batch", 0.0), "batch", 2 * BATCH),
    "der++": (_der("batch", 0.5), "batch", 3 * BATCH),
    "der++ by lesson": (_der("lesson", 0.5), "lesson", 3 * BATCH),
    "der++ by lesson, beta 1": (_der("lesson", 1.0), "lesson", 3 * BATCH),
}


def _packnet(m: Classifier, s: int) -> list[Guard]:
    return [PackNet(_named(m), PackNetParams(prune=0.75, at=25))]


def _hat(m: Classifier, s: int) -> list[Guard]:
    net = m.net
    assert isinstance(net, nn.Sequential)
    params = HATParams(lessons=LESSONS, steps=50)
    return [HAT([net[0], net[2], net[4]], params, seed=s)]


def gdumb(data: Lessons, seed: int) -> list[list[float]]:
    """A new network from the memory after each lesson, 20 passes."""

    def make() -> tuple[Classifier, torch.optim.Optimizer]:
        model = model_of(data.outputs, seed)
        return model, torch.optim.SGD(model.parameters(), lr=RATE)

    learner, matrix = GDumb(Balanced(MEMORY, seed=seed), make, seed=seed), []
    for x, y in data.train:
        learner.learn(Batch.of(x, y))
        model = learner.fit(passes=20, batch_size=BATCH)
        matrix.append([right(model, test) for test in data.test])
    return matrix


def slda(data: Lessons, seed: int) -> list[list[float]]:
    """On raw pixels: no feature is learned."""
    learner, matrix = SLDA(784, data.outputs, shrinkage=1e-2), []
    for x, y in data.train:
        learner.learn(x, y)
        matrix.append(
            [100 * float((learner(z).argmax(1) == c).double().mean()) for z, c in data.test]
        )
    return matrix


def matrices(seed: int) -> Iterator[tuple[str, str, str, int, list[list[float]]]]:
    """Scenario, method, keep, samples per step and matrix of each case of a seed."""
    for scenario in SCENARIOS:
        data = lessons(scenario, seed)
        for name, (make, keep, samples) in METHODS.items():
            matrix = run(data, make, seed, name)
            yield scenario, name, keep, samples, matrix
        yield scenario, "gdumb", "batch", 0, gdumb(data, seed)
        yield scenario, "slda on pixels", "", 0, slda(data, seed)
    data = lessons("task", seed)
    yield "task", "naive", "", BATCH, run(data, METHODS["naive"][0], seed)
    yield "task", "packnet", "", BATCH, run(data, _packnet, seed)
    yield "task", "hat", "", BATCH, run(data, _hat, seed)


def main() -> None:
    """Print one JSON line per case and seed, then one per case with mean and spread.

    A number as argument sets how many seeds are run.
    """
    torch.set_num_threads(1)
    found: dict[tuple[str, str, str, int], list[tuple[float, float]]] = {}
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS):
        for scenario, name, keep, samples, matrix in matrices(seed):
            pair = average_accuracy(matrix), backward_transfer(matrix)
            found.setdefault((scenario, name, keep, samples), []).append(pair)
            row = {"benchmark": "continual_accuracy", "scenario": scenario, "method": name}
            row |= {"seed": str(seed), "acc": f"{pair[0]:.1f}", "bwt": f"{pair[1]:.1f}"}
            print(json.dumps(row), flush=True)
    for (scenario, name, keep, samples), pairs in found.items():
        acc, bwt = zip(*pairs, strict=True)
        row2 = {
            "benchmark": "continual_accuracy",
            "scenario": scenario,
            "method": name,
            "keep": keep,
            "samples": samples,
            "seeds": len(pairs),
            "acc": round(statistics.mean(acc), 1),
            "acc_sd": round(statistics.stdev(acc), 1) if len(acc) > 1 else None,
            "bwt": round(statistics.mean(bwt), 1),
        }
        print(json.dumps(row2), flush=True)


if __name__ == "__main__":
    main()
