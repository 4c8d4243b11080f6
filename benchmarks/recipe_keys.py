"""What keys for the chip and adapters of their own do to what is kept and what it costs.

    python benchmarks/recipe_keys.py               JSON lines
    python benchmarks/recipe_keys.py into FILE     those runs that the file lacks, added to it
    python benchmarks/recipe_keys.py lines FILE    JSON lines of the runs in a file
    python benchmarks/recipe_keys.py table FILE    the same as a table of a page
    python benchmarks/recipe_keys.py section FILE  the same as a section of RESULTS.md

The four families of ``generators.py``, taught one after the other as it teaches its arms, in
lessons of STEPS steps, without gate and verdicts. ``none`` is the recipe with one set of adapters,
rehearsal, EWC and fence, and without a budget of pulses; all else adds or changes one thing of it;
parts of pulses are of those ``none`` takes. Beside adapters of their own the guards are switched
off in turn. ``core`` is the mean match of the
five core families at the end, ``newest`` of each new family right after its lesson, ``learned`` of
the new families at the end, ``all`` of all nine, in points; pulses and joules are those of the
lessons. ``_over_none`` is mean, least and largest difference from ``none`` with the same seeds. A
change is worth being the default if it is better beyond what seeds do. An arm whose ``all`` is more
than FAR points under ``none`` on the first seed is not taken further. A run takes two to four
minutes of one core.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

from emoji_stream import RECIPE, shared
from generators import OFF, SEEDS, Probe, Run, Start
from peers.rows import command

from clnf.living.model import LivingModel
from clnf.living.recipe import Recipe, load_recipe
from clnf.streams.bundled import CORE_FAMILIES

STEPS, PICTURES, FAR = 40, 16, 10.0
# Part of a recipe, then what is changed in it.
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "none": {},
    "half the pulses": {"learn": {"write_budget": 3_600_000}},
    "a quarter of the pulses": {"learn": {"write_budget": 1_800_000}},
    "an eighth of the pulses": {"learn": {"write_budget": 900_000}},
    "noise on weights": {"learn": {"noise_weight": 0.02}},
    "noise on outputs": {"learn": {"noise_read": 0.02}},
    "masks by activity": {"mask": {"kind": "activity", "share": 0.1}},
    "random masks": {"mask": {"kind": "random", "share": 0.1}},
    "graded masks": {"mask": {"kind": "activity", "share": 0.1, "bits": 3}},
    "own adapters": {"adapter": {"own": 9}},
    "own, not rehearsed": {"adapter": {"own": 9}, "guards": {"rehearsal": False}},
    "own, no other guard": {"adapter": {"own": 9}, "guards": OFF},
    "half the rate": {"learn": {"lr": 5e-3}},
}
FIGURES = ("core", "newest", "learned", "all", "kid_all", "pulses", "energy_j")


def changed(seed: int, arm: str) -> Recipe:
    """The recipe of an arm."""
    found = shared(load_recipe(RECIPE)).model_copy(update={"seed": seed, "lesson": ()})
    found = found.changed("learn", steps=STEPS, write_budget=0)
    for part, values in ARMS[arm].items():
        found = found.changed(part, **values)
    return found


def start(chosen: Recipe) -> Start:
    """A chip with the core in its cells, laid out as the recipe wants it."""
    model = LivingModel(chosen)
    model.chip.program_core()
    state = model.chip.state_dict()
    return Start(chip=state, row=Probe(chosen, model, 2 * PICTURES).row(model, CORE_FAMILIES))


def measured(seed: int, arm: str) -> dict[str, Any]:
    """One run."""
    began, chosen = time.process_time(), changed(seed, arm)
    one = Run(arm, chosen, start(chosen), PICTURES)
    one.teach()
    row = {"benchmark": "recipe_keys", **one.figures(), "arm": arm, "seed": seed}
    return row | {"seconds": round(time.process_time() - began)}


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those not done yet: every arm on the first seed, on others what came near ``none``."""
    rows = {(one["arm"], one["seed"]): one for one in done}
    for seed in SEEDS:
        for arm in ARMS:
            first = rows.get((arm, SEEDS[0]))
            far = first and rows["none", SEEDS[0]]["all"] - first["all"] > FAR
            if (arm, seed) not in rows and not far:
                rows[arm, seed] = measured(seed, arm)
                yield rows[arm, seed]


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One line an arm: means, and differences from ``none`` with the same seeds."""
    by = {(row["arm"], row["seed"]): row for row in rows}
    for arm in ARMS:
        seeds = [seed for seed in SEEDS if (arm, seed) in by and ("none", seed) in by]
        line: dict[str, Any] = {"benchmark": "recipe_keys", "arm": arm, "seeds": len(seeds)}
        for figure in FIGURES if seeds else ():
            mean = statistics.mean(by[arm, seed][figure] for seed in seeds)
            away = [by[arm, seed][figure] - by["none", seed][figure] for seed in seeds]
            spread = [statistics.mean(away), min(away), max(away)]
            line[figure] = float(f"{mean:.4g}")
            if arm != "none":
                line[f"{figure}_over_none"] = [float(f"{one:.3g}") for one in spread]
        yield line


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """For a page."""
    yield "| changed | seeds | core | new, at once | new, at the end | all nine | pulses | energy |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in summed(rows):
        if not one["seeds"]:
            continue
        points = " | ".join(f"{one[key]:.0f}" for key in ("core", "newest", "learned", "all"))
        cost = f"{one['pulses'] / 1e6:.1f} M | {1e3 * one['energy_j']:.0f} mJ"
        yield f"| {one['arm']} | {one['seeds']} | {points} | {cost} |"


def main() -> None:
    """Run, or print what was run."""
    command("recipe_keys", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
