"""Published protocols at the size of 10,000 digits: what they gave there and what they give here.

    python benchmarks/continual_papers.py             JSON lines
    python benchmarks/continual_papers.py into FILE   those runs that the file lacks, added to it
    python benchmarks/continual_papers.py lines FILE  JSON lines of the runs in a file
    python benchmarks/continual_papers.py table FILE  the same as tables of a page
    python benchmarks/continual_papers.py section FILE  the same as a section of RESULTS.md

The papers learn from MNIST's 60,000 digits and test on 10,000; here 8,000 of ``digits10k`` learn
and 2,000 test, so a lesson is 7.5 times shorter. What else differs is said with each protocol.

buzzega 2020 (DER, DER++): MLP 784-100-100-10, SGD, one pass. ``S`` is split digits, ten outputs,
batch 10; ``P`` is 20 permutations, batch 128. Rates, alpha, beta and replayed batches of each
memory are those the authors publish with their code; memories are reservoirs, drawn from evenly.
Passes are shorter by 7.5 and so are steps: 160 a lesson instead of 1,200, 63 instead of 469; ``S``
is also taught in 1,200 steps, which are 7.5 passes here. The same 500 samples are 6 % of these
digits and 0.8 % of theirs. EWC's strength is not theirs (their Fisher is another); it is the best
of three on another seed.

van de ven 2022: MLP 784-400-400-k, Adam 1e-3, batch 128, 21 passes a lesson as theirs (267 steps
instead of 2,000), task, domain and class. ER and A-GEM hold 1,000 samples in all, theirs 100 a
class; in ER each lesson so far has the same part in the loss. LwF distils over all old classes
in one softmax, also where lessons are told. EWC's and SI's strengths are the best of three on
another seed. A-GEM by class is also taught for 2,000 steps a lesson with a loss over the classes so
far, both as theirs, and in the short lessons with an Adam that begins each of them anew. ``joint``
is all lessons at once. Generative replay is not among what clnf has for classifiers. Three seeds
here, 10 and 20 there.

``published`` are the papers' numbers as collected in a review of theirs, not read again here.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from continual_accuracy import Keep, fisher, named, spread
from peers.continual_rigs import Lessons, Make, Setting, lessons, memory, plain, teach
from peers.rows import command

from clnf.continual.classifier import Classifier
from clnf.continual.guards import (
    AGEM,
    DER,
    EWC,
    SI,
    AGEMParams,
    DERParams,
    EWCParams,
    LwF,
    Rehearsal,
    RehearsalParams,
    SIParams,
)
from clnf.core.protocols import Guard

SEEDS, TUNING_SEED, STRENGTHS = 3, 100, 3
S = Setting(scenario="class", widths=(100, 100), batch=10, rate=0.03)
P = Setting(scenario="permuted", lessons=20, widths=(100, 100), batch=128, rate=0.1)
V = Setting(widths=(400, 400), adam=True, rate=1e-3, batch=128, replay=128, memory=1000, steps=267)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A method of a paper, with its protocol and what was published.

    Attributes:
        makes: one guard builder, or three of rising strength to choose from.
        shared: each lesson so far has the same part in the loss of rehearsal.
    """

    paper: str
    method: str
    setting: Setting
    makes: tuple[Make, ...]
    published: float | None = None
    joint: bool = False
    shared: bool = False

    @property
    def name(self) -> tuple[str, str, str, int]:
        """What it is known by in a file."""
        return self.paper, self.setting.scenario, self.method, self.setting.memory


def nothing(m: Classifier, c: Setting, s: int) -> list[Guard]:
    """No guard."""
    return []


def er(keep: Keep) -> Make:
    """Rehearsal by one mean over new and old."""

    def make(m: Classifier, c: Setting, s: int) -> list[Guard]:
        params = RehearsalParams(samples=c.replay, coefficient=1.0, keep=keep)
        return [Rehearsal(memory(keep, c, s), params)]

    return make


def der(alpha: float, beta: float) -> Make:
    """DER and DER++ without boundaries."""

    def make(m: Classifier, c: Setting, s: int) -> list[Guard]:
        params = DERParams(samples=c.replay, alpha=alpha, beta=beta, keep="batch")
        return [DER(memory("batch", c, s), m, params)]

    return make


def ewc(strength: float, *, explicit: bool) -> Make:
    """Online EWC, explicit under Adam as in the paper."""
    params = EWCParams(strength=strength, explicit=explicit)
    return lambda m, c, s: [EWC(fisher(m, "drawn", s), params)]


def si(strength: float, damping: float, *, explicit: bool) -> Make:
    """SI; the papers take the explicit gradient."""
    params = SIParams(strength=strength, damping=damping, explicit=explicit)
    return lambda m, c, s: [SI(named(m), params)]


def agem(m: Classifier, c: Setting, s: int) -> list[Guard]:
    """A-GEM with a balanced memory."""
    kept = memory("lesson", c, s)
    return [AGEM(kept, m, named(m), AGEMParams(samples=c.replay))]


def buzzega() -> Iterator[Arm]:
    """Rates and factors as published with the authors' code."""
    sizes = (200, 500, 5120)
    for which, base, rates, found in (
        ("S", S, {"er": (0.01, 0.1, 0.1), "der": (0.03, 0.03, 0.1), "der++": (0.03, 0.03, 0.1)},
         {"er": (None, None, None), "der": (None, None, None), "der++": (85.61, 91.0, 95.3)}),
        ("P", P, {"er": (0.2, 0.2, 0.2), "der": (0.2, 0.2, 0.2), "der++": (0.1, 0.2, 0.2)},
         {"er": (72.37, 80.6, 89.9), "der": (81.74, 87.29, 91.66), "der++": (83.58, 88.21, 92.26)}),
    ):  # fmt: skip
        replay = {"S": {"er": (10, 10, 10), "der": (10, 128, 128), "der++": (128, 10, 64)},
                  "P": dict.fromkeys(("er", "der", "der++"), (128, 128, 128))}[which]  # fmt: skip
        alphas = {"S": {"der": (0.2, 1.0, 0.5), "der++": (0.2, 1.0, 0.2)},
                  "P": {"der": (1.0, 1.0, 0.5), "der++": (1.0, 1.0, 0.5)}}[which]  # fmt: skip
        betas = {"S": (1.0, 0.5, 0.5), "P": (1.0, 0.5, 1.0)}[which]
        for method, numbers in found.items():
            for k, size in enumerate(sizes):
                setting = replace(
                    base, memory=size, rate=rates[method][k], replay=replay[method][k]
                )
                make = er("batch")
                if method != "er":
                    make = der(alphas[method][k], betas[k] if method == "der++" else 0.0)
                yield Arm(paper=f"buzzega 2020, {which}", method=method, setting=setting,
                          makes=(make,), published=numbers[k])  # fmt: skip
                if which == "S":
                    yield Arm(paper="buzzega 2020, S", method=f"{method}, 1200 steps",
                              setting=replace(setting, steps=1200), makes=(make,),
                              published=numbers[k])  # fmt: skip


def buzzega_without_memory() -> Iterator[Arm]:
    """Plain training, pulls and joint training."""
    s, p = "buzzega 2020, S", "buzzega 2020, P"
    fast, pulls = replace(P, rate=0.2), (1.4, 14.0, 140.0)
    yield Arm(paper=s, method="none", setting=S, makes=(nothing,))
    yield Arm(paper=s, method="joint", setting=S, makes=(nothing,), joint=True)
    yield Arm(paper=p, method="none", setting=fast, makes=(nothing,), published=40.7)
    yield Arm(paper=p, method="joint", setting=fast, makes=(nothing,), published=94.33, joint=True)
    makes = tuple(ewc(one, explicit=False) for one in pulls)
    yield Arm(paper=p, method="ewc", setting=P, makes=makes, published=75.79)
    yield Arm(paper=p, method="si 0.5", setting=P, makes=(si(0.5, 1.0, explicit=False),),
              published=65.86)  # fmt: skip


def van_de_ven() -> Iterator[Arm]:
    """Three scenarios."""
    numbers = {
        "none": (84.3, 60.1, 19.9), "joint": (99.7, 98.6, 98.2), "ewc": (99.1, 63.0, 20.6),
        "si": (99.2, 66.9, 21.2), "lwf": (99.6, 72.9, 21.9), "er": (99.0, 93.8, 88.8),
        "a-gem": (98.6, 87.7, 65.1),
    }  # fmt: skip
    makes: dict[str, tuple[Make, ...]] = {
        "none": (nothing,),
        "joint": (nothing,),
        "ewc": tuple(ewc(one, explicit=True) for one in (1e2, 1e4, 1e6)),
        "si": tuple(si(one, 0.1, explicit=True) for one in (1.0, 10.0, 100.0)),
        "lwf": (lambda m, c, s: [LwF(m)],),
        "er": (er("lesson"),),
        "a-gem": (agem,),
    }
    for method, published in numbers.items():
        for scenario, number in zip(("task", "domain", "class"), published, strict=True):
            yield Arm(paper="van de ven 2022", method=method, makes=makes[method],
                      setting=replace(V, scenario=scenario), published=number,
                      joint=method == "joint", shared=method == "er")  # fmt: skip
    usual = replace(V, scenario="class")
    for words, setting in (
        ("a-gem, as long as theirs", replace(usual, steps=2000, so_far=True)),
        ("a-gem, Adam anew", replace(usual, anew=True)),
    ):
        yield Arm(paper="van de ven 2022", method=words, makes=(agem,), setting=setting,
                  published=None if setting.anew else 65.1)  # fmt: skip


def accuracy(arm: Arm, make: Make, seed: int) -> float:
    """Mean over lessons at the end, in percent."""
    setting, data = arm.setting, lessons(arm.setting, seed)
    rig = plain(setting, seed, make=make)
    rig.shared = arm.shared
    if arm.joint:
        x, y = (torch.cat(side) for side in zip(*data.train, strict=True))
        steps = setting.steps * setting.lessons
        setting, data = (
            replace(setting, lessons=1, steps=steps),
            Lessons(train=[(x, y)], test=data.test),
        )
    return statistics.mean(teach(rig, data, setting, seed, joint=False)[0][-1])


def measured(arm: Arm, done: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """One run, of the best of its strengths on another seed."""
    begun, best = time.process_time(), 0
    if len(arm.makes) > 1:
        chosen = [o["strength"] for o in done if known(o) == arm.name]
        scores = [] if chosen else [accuracy(arm, make, TUNING_SEED) for make in arm.makes]
        best = chosen[0] if chosen else scores.index(max(scores))
    row = {"benchmark": "continual_papers", "paper": arm.paper, "scenario": arm.setting.scenario}
    figures = {"acc": round(accuracy(arm, arm.makes[best], seed), 2), "strength": best}
    row |= {"method": arm.method, "memory": arm.setting.memory, "seed": seed, **figures}
    return row | {"seconds": round(time.process_time() - begun, 1)}


def known(row: dict[str, Any]) -> tuple[str, str, str, int]:
    """The arm of a row."""
    return row["paper"], row["scenario"], row["method"], row["memory"]


ARMS = (*buzzega(), *buzzega_without_memory(), *van_de_ven())


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those not done yet, seed by seed."""
    rows = list(done)
    for seed in range(SEEDS):
        for arm in ARMS:
            if not any(known(one) == arm.name and one["seed"] == seed for one in rows):
                rows.append(measured(arm, rows, seed))
                yield rows[-1]


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One line an arm."""
    for arm in ARMS:
        mine = [one for one in rows if known(one) == arm.name]
        if mine:
            line = {"benchmark": "continual_papers", "paper": arm.paper}
            line |= {"scenario": arm.setting.scenario, "method": arm.method}
            keeps = arm.method.startswith(("er", "der", "a-gem"))
            line |= {"memory": arm.setting.memory} if keeps else {}
            yield {**line, "seeds": len(mine), **spread(mine, "acc"), "published": arm.published}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One table a protocol."""
    lines = list(summed(rows))
    for paper, scenario in dict.fromkeys((o["paper"], o["scenario"]) for o in lines):
        yield f"\n| {paper}, {scenario} | memory | here | published |"
        yield "| --- | --- | --- | --- |"
        for one in (o for o in lines if (o["paper"], o["scenario"]) == (paper, scenario)):
            here = f"{one['acc']} ± {one['acc_sd']}"
            published = "" if one["published"] is None else one["published"]
            yield f"| {one['method']} | {one.get('memory', '')} | {here} | {published} |"


def main() -> None:
    """Run, or print what was run."""
    command("continual_papers", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
