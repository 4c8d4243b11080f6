"""Event-driven updates: accuracy against pulses over thresholds, and budgets that are kept.

    python benchmarks/events.py             JSON lines
    python benchmarks/events.py part CELLS  JSON lines of one material
    python benchmarks/events.py table FILE  JSON lines of a file as tables
    python benchmarks/events.py picture FILE PNG    and as a picture

The perceptron, digits, batches and loop of ``local_rules.py``, by backpropagation and by local
losses, on HfO2 cells of few states and on Li-ECRAM cells of many; the mixed rule. ``cells`` waits
until a cell is owed so many pulses; ``samples`` leaves out samples whose largest error in a layer
is small, and adds to it a threshold on cells (``owed``). Rates are at most those that
``local_rules.py`` chose for the same arm. ``fewer`` is the share of pulses saved, ``points`` what
accuracy gained, both against the same arm without a threshold, by three seeds and the test digits.
``tuned_points`` are the same of two other seeds by the validation digits. By these the line
``chosen`` takes the threshold that saves most of those that lose no more than half a point, so that
its figures on the test digits are not the best of many.

Budgets are 35 and 20 % of the pulses of the arm without a threshold, as one lesson, spread as the
rate falls.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from local_rules import COLOURS, taught
from tile_accuracy import BATCH, SEEDS, STEPS, TUNING_SEEDS, data

from clnf.chip.local import Course, EventRule, right, spent

Arm = tuple[str, str, float]
ARMS: tuple[Arm, ...] = (
    ("hfo2_array_optimised", "backpropagation", 1.0),
    ("ecram_li", "backpropagation", 3.0),
    ("hfo2_array_optimised", "layerwise", 1.0),
    ("ecram_li", "layerwise", 3.0),
)
CELLS = {
    "hfo2_array_optimised": (1.0, 8.0, 16.0),
    "ecram_li": (1.0, 256.0, 512.0),
}
OWED = {"hfo2_array_optimised": 8.0, "ecram_li": 128.0}
SAMPLES = (1.0, 1.5, 2.0)
BUDGETS = (0.35, 0.2)
LOST = 0.5


def models(arm: Arm, rule: EventRule, owed: float, seeds: tuple[int, ...], on: str) -> Any:
    """Accuracies, pulses, joules of writing, and where thresholds ended."""
    cells, way, rate = arm
    course = Course(lr=rate, steps=STEPS["mlp"], batch=BATCH, events=rule)
    course = replace(course, rule=replace(course.rule, threshold=owed))
    found = []
    for seed in seeds:
        method, events = taught("mlp", cells, way, replace(course, seed=seed))
        bill = spent(method)
        found.append((right(method, data()[on]), bill.pulses, bill.write_j, events.threshold))
    return zip(*found, strict=True)


def line(arm: Arm, rule: EventRule, owed: float, first: dict[str, Any]) -> dict[str, Any]:
    """One point of a curve."""
    accuracies, pulses, energies, ends = models(arm, rule, owed, SEEDS, "test")
    tuned, tuned_pulses, *_ = models(arm, rule, owed, TUNING_SEEDS, "tune")
    one: dict[str, Any] = {
        "cells": arm[0], "way": arm[1], "rate": arm[2], "on": rule.on,
        "threshold": rule.threshold, "owed": owed, "budget": rule.budget,
        "accuracy": round(statistics.mean(accuracies), 4),
        "spread": round(statistics.stdev(accuracies), 4),
        "pulses": round(statistics.mean(pulses)), "most": max(pulses),
        "write_j": float(f"{statistics.mean(energies):.3g}"),
        "threshold_end": round(statistics.mean(ends), 3),
        "tuned": round(statistics.mean(tuned), 4),
        "tuned_pulses": round(statistics.mean(tuned_pulses)),
    }  # fmt: skip
    base = first or one
    one["fewer"] = round(1 - one["pulses"] / base["pulses"], 3)
    one["points"] = round(100 * (one["accuracy"] - base["accuracy"]), 2)
    one["tuned_points"] = round(100 * (one["tuned"] - base["tuned"]), 2)
    return one


def points(arm: Arm) -> Iterator[dict[str, Any]]:
    """The curve of an arm, without a threshold first, then the one chosen and the budgets."""
    cells, first, curve = arm[0], {}, []
    rules = [(EventRule(threshold=one, on="cells"), one) for one in CELLS[cells]]
    rules += [(EventRule(threshold=one, on="samples"), OWED[cells]) for one in SAMPLES]
    for rule, owed in rules:
        curve.append(line(arm, rule, owed, first))
        first = first or curve[0]
        yield curve[-1]
    kept = [one for one in curve if one["tuned_points"] >= -LOST]
    yield {**min(kept, key=lambda one: one["tuned_pulses"]), "chosen": True}
    for share in BUDGETS:
        budget, steps = round(share * first["pulses"]), STEPS["mlp"]
        rule = EventRule(threshold=0.5, budget=budget, steps=steps, falling=True)
        yield line(arm, rule, OWED[cells], first)


def show(**values: Any) -> None:
    print(json.dumps({"benchmark": "events", **values}), flush=True)


def run(names: tuple[str, ...]) -> None:
    begun = time.perf_counter()
    for arm in (arm for arm in ARMS if arm[0] in names):
        for one in points(arm):
            show(**one)
    show(seconds=round(time.perf_counter() - begun))


def lines_in(path: str) -> list[dict[str, Any]]:
    """Points in a file of JSON lines."""
    texts = Path(path).read_text(encoding="utf-8").splitlines()
    lines = [json.loads(text) for text in texts if text.startswith("{")]
    return [one for one in lines if one.get("benchmark") == "events" and "way" in one]


def picture(path: str, out: str) -> None:
    """Accuracy against pulses saved, a panel a material."""
    from matplotlib.figure import Figure

    lines = [one for one in lines_in(path) if "chosen" not in one]
    figure = Figure(figsize=(10, 3.8), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(CELLS), sharey=True)
    for axes, cells in zip(panels, CELLS, strict=True):
        for way, colour in (("backpropagation", COLOURS[0]), ("layerwise", COLOURS[2])):
            own = [one for one in lines if (one["cells"], one["way"]) == (cells, way)]
            for on, mark, line in (
                ("cells", "o", "-"),
                ("samples", "^", "--"),
                ("budget", "*", ""),
            ):
                kind = [one for one in own if ("budget" if one["budget"] else one["on"]) == on]
                x, y = [100 * one["fewer"] for one in kind], [one["points"] for one in kind]
                style = {
                    "marker": mark,
                    "linestyle": line,
                    "markersize": 10 if on == "budget" else 5,
                }
                axes.plot(x, y, color=colour, label=f"{way}, {on}", **style)
        axes.axhline(-1, color="#999999", linewidth=0.8)
        axes.axvline(60, color="#999999", linewidth=0.8)
        axes.set(title=cells, xlabel="write pulses saved, %")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("points of accuracy gained")
    panels[0].legend(fontsize=8, loc="lower left")
    figure.savefig(out, metadata={"Software": None})


def tables(path: str) -> Iterator[str]:
    """JSON lines as a table."""
    lines = lines_in(path)
    yield (
        f"{'cells':21}{'way':16}{'on':8}{'above':>6}{'accuracy':>9}{'+-':>6}{'pulses':>8}"
        f"{'fewer':>6}{'points':>7}{'budget':>11}"
    )
    for one in lines:
        budget = f"{one['budget']:.3g}" if one["budget"] else ""
        yield (
            f"{one['cells']:21}{one['way']:16}{one['on']:8}{one['threshold']:6.3g}"
            f"{one['accuracy']:9.3f}{one['spread']:6.3f}{one['pulses']:8.2g}"
            f"{one['fewer']:6.0%}{one['points']:7.1f}{'chosen' if 'chosen' in one else budget:>11}"
        )


def main() -> None:
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["table", path]:
            print("\n".join(tables(path)))
        case ["picture", path, out]:
            picture(path, out)
        case ["part", cells]:
            run((cells,))
        case _:
            run(tuple(CELLS))


if __name__ == "__main__":
    main()
