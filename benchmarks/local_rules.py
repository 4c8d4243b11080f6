"""Local rules against backpropagation, all wholly on tiles: accuracy, joules, writes, bytes moved.

    python benchmarks/local_rules.py                     JSON lines
    python benchmarks/local_rules.py part NET CELLS WAY  one arm: part mlp ecram_li layerwise
    python benchmarks/local_rules.py into FILE           those arms that the file lacks, added to it
    python benchmarks/local_rules.py table FILE          JSON lines of a file as tables
    python benchmarks/local_rules.py picture FILE PNG    and as a picture
    python benchmarks/local_rules.py page FILE           and in short, as tables of a page

Digits, nets, batches, materials, stand-ins and converters are those of ``tile_accuracy.py``. All
methods pulse by the mixed rule without preconditioning, which is the best one on these cells
there. Rates climb the same ladder from the same place in the same way for all, backpropagation
too: half the steps, the validation digits, the worse of two seeds; the table is from three other
seeds and the test digits.

``bytes`` are what travels between the tile groups for one input, see
``clnf/chip/local/traffic.py``: activations up, errors or the error broadcast to feedback tiles
down, labels, states of relaxation. ``route_j`` is what moving them took, and part of ``energy_j``.
``pulses`` are all write pulses of learning, heads included.

No source gives the size of a CMO/HfOx cell's pulses. They are derived here from what is known:
soft bounds, 32 steps over the window (the source has more than 32 states), and a symmetry point in
the middle of the published 20 to 40 uS. That row is marked ``derived``.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tile_accuracy import (
    BATCH,
    RATES,
    SEEDS,
    STEPS,
    TUNING_SEEDS,
    climbed,
    data,
    filled,
    network,
)

from clnf.chip import ChipSpec, host, ideal_chip
from clnf.chip.local import (
    METHODS,
    AbstractMethod,
    Course,
    Events,
    Relaxation,
    make_method,
    right,
    spent,
    teach,
)
from clnf.devices.materials import Material

CELLS = ("hfo2_array_optimised", "cmo_hfox", "gst_pcm_training", "ecram_li", "ideal tile")
NETS = ("mlp", "conv")
START = 5
COLOURS = ("#555555", "#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito's
RELAXATION = {"mlp": Relaxation(free=8, nudged=4), "conv": Relaxation(free=6, nudged=3)}


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


def taught(kind: str, cells: str, way: str, course: Course) -> tuple[AbstractMethod, Events | None]:
    """A model that learned by one method."""
    net, split, seed = network(kind, course.seed), data()["train"], course.seed
    spec = spec_of(cells)[0]
    chip = host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=spec)
    example, relaxation = split[0][:BATCH], RELAXATION[kind]
    method = make_method(way, net, chip, example=example, seed=seed, relaxation=relaxation)
    events = teach(method, course, split)
    chip.ledger.lesson = "test"
    return method, events


def mean(values: Iterator[float]) -> float:
    """Of a few models, to four digits."""
    return float(f"{statistics.mean(values):.4g}")


def measured(kind: str, cells: str, way: str) -> dict[str, Any]:
    """One arm: its rate, then three models."""
    begun, sets, steps = time.perf_counter(), data(), STEPS[kind]

    def tried(rate: float) -> float:
        courses = [Course(lr=rate, steps=steps // 2, batch=BATCH, seed=s) for s in TUNING_SEEDS]
        return min(right(taught(kind, cells, way, one)[0], sets["tune"]) for one in courses)

    scores = climbed(tried, START)
    rate = max(scores, key=lambda one: scores[one])
    courses = [Course(lr=rate, steps=steps, batch=BATCH, seed=seed) for seed in SEEDS]
    models = [taught(kind, cells, way, one)[0] for one in courses]
    bills, found = [asdict(spent(one)) for one in models], [right(m, sets["test"]) for m in models]
    line: dict[str, Any] = {"net": kind, "cells": cells, "way": way, "accuracy": mean(iter(found))}
    line |= {"spread": round(statistics.stdev(found), 4)}
    line |= {key: mean(bill[key] for bill in bills) for key in bills[0]}
    kinds = models[0].traffic.bytes_per_sample
    line["bytes_by_kind"] = {key: round(value, 1) for key, value in kinds.items()}
    line |= {"each": [round(one, 3) for one in found], "rate": rate, "scores": scores}
    line |= {"stand_in": spec_of(cells)[1]}
    return line | {"seconds": round(time.perf_counter() - begun)}


def line_of(**values: Any) -> str:
    """One JSON line."""
    return json.dumps({"benchmark": "local_rules", **values})


def lines_in(path: Path) -> list[dict[str, Any]]:
    """Arms in a file of JSON lines."""
    texts = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    every = [json.loads(text) for text in texts if text.startswith("{")]
    return [one for one in every if one.get("benchmark") == "local_rules" and "way" in one]


def tables(path: str) -> Iterator[str]:
    """JSON lines as tables of at most 100 columns."""
    lines = lines_in(Path(path))
    first = {(o["net"], o["cells"]): o for o in lines if o["way"] == "backpropagation"}
    for kind in dict.fromkeys(one["net"] for one in lines):
        yield f"\n{kind}, {STEPS[kind]} batches of {BATCH}, bytes for one input"
        yield (
            f"{'cells':21}{'way':16}{'accuracy':>9}{'+-':>6}{'points':>7}{'bytes':>7}{'share':>6}"
            f"{'uJ':>6}{'moving':>7}{'pulses':>9}{'rate':>5}"
        )
        order = {name: k for k, name in enumerate(CELLS)}
        mine = sorted((o for o in lines if o["net"] == kind), key=lambda o: order[o["cells"]])
        for one in mine:
            base = first.get((kind, one["cells"]), one)
            points = 100 * (one["accuracy"] - base["accuracy"])
            yield (
                f"{one['cells']:21}{one['way']:16}{one['accuracy']:9.3f}{one['spread']:6.3f}"
                f"{points:7.1f}{one['bytes']:7.0f}{one['bytes'] / base['bytes']:6.2f}"
                f"{one['energy_j'] * 1e6:6.0f}{one['route_j'] * 1e6:7.2f}{one['pulses']:9.1e}"
                f"{one['rate']:5.2g}"
            )
    yield "\npoints: against backpropagation on the same cells; share: of its bytes"


def page(path: str) -> Iterator[str]:
    """JSON lines as one short table a net: points, and what of bytes and joules is left."""
    lines = {(o["net"], o["cells"], o["way"]): o for o in lines_in(Path(path))}
    cells = [name for name in CELLS if name != "ideal tile"]
    for kind in NETS:
        bases = {name: lines.get((kind, name, METHODS[0])) for name in cells}
        yield f"\n| {kind} | " + " | ".join(f"`{name}`" for name in cells) + " | bytes | uJ |"
        yield "| --- " * (len(cells) + 3) + "|"
        for way in METHODS:
            found = {n: lines[kind, n, way] for n in cells if (kind, n, way) in lines}
            words = [_against(found.get(name), bases[name]) for name in cells]
            shares = [
                statistics.mean(one[key] / bases[name][key] for name, one in found.items())
                for key in ("bytes", "energy_j")
                if found
            ]
            yield (
                f"| {way} | {' | '.join(words)} | " + " | ".join(f"{s:.2f}" for s in shares) + " |"
            )


def _against(one: dict[str, Any] | None, base: dict[str, Any] | None) -> str:
    """Accuracy with its spread, and points against backpropagation."""
    if one is None or base is None:
        return "-"
    text = f"{100 * one['accuracy']:.1f} +- {100 * one['spread']:.1f}"
    gained = 100 * (one["accuracy"] - base["accuracy"])
    return text if one is base else f"{text} ({gained:+.1f})"


def picture(path: str, out: str) -> None:
    """Accuracy against bytes moved: a colour a method, a mark a material."""
    from matplotlib.figure import Figure

    lines = [one for one in lines_in(Path(path)) if one["cells"] != "ideal tile"]
    colours = dict(zip(METHODS, COLOURS, strict=True))
    marks = dict(zip(CELLS, "os^D", strict=False))
    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, NETS, strict=True):
        for one in (line for line in lines if line["net"] == kind):
            axes.errorbar(
                one["bytes"], one["accuracy"], yerr=one["spread"], fmt=marks[one["cells"]],
                color=colours[one["way"]], markersize=6, capsize=2,
            )  # fmt: skip
        axes.set(xscale="log", title=kind, xlabel="bytes between tile groups for one input")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy on digits")
    for name, colour in colours.items():
        panels[0].plot([], [], "o", color=colour, label=name)
    for name, mark in marks.items():
        panels[1].plot([], [], mark, color="#000000", label=name)
    for axes in panels:
        axes.legend(fontsize=8, loc="lower center")
    figure.savefig(out, metadata={"Software": None})


def arms() -> list[tuple[str, str, str]]:
    """All arms, those that take longest to simulate last."""
    every = [(kind, cells, way) for cells in CELLS for kind in NETS for way in METHODS]
    return sorted(every, key=lambda arm: (arm[0], arm[2]) == ("conv", "equilibrium"))


def run(path: Path | None) -> None:
    """All arms in one process; those that a file holds already are left alone."""
    torch.set_num_threads(1)
    begun = time.perf_counter()

    def show(text: str) -> None:
        print(text, flush=True)
        if path:
            with path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    done = {(o["net"], o["cells"], o["way"]) for o in lines_in(path)} if path else set()
    if not done:
        show(line_of(seeds=SEEDS, tuning=TUNING_SEEDS, steps=STEPS, batch=BATCH, rates=RATES))
    for arm in arms():
        if arm not in done:
            show(line_of(**measured(*arm)))
    show(line_of(seconds=round(time.perf_counter() - begun)))


def main() -> None:
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["part", kind, name, way]:
            print(line_of(**measured(kind, name, way)))
        case ["table", path]:
            print("\n".join(tables(path)))
        case ["page", path]:
            print("\n".join(page(path)))
        case ["picture", path, out]:
            picture(path, out)
        case ["into", path]:
            run(Path(path))
        case _:
            run(None)


if __name__ == "__main__":
    main()
