"""Event-driven updates: accuracy against pulses over thresholds, and a budget that is kept.

    python benchmarks/events.py             JSON lines
    python benchmarks/events.py part CELLS  JSON lines of one material
    python benchmarks/events.py table FILE  JSON lines of a file as tables

The perceptron, digits and batches of ``local_rules.py``, by backpropagation and by local losses, on
HfO2 cells of few states and on Li-ECRAM cells of many; the mixed rule. ``cells`` waits until a cell
is owed so many pulses; ``samples`` leaves out samples whose largest error in a layer is small, and
adds to it a threshold on cells (``owed``). Rates are at most those that ``local_rules.py`` chose
for the same arm. Three seeds. ``fewer`` is the share of pulses saved, ``points`` what accuracy
gained, both against the same arm without a threshold.

Budget: 35 % of the pulses of the arm without a threshold, as one lesson, on samples.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from local_rules import WAYS, spec_of
from tile_accuracy import BATCH, SEEDS, STEPS, accuracy, data, network

from clnf.chip import PulseRule, host
from clnf.chip.local import EventRule, Events
from clnf.core.rng import torch_rng

ARMS = (
    ("hfo2_array_optimised", "backpropagation", 1.0),
    ("hfo2_array_optimised", "local", 1.0),
    ("ecram_li", "backpropagation", 3.0),
    ("ecram_li", "local", 3.0),
)
CELLS = {
    "hfo2_array_optimised": (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0),
    "ecram_li": (1.0, 16.0, 64.0, 128.0, 256.0, 512.0),
}
OWED = {"hfo2_array_optimised": 8.0, "ecram_li": 128.0}
SAMPLES = (1.0, 1.5, 2.0, 2.5)


def taught(cells: str, way: str, rate: float, seed: int, rule: EventRule, owed: float) -> Any:
    """Accuracy, pulses, pulses of the budget overspent, and where the threshold ended."""
    net, (x, y), steps = network("mlp", seed), data()["train"], STEPS["mlp"]
    chip = host(net, assign=lambda n, leaf: "plastic", seed=seed, spec=spec_of(cells)[0])
    method = WAYS[way](net, chip, x[:BATCH], seed, "mlp")
    pulses = PulseRule(mode="mixed", precondition="none", digital_lr=0.01, threshold=owed)
    optimizer = method.optimizer(lr=rate, rule=pulses)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps)
    events = Events(optimizer, rule)
    chip.ledger.lesson, rng = "training", torch_rng(seed, "batches")
    for _ in range(steps):
        picked = torch.randint(0, len(y), (BATCH,), generator=rng)
        optimizer.zero_grad()
        method.teach(x[picked], y[picked])
        events.step()
        schedule.step()
    spent = chip.ledger.total(lesson="training", op="pulse")
    return accuracy(method, data()["test"]), spent.count, spent.energy_j, events.threshold


def line(
    arm: tuple[str, str, float], rule: EventRule, owed: float, first: dict[str, Any]
) -> dict[str, Any]:
    """One point of a curve."""
    found = [taught(*arm, seed, rule, owed) for seed in SEEDS]
    accuracies, pulses, energies, ends = zip(*found, strict=True)
    one: dict[str, Any] = {
        "cells": arm[0], "way": arm[1], "rate": arm[2], "on": rule.on,
        "threshold": rule.threshold, "owed": owed, "budget": rule.budget,
        "accuracy": round(statistics.mean(accuracies), 4),
        "spread": round(statistics.stdev(accuracies), 4),
        "pulses": round(statistics.mean(pulses)), "most": max(pulses),
        "write_j": float(f"{statistics.mean(energies):.3g}"),
        "threshold_end": round(statistics.mean(ends), 3),
    }  # fmt: skip
    base = first or one
    one["fewer"] = round(1 - one["pulses"] / base["pulses"], 3)
    one["points"] = round(100 * (one["accuracy"] - base["accuracy"]), 2)
    return one


def show(**values: Any) -> None:
    print(json.dumps({"benchmark": "events", **values}), flush=True)


def main(names: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    begun = time.perf_counter()
    for arm in (arm for arm in ARMS if arm[0] in names):
        first: dict[str, Any] = {}
        for threshold in CELLS[arm[0]]:
            one = line(arm, EventRule(threshold=threshold, on="cells"), threshold, first)
            first = first or one
            show(**one)
        for threshold in SAMPLES:
            show(**line(arm, EventRule(threshold=threshold, on="samples"), OWED[arm[0]], first))
        budget = round(0.35 * first["pulses"])
        kept = EventRule(threshold=0.5, on="samples", budget=budget, steps=STEPS["mlp"])
        show(**line(arm, kept, OWED[arm[0]], first))
    show(seconds=round(time.perf_counter() - begun))


def tables(path: str) -> Iterator[str]:
    """JSON lines as a table."""
    texts = Path(path).read_text(encoding="utf-8").splitlines()
    lines = [json.loads(text) for text in texts if text.startswith("{")]
    lines = [one for one in lines if one.get("benchmark") == "events" and "way" in one]
    yield (
        f"{'cells':22}{'way':17}{'on':9}{'above':>6}{'accuracy':>9}{'+-':>6}{'pulses':>9}"
        f"{'fewer':>7}{'points':>7}{'budget':>10}"
    )
    for one in lines:
        yield (
            f"{one['cells']:22}{one['way']:17}{one['on']:9}{one['threshold']:6.3g}"
            f"{one['accuracy']:9.3f}{one['spread']:6.3f}{one['pulses']:9.2g}"
            f"{one['fewer']:7.0%}{one['points']:7.1f}{one['budget'] or '':>10}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["table"]:
        print("\n".join(tables(sys.argv[2])))
    elif sys.argv[1:2] == ["part"]:
        main((sys.argv[2],))
    else:
        main(tuple(CELLS))
