"""Write masks on the emoji stream: what they keep, what they cost, and a random mask beside them.

    python benchmarks/emoji_masks.py

Two new families, one after the other, on the chip of ``recipes/emoji.toml`` with one set of
adapters, taught as ``clnf run`` teaches them, but in lessons of STEPS steps of BATCH samples
instead of 100 of 20, and with what else protects known things switched off, so that the masks' own
work shows: no rehearsal, no EWC, no digital fence (of its guards only the one stays that keeps a
concept's look-up row from other lessons), no verdicts. Masks hold a quarter of each tile while the
first family is taught and half of it while the second is, or 45 % and 90 %.

``random`` holds as many weights in random places. The first seed tries other importances as well.
Matches are measured on PICTURES pictures a family, in points: ``core`` over the five core families
at the end, ``earlier`` of the first new family at the end, ``newest`` over both, each right after
its own lesson. Pulses and energy are those of the lessons, ``measured_j`` what digital multipliers
took to measure importance. A JSON line a run, and at the end mean, least and largest over three
seeds, with the differences from ``none`` of the same seed. A run takes half a minute of one core.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from emoji_stream import RECIPE, mean, shared

from clnf.core.records import Experience
from clnf.living.hardware import Hardware
from clnf.living.lessons import Lessons
from clnf.living.model import LivingModel
from clnf.living.probes import DrawProbe
from clnf.living.recipe import Recipe, load_recipe
from clnf.media.bundled import load_judge
from clnf.streams.bundled import CORE_FAMILIES, NEW_FAMILIES
from clnf.streams.sources import ShiftSource
from clnf.streams.stream import emoji_source

SEEDS, STEPS, BATCH, PICTURES = (0, 1, 2), 24, 16, 16
FAMILIES = NEW_FAMILIES[:2]
HALF, MOST = ({"share": most / 2, "most": most, "samples": 16} for most in (0.5, 0.9))
KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "random 0.5": {"kind": "random", **HALF},
    "activity 0.5": {"kind": "activity", **HALF},
    "random 0.9": {"kind": "random", **MOST},
    "activity 0.9": {"kind": "activity", **MOST},
}
OTHERS: dict[str, dict[str, Any]] = {
    "fisher 0.5": {"kind": "fisher", **HALF},
    "sensitivity 0.5": {"kind": "sensitivity", **HALF},
    "fisher 0.5, 3 bits": {"kind": "fisher", "bits": 3, **HALF},
}
FIGURES = ("core", "earlier", "newest", "pulses", "energy_j")


def recipe(seed: int) -> Recipe:
    """The stream with nothing that protects."""
    found = shared(load_recipe(RECIPE)).model_copy(update={"seed": seed, "lesson": ()})
    found = found.changed("learn", steps=STEPS, batch=BATCH)
    found = found.changed("guards", rehearsal=False, ewc=False, fence_fraction=0.0)
    return found.changed("guards", fisher_samples=1)


class Stream:
    """A model of one seed, whose core is programmed once for all kinds of masks."""

    def __init__(self, seed: int) -> None:
        self.recipe = recipe(seed)
        self.model = LivingModel(self.recipe)
        folder = Path(tempfile.mkdtemp())
        self.lessons = Lessons(self.recipe, folder, self.model.concepts)
        self.core = self.lessons.core()
        self.model.prepare(self.core)
        self.origin = self.model.state_dict()
        part = self.recipe.probe.model_copy(update={"samples": PICTURES})
        self.probe = DrawProbe(load_judge()[0], self.lessons.real(), part, seed=seed + 1000)

    def run(self, kind: str) -> dict[str, Any]:
        """Teach all families under one kind of mask."""
        began, model = time.process_time(), self.model
        chosen = self.recipe.changed("mask", **(KINDS | OTHERS)[kind])
        # The origin knows no masks.
        model.hardware = Hardware(model.engine, model.chip, self.recipe, {}, None)
        model.load_state_dict(self.origin)
        model.hardware = Hardware(model.engine, model.chip, chosen, {}, None)
        masks, newest = model.hardware.masks, {}
        model.chip.ledger.lesson = "core"
        model.hardware.consolidate(self.core, self.core, {})
        for family in FAMILIES:
            newest[family] = self.teach(family)
        end = self.match([*CORE_FAMILIES, *FAMILIES])
        bill = model.chip.ledger
        return {
            "mask": kind,
            "seed": self.recipe.seed,
            "core": mean(end, CORE_FAMILIES),
            "earlier": mean(end, FAMILIES[:-1]),
            "newest": mean(newest, FAMILIES),
            "pulses": sum(bill.total(lesson=name, op="pulse").count for name in FAMILIES),
            "energy_j": sum(bill.total(lesson=name).energy_j for name in FAMILIES),
            "measured_j": bill.total(op="importance").energy_j,
            "masks": {} if masks is None else masks.facts(FAMILIES[-1]),
            "end": end,
            "after_its_lesson": newest,
            "cpu_seconds": round(time.process_time() - began),
        }

    def teach(self, family: str) -> float:
        """One lesson; returns the match of what it taught, right after it."""
        model, learn = self.model, self.recipe.learn
        model.chip.ledger.lesson = family
        model.chip.advance(self.recipe.chip.hours_between_lessons * 3600.0)
        model.chip.recalibrate()
        source = emoji_source(family, model.concepts.add(family))
        data = ShiftSource(source, reach=learn.shift)
        lesson = Experience(name=family, concept=family, data=data)
        model.begin(family, family)
        model.pace(0)
        for info in model.learner.lesson(lesson, steps=STEPS, batch_size=BATCH):
            model.pace((info.step + 1) / STEPS)
        if family != FAMILIES[-1]:  # nothing is taught after the last
            model.consolidate(lesson, self.core)
        model.chip.ledger.lesson = "pictures"
        return self.match([family])[family]

    def match(self, concepts: Sequence[str]) -> dict[str, float]:
        """Match of some concepts as the model stands."""
        self.model.engine.eval()
        with torch.no_grad():
            row = self.probe.measure(self.model.engine, concepts, self.model.concepts)
        return row.measures["match"]


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, least and largest over seeds, and differences within a seed."""
    by = {(one["mask"], one["seed"]): one for one in found}

    def three(kind: str, figure: str, other: str = "") -> list[float]:
        values = [by[kind, s][figure] - (by[other, s][figure] if other else 0.0) for s in SEEDS]
        return [round(f(values), 5) for f in (statistics.mean, min, max)]

    return {"benchmark": "emoji_masks"} | {
        kind: {
            figure: {"of": three(kind, figure), "over none": three(kind, figure, "none")}
            for figure in FIGURES
        }
        for kind in KINDS
    }


def main() -> None:
    """Print a line a run and the summary."""
    torch.set_num_threads(1)
    found = []
    for seed in SEEDS:
        stream = Stream(seed)
        for kind in (*KINDS, *OTHERS) if seed == SEEDS[0] else KINDS:
            found.append(stream.run(kind))
            print(json.dumps(found[-1]), flush=True)
    print(json.dumps(summary(found)), flush=True)


if __name__ == "__main__":
    main()
