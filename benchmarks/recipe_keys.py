"""What each key for the chip does to what the bundled recipe keeps and costs, guards as they are.

    python benchmarks/recipe_keys.py [SEED [ARM ...]]

The four families of ``generators.py``, taught one after the other as it teaches its ``default``
arm, in lessons of STEPS steps, without gate and verdicts, with one thing changed. ``core`` is the
mean match of the five core families at the end, ``newest`` of each new family right after its
lesson, ``learned`` of the new families at the end, ``all`` of all nine, in points; pulses and
joules are those of the lessons. Prints a JSON line a run and, where all were run, means over seeds
with mean, least and largest difference from ``default`` of the same seeds. A change is worth being
the default if it is better beyond what seeds do. A run takes two minutes of one core.
"""

import json
import statistics
import sys
import time
from typing import Any

import torch
from emoji_stream import RECIPE
from generators import SEEDS, Probe, Run, Start

from clnf.living.model import LivingModel
from clnf.living.recipe import Recipe, load_recipe
from clnf.streams.bundled import CORE_FAMILIES

STEPS, PICTURES = 40, 16
# Part of a recipe, then what is changed in it.
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {},
    "budget": {"learn": {"write_budget": 4_000_000}},
    "noise on weights": {"learn": {"noise_weight": 0.02}},
    "noise on outputs": {"learn": {"noise_read": 0.02}},
    "masks by activity": {"mask": {"kind": "activity", "share": 0.1}},
    "random masks": {"mask": {"kind": "random", "share": 0.1}},
    "graded masks": {"mask": {"kind": "activity", "share": 0.1, "bits": 3}},
    "own adapters": {"adapter": {"own": 9}},
    "half the rate": {"learn": {"lr": 5e-3}},
}
FIGURES = ("core", "newest", "learned", "all", "kid_all", "pulses", "energy_j")


def changed(seed: int, arm: str) -> Recipe:
    """The recipe of an arm."""
    found = load_recipe(RECIPE).model_copy(update={"seed": seed, "lesson": ()})
    found = found.changed("learn", steps=STEPS)
    for part, values in ARMS[arm].items():
        found = found.changed(part, **values)
    return found


def start(chosen: Recipe) -> Start:
    """A chip with the core in its cells, laid out as the recipe wants it."""
    model = LivingModel(chosen)
    model.chip.program_core()
    state = model.chip.state_dict()
    return Start(chip=state, row=Probe(chosen, model, 2 * PICTURES).row(model, CORE_FAMILIES))


def run(seed: int, arm: str) -> dict[str, Any]:
    """One line of the table."""
    began, chosen = time.process_time(), changed(seed, arm)
    one = Run(arm, chosen, start(chosen), PICTURES)
    one.teach()
    seconds = round(time.process_time() - began)
    return {"arm": arm, "seed": seed, **one.figures(), "cpu_seconds": seconds}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and differences from the default."""
    by = {(row["arm"], row["seed"]): row for row in rows}
    found: dict[str, Any] = {"benchmark": "recipe_keys"}
    for arm in ARMS:
        found[arm] = {}
        for figure in FIGURES:
            values = [by[arm, seed][figure] for seed in SEEDS]
            away = [by[arm, seed][figure] - by["default", seed][figure] for seed in SEEDS]
            spread = [statistics.mean(away), min(away), max(away)]
            found[arm][figure] = {"mean": statistics.mean(values), "over default": spread}
    return found


def main() -> None:
    """Print a line a run, and the summary where all were run."""
    torch.set_num_threads(1)
    seeds = [int(sys.argv[1])] if len(sys.argv) > 1 else list(SEEDS)
    rows = []
    for seed in seeds:
        for arm in sys.argv[2:] or ARMS:
            rows.append(run(seed, arm))
            print(json.dumps(rows[-1]), flush=True)
    if len(rows) == len(SEEDS) * len(ARMS):
        print(json.dumps(summary(rows)), flush=True)


if __name__ == "__main__":
    main()
