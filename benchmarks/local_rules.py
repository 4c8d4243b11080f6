"""Local rules against backpropagation, all wholly on tiles: accuracy, joules, writes, bytes moved.

    python benchmarks/local_rules.py                     JSON lines, a process a core
    python benchmarks/local_rules.py part NET CELLS WAY  one arm: part mlp ecram_li local
    python benchmarks/local_rules.py nets NET ...        all arms of some nets (mlp, conv)
    python benchmarks/local_rules.py table FILE          JSON lines of a file as tables

Digits, nets, batches, materials, stand-ins and converters are those of ``tile_accuracy.py``. All
methods pulse by the mixed rule without preconditioning, which is the best one on these cells
there. Rates climb the same ladder in the same way: half the steps, the validation digits, the worse
of two seeds; the table is from three other seeds. Equilibrium propagation of the convolutional net
is slow to simulate: it takes rate 1 untuned, and fewer steps of relaxation.

``bytes`` are what travels between the tile groups for one input, see
``clnf/chip/local/traffic.py``: activations up, errors or the error broadcast to feedback tiles
down, labels, states of relaxation. ``route_j`` is what moving them took, and part of ``energy_j``.
``pulses`` are all write pulses of learning.

No source gives the size of a CMO/HfOx cell's pulses. They are derived here from what is known:
soft bounds, 32 steps over the window (the source has more than 32 states), and a symmetry point in
the middle of the published 20 to 40 uS. That row is marked ``derived``.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tile_accuracy import (
    BATCH,
    RATES,
    SEEDS,
    STEPS,
    TUNING_SEEDS,
    Split,
    accuracy,
    climbed,
    data,
    filled,
    network,
)

from clnf.chip import ChipSpec, PulseRule, host, ideal_chip
from clnf.chip.hosting import Chip
from clnf.chip.local import (
    AbstractMethod,
    Backpropagation,
    DirectFeedback,
    Equilibrium,
    ForwardForward,
    LocalLosses,
    Relaxation,
)
from clnf.core.rng import torch_rng
from clnf.devices.materials import Material

CELLS = ("ideal tile", "hfo2_array_optimised", "cmo_hfox", "gst_pcm_training", "ecram_li")
NETS = ("mlp", "conv")
START, UNTUNED = 5, 1.0
SMALL, FEW = Relaxation(free=8, nudged=4), Relaxation(free=6, nudged=3)

Way = Callable[[Any, Chip, torch.Tensor, int, str], AbstractMethod]
WAYS: dict[str, Way] = {
    "backpropagation": lambda net, chip, x, seed, kind: Backpropagation(net, chip),
    "feedback": lambda net, chip, x, seed, kind: DirectFeedback(net, chip, example=x, seed=seed),
    "local": lambda net, chip, x, seed, kind: LocalLosses(net, chip, example=x, seed=seed),
    "forward_forward": lambda net, chip, x, seed, kind: ForwardForward(
        net, chip, example=x, seed=seed
    ),
    "equilibrium": lambda net, chip, x, seed, kind: Equilibrium(
        net, chip, relaxation=FEW if kind == "conv" else SMALL
    ),
}


def cells_of(name: str) -> tuple[Material, list[str]]:
    """A material that can learn, and what of it is no published value."""
    row, lacking = filled(name)
    if name != "cmo_hfox":
        return row, lacking
    low, high = (row.get(f"conductance_{end}_s").number for end in ("min", "max"))
    middle = sum(row.get("symmetry_point_s").coefficients) / 2
    w, step = 2 * (middle - low) / (high - low) - 1, 2 / row.get("states").number
    # Steps up, step_up (1 - w), and down, step_down (1 + w), are alike at the symmetry point.
    row = row.supply(step_up=step * (1 + w), step_down=step * (1 - w), slope_up=1.0, slope_down=1.0)
    return row, [*lacking, "derived"]


def spec_of(name: str) -> tuple[ChipSpec, list[str]]:
    """A chip of one material, one pair of cells a weight."""
    if name == "ideal tile":
        cells = filled("ecram_li")[0].supply(step=2e-3, slope_up=0.0, slope_down=0.0)
        return replace(ideal_chip(), plastic=cells, pairs=1), []
    row, lacking = cells_of(name)
    return ChipSpec(plastic=row, relatives=False, pairs=1), lacking


def taught(
    kind: str, spec: ChipSpec, way: str, seed: int, rate: float, steps: int
) -> tuple[AbstractMethod, Chip]:
    """A model that learned by one method."""
    net, (x, y) = network(kind, seed), data()["train"]
    chip = host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=spec)
    method = WAYS[way](net, chip, x[:BATCH], seed, kind)
    rule = PulseRule(mode="mixed", precondition="none", digital_lr=0.01)
    optimizer = method.optimizer(lr=rate, rule=rule)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps)
    chip.ledger.lesson, rng = "training", torch_rng(seed, "batches")
    for _ in range(steps):
        picked = torch.randint(0, len(y), (BATCH,), generator=rng)
        optimizer.zero_grad()
        method.teach(x[picked], y[picked])
        optimizer.step()
        schedule.step()
    chip.ledger.lesson = "test"
    return method, chip


def figures(method: AbstractMethod, chip: Chip, split: Split) -> dict[str, float]:
    """What one model reached and cost."""
    ledger, samples = chip.ledger, method.traffic.samples
    spent = ledger.total(lesson="training")
    routed = ledger.total(lesson="training", op="routing")
    return {
        "accuracy": accuracy(method, split),
        "energy_j": spent.energy_j,
        "route_j": routed.energy_j,
        "digital_j": ledger.total(lesson="training", op="digital").energy_j,
        "busy_s": spent.time_s,
        "pulses": ledger.total(lesson="training", op="pulse").count,
        "pulses_worst": max(tile.most for tile in chip.wear().values()),
        "bytes": routed.count / 8 / samples,
    }


def measured(kind: str, name: str, way: str) -> dict[str, Any]:
    """One arm: its rate, then three models."""
    torch.set_num_threads(1)
    begun = time.perf_counter()
    (spec, lacking), sets, steps = spec_of(name), data(), STEPS[kind]

    def tried(rate: float) -> float:
        models = [taught(kind, spec, way, seed, rate, steps // 2) for seed in TUNING_SEEDS]
        return min(accuracy(method, sets["tune"]) for method, _ in models)

    slow = kind == "conv" and way == "equilibrium"
    scores = {} if slow else climbed(tried, START)
    rate = max(scores, key=lambda one: scores[one]) if scores else UNTUNED
    models = [taught(kind, spec, way, seed, rate, steps) for seed in SEEDS]
    found = [figures(method, chip, sets["test"]) for method, chip in models]
    line: dict[str, Any] = {"net": kind, "cells": name, "way": way}
    for key in found[0]:
        line[key] = float(f"{statistics.mean(one[key] for one in found):.4g}")
    line["spread"] = round(statistics.stdev(one["accuracy"] for one in found), 4)
    kinds = models[0][0].traffic.bytes_per_sample
    line["bytes_by_kind"] = {key: round(value, 1) for key, value in kinds.items()}
    line |= {"rate": rate, "scores": scores, "stand_in": lacking}
    return line | {"seconds": round(time.perf_counter() - begun)}


def show(**line: Any) -> None:
    print(json.dumps({"benchmark": "local_rules", **line}), flush=True)


def tables(path: str) -> Iterator[str]:
    """JSON lines as tables of at most 100 columns."""
    texts = Path(path).read_text(encoding="utf-8").splitlines()
    every = [json.loads(text) for text in texts if text.startswith("{")]
    lines = [one for one in every if one.get("benchmark") == "local_rules" and "way" in one]
    first = {(o["net"], o["cells"]): o for o in lines if o["way"] == "backpropagation"}
    for kind in dict.fromkeys(one["net"] for one in lines):
        yield f"\n{kind}, {STEPS[kind]} batches of {BATCH}, bytes for one input"
        yield (
            f"{'cells':21}{'way':16}{'accuracy':>9}{'+-':>6}{'points':>7}{'bytes':>8}{'share':>6}"
            f"{'uJ':>7}{'moving':>7}{'pulses':>8}{'rate':>5}"
        )
        for one in (line for line in lines if line["net"] == kind):
            base = first.get((kind, one["cells"]), one)
            points = 100 * (one["accuracy"] - base["accuracy"])
            yield (
                f"{one['cells']:21}{one['way']:16}{one['accuracy']:9.3f}{one['spread']:6.3f}"
                f"{points:7.1f}{one['bytes']:8.0f}{one['bytes'] / base['bytes']:6.2f}"
                f"{one['energy_j'] * 1e6:7.0f}{one['route_j'] * 1e6:7.2f}{one['pulses']:8.1e}"
                f"{one['rate']:5.2g}"
            )
    yield "\npoints: against backpropagation on the same cells; share: of its bytes"


def run(nets: tuple[str, ...]) -> None:
    begun = time.perf_counter()
    show(seeds=SEEDS, steps=STEPS, batch=BATCH, rates=RATES, nets=nets)
    with ProcessPoolExecutor(os.cpu_count() or 1, get_context("spawn")) as pool:
        arms = [(kind, name, way) for way in WAYS for kind in nets for name in CELLS]
        for job in [pool.submit(measured, *arm) for arm in arms]:
            show(**job.result())
    show(seconds=round(time.perf_counter() - begun))


def main() -> None:
    match sys.argv[1:]:
        case ["part", kind, name, way]:
            show(**measured(kind, name, way))
        case ["table", path]:
            print("\n".join(tables(path)))
        case ["nets", *nets]:
            run(tuple(nets))
        case _:
            run(NETS)


if __name__ == "__main__":
    main()
