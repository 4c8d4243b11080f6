"""What each key for the chip does to the run of ``recipes/emoji.toml``, all its guards as they are.

    python benchmarks/recipe_keys.py               # every arm, three seeds: an hour on one core
    python benchmarks/recipe_keys.py SEED ARM ...  # some arms of one seed

An arm is the guarded arm of the bundled recipe, in lessons of STEPS steps of BATCH samples instead
of 100 of 20 (CLNF_WHOLE=1 takes the whole ones), with one thing changed. Matches are measured on 64
pictures a family at the end, in points: ``core`` over the five core families, ``learned`` over the
four new ones, ``worst`` of these four. ``pulses`` and ``energy_j`` are those of all lessons with
their verdicts, moves and measures of importance; ``verdicts`` is one letter a lesson (commit, roll
back, skip, ...); ``life`` what is left to the tile that dies first, where an arm asks for it.
A JSON line an arm, and at the end the means over seeds with the differences from ``default`` of
the same seeds. A change is worth being the default if its table is better, beyond what seeds do.
"""

import json
import os
import statistics
import sys
import time
from typing import Any

import torch
from emoji_stream import RECIPE, arm, mean

from clnf.living.recipe import Recipe, load_recipe
from clnf.streams.bundled import CORE_FAMILIES, NEW_FAMILIES

SEEDS, STEPS, BATCH = (0, 1, 2), 32, 16
# Part of a recipe, then what is changed in it.
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {},
    "budget": {"learn": {"write_budget": 3_000_000}},
    "noise on weights": {"learn": {"noise_weight": 0.02}},
    "noise on outputs": {"learn": {"noise_read": 0.02}},
    "masks by activity": {"mask": {"kind": "activity", "share": 0.1}},
    "random masks": {"mask": {"kind": "random", "share": 0.1}},
    "graded masks": {"mask": {"kind": "activity", "share": 0.1, "bits": 3}},
    "own adapters": {"adapter": {"own": 9}},
    "levelled": {"chip": {"spare_columns": 2}, "levelling": {"every": 1, "life": True}},
    "neighbours move": {"chip": {"half_select": 1e-4}},
}
FIGURES = ("core", "learned", "worst", "pulses", "energy_j")


def changed(seed: int, name: str) -> Recipe:
    """The recipe of an arm."""
    recipe = load_recipe(RECIPE).model_copy(update={"seed": seed})
    if not os.environ.get("CLNF_WHOLE"):
        recipe = recipe.changed("learn", steps=STEPS, batch=BATCH)
        recipe = recipe.changed("guards", rehearsed=12, rehearsed_core=5, fisher_samples=16)
        recipe = recipe.changed("probe", samples=12, learned_tolerance=0.5)
    for part, values in ARMS[name].items():
        recipe = recipe.changed(part, **values)
    return recipe


def run(seed: int, name: str) -> dict[str, Any]:
    """Run an arm and measure it."""
    began = time.process_time()
    found = arm(changed(seed, name))
    return {
        "arm": name,
        "seed": seed,
        "core": mean(found.match, CORE_FAMILIES),
        "learned": mean(found.match, NEW_FAMILIES),
        "worst": 100 * min(found.match[family] for family in NEW_FAMILIES),
        "pulses": found.pulses,
        "energy_j": found.energy_j,
        "verdicts": "".join(str(line["action"])[0] for line in found.verdicts),
        "match": found.match,
        "wear": found.wear,
        "cpu_seconds": round(time.process_time() - began),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and mean, least and largest difference from the default."""
    by = {(row["arm"], row["seed"]): row for row in rows}
    found: dict[str, Any] = {"benchmark": "recipe_keys"}
    for name in ARMS:
        found[name] = {}
        for figure in FIGURES:
            values = [by[name, seed][figure] for seed in SEEDS]
            away = [by[name, seed][figure] - by["default", seed][figure] for seed in SEEDS]
            spread = [statistics.mean(away), min(away), max(away)]
            found[name][figure] = {"mean": statistics.mean(values), "over default": spread}
    return found


def main() -> None:
    """Print a line an arm, and the summary where all were run."""
    torch.set_num_threads(1)
    seeds = [int(sys.argv[1])] if len(sys.argv) > 1 else list(SEEDS)
    rows = []
    for seed in seeds:
        for name in sys.argv[2:] or ARMS:
            rows.append(run(seed, name))
            print(json.dumps(rows[-1]), flush=True)
    if len(rows) == len(SEEDS) * len(ARMS):
        print(json.dumps(summary(rows)), flush=True)


if __name__ == "__main__":
    main()
