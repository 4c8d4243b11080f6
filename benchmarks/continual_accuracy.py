"""What each method keeps, on split and permuted digits: one pass, one small network.

    python benchmarks/continual_accuracy.py             JSON lines
    python benchmarks/continual_accuracy.py into FILE   those runs that the file lacks, added to it
    python benchmarks/continual_accuracy.py lines FILE  JSON lines of the runs in a file
    python benchmarks/continual_accuracy.py table FILE  the same as tables of a page
    python benchmarks/continual_accuracy.py section FILE  the same as a section of RESULTS.md

8,000 digits of ``digits10k`` train, 2,000 test (a shuffle by the seed); five lessons; MLP
784-256-256-k with ReLU, SGD 0.05 without momentum, batch 32, one pass, memories of 500 samples;
five seeds. 10,000 digits are not MNIST's 70,000: expect less than papers have.

    class           digits 2t and 2t+1 in lesson t, ten outputs, no lesson told when asked
    domain          the same lessons, two outputs (even, odd)
    permuted        all ten digits, pixels permuted by lesson, the first lesson as it is
    task            as class, but the lesson is told, in teaching and when asked
    permuted, told  as permuted, but the lesson is told when asked

ACC is the mean over lessons at the end, BWT against right after each, both in percent. ``keep``
says when samples enter a memory: with each batch (no boundaries, a reservoir drawn from evenly)
or at the end of a lesson (a balanced memory). A step with rehearsal runs on more samples than one
without: ``samples`` counts them all. ``joint`` trains lesson t on all lessons so far. ``sum``
adds the mean losses of new and old samples, as papers do, instead of taking one mean over both.
``plain`` is the same method as a plain loop written from its paper, ``peers/continual_loops.py``,
on the same digits and first weights; ``points`` is ours less that. Steps that were not finite are
``refused``: the learner never writes them. The binary nets are asked all lessons in one batch
(unless told), since statistics of a batch of one lesson would tell which it is; their m is 10,
as the published 1.35 is for twenty passes and does nothing in one. Sigma and N of MESU (0.06,
1e5 steps) and that m were chosen on another seed. ``latent rehearsal`` remembers what the first
layer says, which is frozen after the first lesson.

Avalanche 0.6.0 does not import without torchvision, which this project never installs; where its
figures are quoted on pages they are a reference's, one seed, and not of this script.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from peers.continual_loops import Loop
from peers.continual_rigs import (
    Lessons,
    Make,
    Matrix,
    Rig,
    Setting,
    bayesian,
    binary,
    lessons,
    memory,
    network,
    plain,
    right,
    said,
    teach,
)
from peers.rows import command
from torch import Tensor, nn

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
    LatentRehearsal,
    LwF,
    MASParams,
    Metaplastic,
    PackNet,
    PackNetParams,
    Rehearsal,
    RehearsalParams,
    SIParams,
)
from clnf.continual.memory import Balanced
from clnf.continual.metrics import average_accuracy, backward_transfer, forgetting
from clnf.core.protocols import Guard
from clnf.core.records import Batch

SEEDS = 5
SCENARIOS = ("class", "domain", "permuted")
Keep = Literal["lesson", "batch"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """How its learner is made, when samples enter its memory, and what a step costs."""

    make: Make
    keep: str = ""
    samples: int = 1
    rate: float = 1.0
    loop: str = ""
    strength: float = 0.0


def fisher(model: Classifier, kind: str, seed: int) -> Fisher:
    """Importance from 600 samples, or 200 with every label."""
    if kind == "outputs":
        return Fisher(model, params=FisherParams(samples=600, chunk=16, of="outputs"), seed=seed)
    relabel = {"true": None, "drawn": model.drawn_label, "exact": model.every_label}[kind]
    count = 200 if kind == "exact" else 600
    return Fisher(model, params=FisherParams(samples=count, chunk=16), seed=seed, relabel=relabel)


def ewc(kind: str, strength: float, *, explicit: bool = False) -> Method:
    """EWC with one of three Fishers, proximal or explicit."""
    params = EWCParams(strength=strength, explicit=explicit)
    loop = "" if kind != "drawn" else "ewc, explicit" if explicit else "ewc"
    return Method(make=lambda m, c, s: [EWC(fisher(m, kind, s), params)], loop=loop,
                  strength=strength)  # fmt: skip


def er(keep: Keep, *, by_class: bool = False, rate: float = 1.0) -> Method:
    """Rehearsal; at twice the rate one mean over equal sizes is the sum of two means."""

    def make(model: Classifier, c: Setting, seed: int) -> list[Guard]:
        params = RehearsalParams(samples=c.replay, coefficient=1.0, keep=keep)
        return [Rehearsal(memory(keep, c, seed, by_class), params)]

    loop = "er" if keep == "batch" and rate == 2 and not by_class else ""
    return Method(make=make, keep=keep, samples=2, rate=rate, loop=loop)


def ace(*, by_class: bool) -> Method:
    """ER-ACE."""

    def make(m: Classifier, c: Setting, s: int) -> list[Guard]:
        return [ERACE(memory("batch", c, s, by_class), m, ERACEParams(samples=c.replay))]

    return Method(make=make, keep="batch", samples=2)


def der(keep: Keep, beta: float, *, alpha: float = 0.5, **more: bool) -> Method:
    """DER, or DER++ where beta is not 0."""
    by_class, per_output = more.get("by_class", False), more.get("per_output", True)

    def make(m: Classifier, c: Setting, s: int) -> list[Guard]:
        params = DERParams(
            samples=c.replay, alpha=alpha, beta=beta, keep=keep, per_output=per_output
        )
        return [DER(memory(keep, c, s, by_class), m, params)]

    same = keep == "batch" and not more and beta in (0, 0.5)
    loop = ("der++" if beta else "der") * same
    return Method(make=make, keep=keep, samples=3 if beta else 2, loop=loop)


def agem(m: Classifier, c: Setting, s: int) -> list[Guard]:
    """A-GEM with a balanced memory."""
    kept = memory("lesson", c, s)
    return [AGEM(kept, m, named(m), AGEMParams(samples=c.replay))]


def layers(m: Classifier) -> nn.Sequential:
    """Linear layers and activations by turns."""
    assert isinstance(m.net, nn.Sequential)
    return m.net


def named(m: Classifier) -> dict[str, Tensor]:
    """Its weights."""
    return dict(m.named_parameters())


def backprop(m: Classifier, c: Setting, s: int) -> list[Guard]:
    """Continual backprop of the hidden layers."""
    net = layers(m)
    return [ContinualBackprop(net[::2], net[1::2], seed=s)]


def latent(m: Classifier, c: Setting, s: int) -> list[Guard]:
    """What the first layer says is remembered; it learns in the first lesson only."""
    net = layers(m)
    return [LatentRehearsal(memory("batch", c, s), m, net[1], net[2:])]


def packnet(m: Classifier, c: Setting, s: int) -> list[Guard]:
    """Three quarters given back, half way through each lesson."""
    at = 125 if c.scenario.startswith("permuted") else 25
    return [PackNet(named(m), PackNetParams(prune=0.75, at=at))]


def hat(m: Classifier, c: Setting, s: int) -> list[Guard]:
    """Gates on hidden layers, annealed once a lesson."""
    return [HAT(layers(m)[::2], HATParams(lessons=c.lessons, steps=50), seed=s)]


METHODS: dict[str, Method] = {
    "naive": Method(make=lambda m, c, s: [], loop="naive"),
    "joint": Method(make=lambda m, c, s: [], loop="joint"),
    "ewc 100, true labels": ewc("true", 100),
    "ewc 100, drawn labels": ewc("drawn", 100),
    "ewc 1000, drawn labels": ewc("drawn", 1000),
    "ewc 100, drawn, explicit": ewc("drawn", 100, explicit=True),
    "ewc 100, exact": ewc("exact", 100),
    "ewc 1000, exact": ewc("exact", 1000),
    "si 0.5": Method(
        make=lambda m, c, s: [SI(named(m), SIParams(strength=0.5, damping=0.1))],
        loop="si",
        strength=0.5,
    ),
    "mas 1": Method(make=lambda m, c, s: [MAS(fisher(m, "outputs", s), MASParams(strength=1.0))]),
    "fence": Method(make=lambda m, c, s: [Fence(fisher(m, "true", s))]),
    "lwf": Method(make=lambda m, c, s: [LwF(m)]),
    "metaplastic": Method(make=lambda m, c, s: [Metaplastic(named(m))]),
    "continual backprop": Method(make=backprop),
    "a-gem": Method(make=agem, keep="lesson", samples=2),
    "er, one mean": er("batch"),
    "er, sum": er("batch", rate=2),
    "er, sum, drawn by class": er("batch", rate=2, by_class=True),
    "er by lesson, one mean": er("lesson"),
    "er by lesson, sum": er("lesson", rate=2),
    "er-ace": ace(by_class=False),
    "er-ace, drawn by class": ace(by_class=True),
    "latent rehearsal": Method(make=latent, keep="batch", samples=2),
    "der": der("batch", 0.0),
    "der, drawn by class": der("batch", 0.0, by_class=True),
    "der, sum over outputs": der("batch", 0.0, per_output=False),
    "der by lesson": der("lesson", 0.0),
    "der++": der("batch", 0.5),
    "der++ by lesson": der("lesson", 0.5),
    "der++ by lesson, beta 1": der("lesson", 1.0),
}
MASKED = {"packnet": Method(make=packnet), "hat": Method(make=hat)}
OTHER = ("mesu", "binary adam", "binary metaplastic", "gdumb", "slda on pixels")


def gdumb(data: Lessons, setting: Setting, seed: int) -> Matrix:
    """A new network from the memory after each lesson, 20 passes."""

    def make() -> tuple[Classifier, torch.optim.Optimizer]:
        model = Classifier(network(setting, seed))
        return model, torch.optim.SGD(model.parameters(), lr=setting.rate)

    learner = GDumb(Balanced(setting.memory, seed=seed), make, seed=seed)
    matrix = []
    for x, y in data.train:
        learner.learn(Batch.of(x, y))
        model = learner.fit(passes=20, batch_size=setting.batch)
        matrix.append([right(said(model, x), y) for x, y in data.test])
    return matrix


def slda(data: Lessons, setting: Setting) -> Matrix:
    """On raw pixels: no feature is learned."""
    learner, matrix = SLDA(784, setting.outputs, shrinkage=1e-2), []
    for x, y in data.train:
        learner.learn(x, y)
        matrix.append([right(learner(x), y) for x, y in data.test])
    return matrix


def looped(name: str, data: Lessons, setting: Setting, seed: int) -> tuple[Matrix, bool]:
    """The plain loop of a method; whether its weights are still numbers at the end."""
    method = METHODS[name]
    loop = Loop(net=network(setting, seed), method=method.loop, rate=setting.rate,
                memory=setting.memory, seed=seed, strength=method.strength)  # fmt: skip
    matrix = []
    for t in range(setting.lessons):
        parts = data.train[: t + 1] if name == "joint" else [data.train[t]]
        x, y = (torch.cat(side) for side in zip(*parts, strict=True))
        loop.lesson(x, y, setting.batch)
        matrix.append([right(said(loop.net, x), y) for x, y in data.test])
    return matrix, loop.finite()


def rig_of(name: str, setting: Setting, seed: int) -> Rig:
    """What learns under a method's name."""
    if name == "mesu":
        return bayesian(setting, seed, sigma=0.06, memory=1e5)
    if name.startswith("binary"):
        return binary(setting, seed, m=0.0 if name == "binary adam" else 10.0)
    method = {**METHODS, **MASKED}[name]
    return plain(setting, seed, make=method.make, rate=method.rate)


def cases() -> Iterator[tuple[str, str, str]]:
    """Scenario, method, and ours or the plain loop."""
    for scenario in SCENARIOS:
        for name, method in METHODS.items():
            yield scenario, name, "clnf"
            if method.loop:
                yield scenario, name, "plain"
        for name in OTHER:
            yield scenario, name, "clnf"
    for scenario, names in {
        "task": ["naive", "joint", "si 0.5", "lwf", "er, sum", "packnet", "hat"],
        "permuted, told": ["packnet", "binary adam", "binary metaplastic"],
    }.items():
        for name in names:
            yield scenario, name, "clnf"


def measured(case: tuple[str, str, str], seed: int) -> dict[str, Any]:
    """One run."""
    scenario, name, by = case
    setting, begun = Setting(scenario=scenario), time.process_time()
    data, row = lessons(setting, seed), {"benchmark": "continual_accuracy", "scenario": scenario}
    more: dict[str, Any] = {}
    if by == "plain":
        matrix, finite = looped(name, data, setting, seed)
        more = {} if finite else {"nan": True}
    elif name == "gdumb":
        matrix = gdumb(data, setting, seed)
    elif name == "slda on pixels":
        matrix = slda(data, setting)
    else:
        rig = rig_of(name, setting, seed)
        matrix, refused = teach(rig, data, setting, seed, joint=name == "joint")
        more = {"refused": refused} if refused else {}
    acc, bwt, fgt = average_accuracy(matrix), backward_transfer(matrix), forgetting(matrix)
    figures = {"acc": round(acc, 2), "bwt": round(bwt, 2), "fgt": round(fgt, 2)}
    seconds = round(time.process_time() - begun, 1)
    return {**row, "method": name, "by": by, "seed": seed, **figures, **more, "seconds": seconds}


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those not done yet, seed by seed; the long ones, permuted, last."""
    there = {(one["scenario"], one["method"], one["by"], one["seed"]) for one in done}
    every = [(*case, seed) for seed in range(SEEDS) for case in cases()]
    for *case, seed in sorted(every, key=lambda run: run[0] == "permuted"):
        if (*case, seed) not in there:
            yield measured((case[0], case[1], case[2]), seed)


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One line a method and scenario: mean and spread over seeds, and its plain loop."""
    for scenario, name in dict.fromkeys((one["scenario"], one["method"]) for one in rows):
        mine = [o for o in rows if (o["scenario"], o["method"]) == (scenario, name)]
        ours, loops = ([o for o in mine if o["by"] == by] for by in ("clnf", "plain"))
        if not ours:
            continue
        method = {**METHODS, **MASKED}.get(name)
        line: dict[str, Any] = {"benchmark": "continual_accuracy", "scenario": scenario}
        line |= {"method": name, "seeds": len(ours), **spread(ours, "acc")}
        line |= {"bwt": round(statistics.mean(o["bwt"] for o in ours), 1)}
        if method is not None:
            line |= {"keep": method.keep} if method.keep else {}
            line |= {"samples": method.samples * Setting().batch}
        refused = sum(o.get("refused", 0) for o in ours)
        line |= {"refused": refused} if refused else {}
        if loops and not any(o.get("nan") for o in loops):
            both = spread(loops, "acc")
            line |= {"plain": both["acc"], "plain_sd": both["acc_sd"]}
            line |= {"points": round(line["acc"] - both["acc"], 1)}
        elif loops:
            line |= {"plain": None, "plain_nan": sum(bool(o.get("nan")) for o in loops)}
        yield line


def spread(rows: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    values = [one[key] for one in rows]
    sd = round(statistics.stdev(values), 1) if len(values) > 1 else None
    return {key: round(statistics.mean(values), 1), f"{key}_sd": sd}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One table a scenario, best last."""
    lines = list(summed(rows))
    for scenario in dict.fromkeys(one["scenario"] for one in lines):
        yield f"\n| {scenario} | memory filled | accuracy at the end | backward | plain loop |"
        yield "| --- | --- | --- | --- | --- |"
        for one in sorted((o for o in lines if o["scenario"] == scenario), key=lambda o: o["acc"]):
            keep = f"by {one['keep']}" if "keep" in one else ""
            loop = f"{one['plain']} ± {one['plain_sd']}" if one.get("plain") else ""
            loop = "not finite" if "plain_nan" in one else loop
            acc = f"{one['acc']} ± {one['acc_sd']}"
            yield f"| {one['method']} | {keep} | {acc} | {one['bwt']} | {loop} |"


def main() -> None:
    """Run, or print what was run."""
    command("continual_accuracy", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
