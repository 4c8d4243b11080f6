"""Write masks on the emoji stream: what they keep, what they cost, and a random mask beside them.

    python benchmarks/emoji_masks.py

Four new families one after the other on the chip of ``recipes/emoji.toml``, as ``clnf run`` teaches
them, but with lessons of STEPS steps instead of 100 and with what else protects known things
switched off, so that the masks' own work shows: no rehearsal, no EWC, no digital fence (of its
guards only the one stays that keeps a concept's look-up row from other lessons), and every lesson
is committed. After the core and after each lesson masks hold SHARE more of each tile.

``random`` holds as many weights in random places. Matches are measured on PICTURES pictures a
family, in points: ``core`` over the five core families before and at the end, ``earlier`` over the
first three new families at the end, ``newest`` over all four, each right after its own lesson.
Pulses are those of the lessons; ``measured_j`` is what digital multipliers took to measure
importance. A JSON line a run, and at the end mean, least and largest over three seeds, with the
differences from ``none`` and from ``random`` of the same seed. One run takes about three minutes;
CLNF_SEEDS=1 takes one seed and all kinds, by which the kinds of the long comparison were chosen.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from emoji_stream import RECIPE, mean

from clnf.living.arm import Arm
from clnf.living.recipe import LessonPart, Recipe, load_recipe
from clnf.living.summary import summarise
from clnf.streams.bundled import CORE_FAMILIES, NEW_FAMILIES

STEPS, PICTURES, SHARE = 40, 24, 0.15
ARMS: dict[str, dict[str, Any]] = {
    "none": {},
    "random": {"kind": "random", "share": SHARE, "most": 4 * SHARE},
    "fisher": {"kind": "fisher", "share": SHARE, "most": 4 * SHARE},
    "sensitivity": {"kind": "sensitivity", "share": SHARE, "most": 4 * SHARE},
    "activity": {"kind": "activity", "share": SHARE, "most": 4 * SHARE},
    "fisher, 3 bits": {"kind": "fisher", "share": SHARE, "most": 4 * SHARE, "bits": 3},
}
LONG = ("none", "random", "fisher", "fisher, 3 bits")
FIGURES = ("core_end", "earlier", "newest", "pulses", "energy_j")


def recipe(arm: str, seed: int) -> Recipe:
    """The stream with nothing that protects but masks."""
    found = load_recipe(RECIPE).model_copy(
        update={
            "seed": seed,
            "compare": False,
            "snapshot_steps": STEPS,
            "lesson": tuple(LessonPart(name=n, family=n, concept=n) for n in NEW_FAMILIES),
        }
    )
    found = found.changed("learn", steps=STEPS).changed("probe", samples=PICTURES)
    off = {"rehearsal": False, "ewc": False, "fence_fraction": 0.0, "monitor": False}
    return found.changed("guards", fisher_samples=1, **off).changed("mask", **ARMS[arm])


def run(arm: str, seed: int) -> dict[str, Any]:
    """One stream."""
    began, folder = time.perf_counter(), Path(tempfile.mkdtemp()) / "arm"
    one = Arm(folder, recipe(arm, seed))
    for _ in one.run():
        pass
    verdicts = [event.payload for event in one.journal.events("verdict")]
    one.close()
    rows = [row["match"] for row in summarise(folder).rows]
    assert [v["action"] for v in verdicts] == ["commit"] * len(NEW_FAMILIES)
    newest = {name: row[name] for name, row in zip(NEW_FAMILIES, rows[1:], strict=True)}
    masks = [v.get("mask", {}) for v in verdicts]
    return {
        "mask": arm,
        "seed": seed,
        "core_start": mean(rows[0], CORE_FAMILIES),
        "core_end": mean(rows[-1], CORE_FAMILIES),
        "earlier": mean(rows[-1], NEW_FAMILIES[:-1]),
        "newest": mean(newest, NEW_FAMILIES),
        "pulses": sum(v["pulses"] for v in verdicts),
        "energy_j": sum(v["energy_aj"] for v in verdicts) * 1e-18,
        "measured_j": sum(m.get("measured_aj", 0) for m in masks) * 1e-18,
        "mask_bits": masks[-1].get("bits", 0),
        "mask_m2": masks[-1].get("area_m2", 0.0),
        "shut": [round(m.get("shut", 0.0), 4) for m in masks],
        "seconds": round(time.perf_counter() - began),
    }


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, least and largest over seeds, and differences within a seed."""
    by = {(one["mask"], one["seed"]): one for one in found}
    arms, seeds = dict.fromkeys(m for m, _ in by), dict.fromkeys(s for _, s in by)

    def three(values: list[float]) -> list[float]:
        return [f(values) for f in (statistics.mean, min, max)]

    return {
        "benchmark": "emoji_masks",
        **{
            arm: {
                key: {
                    "of": three([by[arm, s][key] for s in seeds]),
                    "over none": three([by[arm, s][key] - by["none", s][key] for s in seeds]),
                    "over random": three([by[arm, s][key] - by["random", s][key] for s in seeds]),
                }
                for key in FIGURES
            }
            for arm in arms
        },
    }


def main() -> None:
    """Print a line a run and the summary."""
    torch.set_num_threads(1)
    count = int(os.environ.get("CLNF_SEEDS", "3"))
    found = []
    for seed in range(count):
        for arm in ARMS if count == 1 else LONG:
            found.append(run(arm, seed))
            print(json.dumps(found[-1]), flush=True)
    print(json.dumps(summary(found)), flush=True)


if __name__ == "__main__":
    main()
