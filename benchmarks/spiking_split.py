"""A spiking classifier goes through lessons of digits, on memristive synapses, gated or not.

    python benchmarks/spiking_split.py                      JSON lines, all runs
    python benchmarks/spiking_split.py run CELLS GATE GUARD SEED   one run: run HfO2 always er 1
    python benchmarks/spiking_split.py into FILE            runs that the file lacks, added to it
    python benchmarks/spiking_split.py table FILE           runs of a file as a table

8,000 digits teach, 2,000 test, two classes a lesson, five lessons, ten outputs and no lesson told
when asked; latency code of 20 steps, 128 LIF cells, gradients through time, batches of 32, two
passes over each lesson. Guards: none, EWC (proximal, strength 100, Fisher of 300 samples with drawn
labels), ER and DER++ (500 pictures, 32 in each draw; pictures are kept and become events anew).
Cells:

    float   plain gradient descent
    HfO2    every weight a pair of cells; a digital number a weight keeps what is less than a pulse

Gates: ``always``; ``gate``: a sample teaches only where its largest error is above 1.5 times the
first root-mean-square error; ``budget``: the same at the start, and 6,000 pulses a lesson, spent as
errors come; ``worth``: ``gate``, and 6,000 pulses a lesson, those worth most first, in parts that
fall to 0 (both for ER and DER++ only). Rates are 0.3 everywhere, chosen on all digits at once.

``acc`` is the mean over lessons at the end, ``kept`` the share of what each lesson had right after
it that is left (of lessons before the last), ``backward`` the share of samples that went back
through the net; ``pulses`` and joules are those of all lessons without the first weights.
``write_j`` and ``read_j`` are the ledger's, V^2 G t; ``digital_j`` is the arithmetic of the way
back, counted as in ``spiking_digits.py`` for samples that went back. STAND_IN fills what the
material lacks.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from peers.rows import command
from spiking_digits import HIDDEN, MAC_J, STAND_IN
from torch import Tensor, nn

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
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
from clnf.core.protocols import Guard
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.spiking.memristive import CellArray, Gate, GateRule, Lay, PulseSGD, laid
from clnf.spiking.tasks import EventClassifier, PictureCode
from clnf.streams.digits import split_digits

SEEDS, BATCH, PASSES, RATE, MEMORY = (1, 2, 3), 32, 2, 0.3, 500
CELLS, GATES = ("float", "HfO2"), ("always", "gate", "budget", "worth")
GUARDS = ("none", "ewc", "er", "der++")
THRESHOLD, BUDGET = 1.5, 6000
ARMS = [
    (cells, gate, guard)
    for cells in CELLS
    for gate in GATES
    for guard in GUARDS
    if gate == "always" or (cells == "HfO2" and (gate == "gate" or guard in ("er", "der++")))
]


class Rig:
    """All that learns."""

    def __init__(self, cells: str, gate: str, guard: str, seed: int) -> None:
        self.net = EventClassifier(PictureCode(), hidden=HIDDEN, seed=10 * seed)
        steps = PASSES * 1600 // BATCH
        rule = {
            "always": GateRule(threshold=0.0),
            "gate": GateRule(threshold=THRESHOLD),
            "budget": GateRule(threshold=THRESHOLD, budget=BUDGET, steps=steps),
            "worth": GateRule(threshold=THRESHOLD),
        }[gate]
        self.gate, self.ledger = Gate(rule), Ledger()
        self.budget = self.gate
        if gate == "worth":
            self.budget = Gate(GateRule(on="worth", budget=BUDGET, steps=steps, falling=True))
        self.model = Classifier(nn.Sequential(self.net, self.gate))
        self.arrays: dict[nn.Parameter, CellArray] = {}
        self.optimizer: torch.optim.Optimizer
        if cells == "float":
            self.optimizer = torch.optim.SGD(self.net.parameters(), lr=RATE)
        else:
            one = cell(material("hfo2_array_optimised").supply(**stand_in()))
            lay = Lay(range_v=0.6)
            self.arrays = laid(self.net, one, seed=seed, lay=lay, ledger=self.ledger)
            self.optimizer = PulseSGD(self.net.parameters(), self.arrays, lr=RATE, gate=self.budget)
        self.guards = guards(guard, self.model, seed)
        self.learner = Learner(self.model, self.optimizer, guards=self.guards, seed=seed)


def stand_in() -> dict[str, float]:
    """What the material lacks; dead cells stay as published."""
    return {key: value for key, value in STAND_IN.items() if key != "dead_fraction"}


def guards(name: str, model: Classifier, seed: int) -> list[Guard]:
    """What holds the past."""
    kept = Reservoir(MEMORY, seed=seed)
    if name == "ewc":
        params = FisherParams(samples=300, chunk=1)
        fisher = Fisher(model, params=params, seed=seed, relabel=model.drawn_label)
        return [EWC(fisher, EWCParams(strength=100.0))]
    if name == "er":
        return [Rehearsal(kept, RehearsalParams(samples=32, coefficient=1.0, keep="batch"))]
    if name == "der++":
        return [DER(kept, model, DERParams(samples=32, alpha=0.5, beta=0.5))]
    return []


@torch.no_grad()
def right(rig: Rig, split: tuple[Tensor, Tensor]) -> float:
    """Share named rightly."""
    rig.model.eval()
    x, y = split
    return float((rig.model(x).argmax(1) == y).float().mean())


def reads(rig: Rig, x: Tensor) -> None:
    """Charge what reading a batch of pictures took."""
    if not rig.arrays:
        return
    with torch.no_grad():
        events = rig.net.code.events(x)
        first, last = rig.arrays[rig.net.layer.weight], rig.arrays[rig.net.out.weight]
        first.charge_reads(events)
        last.charge_reads(rig.net.layer(events))


def backward_ops(rig: Rig, x: Tensor) -> float:
    """Multiplications and additions of the way back, for one picture, of some pictures."""
    with torch.no_grad():
        first, last = rig.net.operations(rig.net.code.events(x))
    return rig.net.code.steps * 10 * HIDDEN + (first + last) / len(x)


def row_of(cells: str, gate: str, guard: str, seed: int) -> dict[str, Any]:
    """One run."""
    begun, rig, scenario = time.process_time(), Rig(cells, gate, guard, seed), split_digits("class")
    tests: list[tuple[Tensor, Tensor]] = []
    matrix: list[list[float]] = []
    for task in scenario:
        data, name = task.experience.data, task.experience.name
        rig.ledger.lesson = name
        rig.gate.lesson()
        rig.budget.lesson()
        steps = PASSES * len(data) // BATCH
        for info in rig.learner.lesson(task.experience, steps=steps, batch_size=BATCH):
            if info.step % 10 == 0:  # reads of one batch in ten stand for ten
                some = data.take(torch.arange(BATCH) + info.step % (len(data) - BATCH)).x
                for _ in range(10 * rows_of(rig) // BATCH):
                    reads(rig, some)
        rig.learner.consolidate(task.experience)
        batch = task.test.take(torch.arange(len(task.test)))
        tests.append((batch.x, batch.cond))
        matrix.append([right(rig, one) for one in tests])
    went, came = int(rig.gate.passed), int(rig.gate.seen)
    joules = went * backward_ops(rig, tests[0][0][:200])
    ends, lessons = matrix[-1], [name for name in rig.ledger.by("lesson") if name != "setup"]
    bill = {op: sum(rig.ledger.total(lesson=one, op=op).energy_j for one in lessons)
            for op in ("pulse", "read")}  # fmt: skip
    before = zip(ends, [line[-1] for line in matrix[:-1]], strict=False)
    return {
        "benchmark": "spiking_split", "cells": cells, "gate": gate, "guard": guard, "seed": seed,
        "acc": statistics.mean(ends),
        "kept": statistics.mean(min(end / max(one, 1e-9), 1.0) for end, one in before),
        "backward": went / max(came, 1), "samples": came,
        "pulses": getattr(rig.optimizer, "pulses", 0), "write_j": bill["pulse"],
        "read_j": bill["read"], "digital_j": [joules * one for one in MAC_J],
        "worn": max((one.most_worn() for one in rig.arrays.values()), default=0.0),
        "matrix": [[round(one, 4) for one in line] for line in matrix],
        "seconds": round(time.process_time() - begun, 1),
    }  # fmt: skip


def rows_of(rig: Rig) -> int:
    """Samples of a step, rehearsed ones included, once a memory is filled."""
    if not rig.guards:
        return BATCH
    return {"Rehearsal": 2, "DER": 3}.get(type(rig.guards[0]).__name__, 1) * BATCH


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those that are not there yet."""
    have = {(one["cells"], one["gate"], one["guard"], one["seed"]) for one in done}
    for seed in SEEDS:
        for arm in ARMS:
            if (*arm, seed) not in have:
                yield row_of(*arm, seed)


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means over seeds."""
    for arm in ARMS:
        own = [one for one in rows if (one["cells"], one["gate"], one["guard"]) == arm]
        if not own:
            continue
        line: dict[str, Any] = dict(zip(("cells", "gate", "guard"), arm, strict=True))
        for key in ("acc", "kept", "backward", "pulses", "write_j", "read_j", "worn", "seconds"):
            line[key] = float(f"{statistics.mean(one[key] for one in own):.4g}")
        sides = zip(*(one["digital_j"] for one in own), strict=True)
        line["digital_j"] = [float(f"{statistics.mean(side):.3g}") for side in sides]
        line["each"] = [round(one["acc"], 4) for one in own]
        yield {"benchmark": "spiking_split", **line}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means over seeds as a table of a page."""
    heads = "cells", "gate", "guard", "accuracy", "kept", "went back", "pulses"
    yield f"| {' | '.join(heads)} | write, uJ | way back, mJ |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in summed(rows):
        low, high = 100 * min(one["each"]), 100 * max(one["each"])
        back = " to ".join(f"{1e3 * side:.3g}" for side in one["digital_j"])
        yield (
            f"| {one['cells']} | {one['gate']} | {one['guard']} "
            f"| {100 * one['acc']:.1f} ({low:.1f} to {high:.1f}) "
            f"| {100 * one['kept']:.0f} % | {100 * one['backward']:.0f} % | {one['pulses']:.0f} "
            f"| {1e6 * one['write_j']:.3g} | {back} |"
        )


def main() -> None:
    """See the head of this script."""
    asked = sys.argv[1:]
    if asked[:1] == ["run"]:
        torch.set_num_threads(1)
        print(json.dumps(row_of(asked[1], asked[2], asked[3], int(asked[4]))))
    else:
        command("spiking_split", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
