"""Write masks on the emoji stream: what they keep, what they cost, and a random mask beside them.

    python benchmarks/emoji_masks.py

Three new families one after the other on the chip of ``recipes/emoji.toml``, as ``clnf run``
teaches them, but with lessons of STEPS steps instead of 100 and with what else protects known
things switched off, so that the masks' own work shows: no rehearsal, no EWC, no digital fence (of
its guards only the one stays that keeps a concept's look-up row from other lessons), and every
lesson is committed. After the core and after each lesson masks hold SHARE more of each tile.

``random`` holds as many weights in random places. Matches are measured on PICTURES pictures a
family, in points: ``core`` over the five core families at the end, ``earlier`` over all new
families but the last at the end, ``newest`` over all, each right after its own lesson. Pulses are
those of the lessons; ``measured_j`` is what digital multipliers took to measure importance. A JSON
line a run, and at the end mean, least and largest over three seeds, with the differences from
``none`` and from ``random`` of the same seed. One run takes a minute and a half of one core;
CLNF_SEEDS=1 takes one seed and all kinds, by which the kind of the long comparison was chosen.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from emoji_stream import RECIPE, mean

from clnf.living.arm import Arm
from clnf.living.probes import DrawProbe
from clnf.living.recipe import LessonPart, Recipe, load_recipe
from clnf.media.bundled import load_judge
from clnf.streams.bundled import CORE_FAMILIES, NEW_FAMILIES

STEPS, PICTURES, SHARE, MEASURED = 40, 24, 0.15, 24
FAMILIES = NEW_FAMILIES[:3]
HOLD = {"share": SHARE, "most": 4 * SHARE, "samples": MEASURED}
ARMS: dict[str, dict[str, Any]] = {
    "none": {},
    "fisher": {"kind": "fisher", **HOLD},
    "random": {"kind": "random", **HOLD},
    "activity": {"kind": "activity", **HOLD},
    "sensitivity": {"kind": "sensitivity", **HOLD},
    "fisher, 3 bits": {"kind": "fisher", "bits": 3, **HOLD},
}
LONG = ("none", "random", "fisher")
FIGURES = ("core", "earlier", "newest", "pulses", "energy_j")


def recipe(arm: str, seed: int) -> Recipe:
    """The stream with nothing that protects but masks; its own probes are kept short."""
    found = load_recipe(RECIPE).model_copy(
        update={
            "seed": seed,
            "compare": False,
            "snapshot_steps": STEPS,
            "lesson": tuple(LessonPart(name=n, family=n, concept=n) for n in FAMILIES),
        }
    )
    found = found.changed("learn", steps=STEPS).changed("probe", samples=2, steps=1)
    off = {"rehearsal": False, "ewc": False, "fence_fraction": 0.0, "monitor": False}
    return found.changed("guards", fisher_samples=1, **off).changed("mask", **ARMS[arm])


def match(one: Arm, concepts: Sequence[str]) -> dict[str, float]:
    """Match of some concepts as the model stands."""
    part = load_recipe(RECIPE).probe.model_copy(update={"samples": PICTURES})
    probe = DrawProbe(load_judge()[0], one.lessons.real(), part, seed=one.recipe.seed + 1000)
    one.model.engine.eval()
    with torch.no_grad():
        row = probe.measure(one.model.engine, concepts, one.model.concepts)
    return row.measures["match"]


def run(arm: str, seed: int) -> dict[str, Any]:
    """One stream."""
    began, folder = time.process_time(), Path(tempfile.mkdtemp()) / "arm"
    one, newest = Arm(folder, recipe(arm, seed)), {}
    for progress in one.run():
        if progress.phase == "verdict":
            newest |= match(one, [progress.lesson])
    end = match(one, [*CORE_FAMILIES, *FAMILIES])
    verdicts = [event.payload for event in one.journal.events("verdict")]
    one.close()
    assert [v["action"] for v in verdicts] == ["commit"] * len(FAMILIES)
    masks = [v.get("mask", {}) for v in verdicts]
    return {
        "mask": arm,
        "seed": seed,
        "core": mean(end, CORE_FAMILIES),
        "earlier": mean(end, FAMILIES[:-1]),
        "newest": mean(newest, FAMILIES),
        "pulses": sum(v["pulses"] for v in verdicts),
        "energy_j": sum(v["energy_aj"] for v in verdicts) * 1e-18,
        "measured_j": sum(m.get("measured_aj", 0) for m in masks) * 1e-18,
        "mask_bits": masks[-1].get("bits", 0),
        "mask_m2": masks[-1].get("area_m2", 0.0),
        "shut": [round(m.get("shut", 0.0), 4) for m in masks],
        "end": {name: round(value, 4) for name, value in end.items()},
        "after_its_lesson": {name: round(value, 4) for name, value in newest.items()},
        "cpu_seconds": round(time.process_time() - began),
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
