"""A generator on a chip learns four families one after the other: what each guard keeps, and costs.

    python benchmarks/generators.py [ARM [SEED]] [--rows FILE] [--steps N] [--pictures N]

The chip, the network, the lessons' lengths and their budget of pulses of ``recipes/emoji.toml``;
lessons hands, people, shapes and buttons, all clean, without gate, verdicts and roll-backs, so that
an arm shows its guard alone. After each lesson every family known is drawn from fixed noise;
``match`` and ``kid`` are the matrices R[lesson, family], in shares and squared MMD, ``kid_error``
the standard error of each KID from blocks. A family is measured on PICTURES pictures, on twice as
many right after its own lesson and at the end.

Arms: ``default`` is the recipe as shipped, adapters of its own for each concept and nothing that
holds them; ``default, three guards`` adds rehearsal, EWC and fence. In all others the concepts
share one set of adapters. ``plain`` has no guard. ``rehearsal``, ``ewc``, ``distillation``,
``c-lora``, ``masks`` and ``reduced rehearsal`` have one. ``three guards`` are rehearsal, EWC and
fence, ``four guards`` distillation as well, ``five guards`` C-LoRA besides. ``a lesson's adapters``
gives each lesson adapters of its own, which all pictures go through; ``o-lora`` holds these apart.
``joint`` teaches the four families at once in as many steps and pulses, under three guards.

``core`` is the mean match of the five core families at the end, ``newest`` of each new family right
after its lesson, ``learned`` of the new families at the end, ``all`` of all nine, in points;
``kid_all`` their mean KID. Pulses, joules and chip seconds are those of the four lessons, what
guards read for themselves included; ``memory_bytes`` what guards keep between lessons.

Prints a JSON line a run, appended to FILE as well, and at the end a line an arm: mean and spread
over seeds, and mean matrices. A run takes some four minutes of one core; runs that FILE holds
already are not taken again.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from emoji_stream import RECIPE, at_once, mean, shared
from torch import Tensor

from clnf.continual.metrics import backward_transfer, forgetting
from clnf.core.records import Experience, Source
from clnf.living.lessons import Lessons
from clnf.living.model import LivingModel
from clnf.living.probes import DrawProbe
from clnf.living.recipe import Recipe, load_recipe
from clnf.media.bundled import load_judge
from clnf.streams.bundled import CORE_FAMILIES, NEW_FAMILIES
from clnf.streams.sources import JoinSource, ShiftSource, SubsetSource
from clnf.streams.stream import emoji_source

SEEDS, PICTURES = (0, 1, 2), 16
ALL = (*CORE_FAMILIES, *NEW_FAMILIES)
OFF = {"rehearsal": False, "ewc": False, "fence": False}
MASKS = {"kind": "activity", "share": 0.25, "most": 0.9, "samples": 16}
OWN = {"adapter": {"own": 12}}
# What each arm changes in the recipe with one set of adapters and three guards.
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {"guards": OFF},
    "rehearsal": {"guards": OFF | {"rehearsal": True}},
    "ewc": {"guards": OFF | {"ewc": True}},
    "distillation": {"guards": OFF | {"distil": 1.0}},
    "c-lora": {"guards": OFF | {"c_lora": 100.0}},
    "masks": {"guards": OFF, "mask": MASKS},
    "default": {"guards": OFF, **OWN},
    "three guards": {},
    "joint": {},
    "four guards": {"guards": {"distil": 1.0}},
    "five guards": {"guards": {"distil": 1.0, "c_lora": 100.0}},
    "default, three guards": OWN,
    "reduced rehearsal": {"guards": OFF | {"rehearsal": True, "rehearsal_weight": 0.5}},
    "a lesson's adapters": {"guards": OFF, "adapter": {"lessons": 4}},
    "o-lora": {"adapter": {"lessons": 4}, "guards": OFF | {"o_lora": 0.5}},
}
EXTRA = tuple(ARMS)[tuple(ARMS).index("four guards") :]
FIGURES = (
    "core", "newest", "learned", "all", "kid_all", "forgetting", "backward_transfer", "pulses",
    "energy_j", "chip_s", "memory_bytes",
)  # fmt: skip


Row = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Steps of a lesson, 0 for the recipe's own, and pictures of a measurement."""

    steps: int = 0
    pictures: int = PICTURES


def shorter(found: Recipe, steps: int) -> int:
    """A budget of pulses for lessons of so many steps; first steps take more than later ones."""
    return round(found.learn.write_budget * (steps / found.learn.steps) ** 0.75)


def recipe(arm: str, seed: int, steps: int = 0) -> Recipe:
    """The recipe of an arm."""
    found = shared(load_recipe(RECIPE)).model_copy(update={"seed": seed, "lesson": ()})
    if steps:
        found = found.changed("learn", steps=steps, write_budget=shorter(found, steps))
    for part, values in ARMS[arm].items():
        found = found.changed(part, **values)
    return at_once(found) if arm == "joint" else found


@dataclass(frozen=True, kw_only=True)
class Start:
    """A chip of one seed with the core in its cells, and how well it draws before any lesson."""

    chip: dict[str, Any]
    row: Row


def start(arm: str, seed: int, pictures: int) -> Start:
    """Program the core once for all arms of a seed whose cells are laid out alike."""
    plain = recipe("plain", seed).changed("adapter", **ARMS[arm].get("adapter", {}))
    model = LivingModel(plain)
    model.chip.program_core()
    state = model.chip.state_dict()
    return Start(chip=state, row=Probe(plain, model, 2 * pictures).row(model, CORE_FAMILIES))


class Probe:
    """Draws families and judges them; the chip's bill calls it ``pictures``."""

    def __init__(self, chosen: Recipe, model: LivingModel, pictures: int) -> None:
        lessons = Lessons(chosen, Path(tempfile.mkdtemp()), model.concepts)
        part = chosen.probe.model_copy(update={"samples": pictures})
        judge, real = load_judge()[0], lessons.real()
        self.inner = DrawProbe(judge, real, part, seed=chosen.seed + 1000)

    def row(self, model: LivingModel, families: Sequence[str]) -> Row:
        """Measures of some families, by name."""
        model.chip.ledger.lesson = "pictures"
        model.engine.eval()
        with torch.no_grad():
            return self.inner.measure(model.engine, families, model.concepts).measures


class Run:
    """One arm of one seed."""

    def __init__(self, arm: str, chosen: Recipe, begun: Start, pictures: int) -> None:
        self.arm, self.recipe = arm, chosen
        self.model = LivingModel(chosen, blank=True)
        self.model.chip.load_state_dict(begun.chip)
        self.model.chip.ledger.lesson = "core"
        folder = Path(tempfile.mkdtemp())
        self.core = Lessons(chosen, folder, self.model.concepts).core()
        for guard in self.model.learner.guards:
            guard.begin(self.core)
        self.model.consolidate(self.core, self.core)
        self.probe = Probe(chosen, self.model, pictures)
        self.closer = Probe(chosen, self.model, 2 * pictures)
        self.rows = [begun.row]

    def teach(self) -> None:
        """All lessons, with a row after each."""
        lessons = [_joint(self.model)] if self.arm == "joint" else self._one_by_one()
        for number, lesson in enumerate(lessons):
            last = self.arm == "joint" or number == len(NEW_FAMILIES) - 1
            self._lesson(lesson, last=last)
            known = [name for name in ALL if name in self.model.concepts.names]
            close = [n for n in known if last or n == lesson.concept]
            far = [n for n in known if n not in close]
            row = self.closer.row(self.model, close)
            if far:
                for measure, values in self.probe.row(self.model, far).items():
                    row[measure] |= values
            self.rows.append(row)

    def _one_by_one(self) -> Iterator[Experience]:
        for family in NEW_FAMILIES:
            source = emoji_source(family, self.model.concepts.add(family))
            data = ShiftSource(source, reach=self.recipe.learn.shift)
            yield Experience(name=family, concept=family, data=data)

    def _lesson(self, lesson: Experience, *, last: bool) -> None:
        model, learn = self.model, self.recipe.learn
        model.chip.ledger.lesson = "lesson"
        model.chip.advance(self.recipe.chip.hours_between_lessons * 3600.0)
        model.chip.recalibrate()
        model.begin(lesson.name, lesson.concept)
        model.pace(0)
        for info in model.learner.lesson(lesson, steps=learn.steps, batch_size=learn.batch):
            model.pace((info.step + 1) / learn.steps)
        model.close()
        if not last:  # nothing is taught after it
            model.consolidate(lesson, self.core)

    def figures(self) -> dict[str, Any]:
        """What the arm kept and what it cost."""
        rows, joint = self.rows, self.arm == "joint"
        match = [[row["match"].get(name) for name in ALL] for row in rows]
        learned = [0] * len(CORE_FAMILIES) + [1 if joint else n + 1 for n in range(4)]
        filled = [[float("nan") if v is None else v for v in row] for row in match]
        end, bill = rows[-1], self.model.chip.ledger
        newest = {n: rows[learned[ALL.index(n)]]["match"][n] for n in NEW_FAMILIES}
        cost = bill.total(lesson="lesson")
        return {
            "core": mean(end["match"], CORE_FAMILIES),
            "newest": mean(newest, NEW_FAMILIES),
            "learned": mean(end["match"], NEW_FAMILIES),
            "all": mean(end["match"], ALL),
            "kid_all": statistics.mean(end["kid"][name] for name in ALL),
            "forgetting": 100 * forgetting(filled, learned),
            "backward_transfer": 100 * backward_transfer(filled, learned),
            "pulses": bill.total(lesson="lesson", op="pulse").count,
            "energy_j": cost.energy_j,
            "chip_s": cost.time_s,
            "memory_bytes": _memory(self.model),
            "families": ALL,
            "match": match,
            "kid": [[row["kid"].get(name) for name in ALL] for row in rows],
            "kid_error": [[row["kid_error"].get(name) for name in ALL] for row in rows],
        }


def _joint(model: LivingModel) -> Experience:
    """All new families at once, each as often as in the stream."""
    sources: list[Source] = [emoji_source(name, model.concepts.add(name)) for name in NEW_FAMILIES]
    most = max(map(len, sources))
    sources = [SubsetSource(s, torch.arange(most) % len(s)) for s in sources]
    data = ShiftSource(JoinSource(sources), reach=model.recipe.learn.shift)
    return Experience(name="all four", concept="all four", data=data)


def _memory(model: LivingModel) -> int:
    """Bytes of all tensors that guards and masks keep."""
    state = model.learner.state_dict()
    kept: list[Any] = [value for key, value in state.items() if key.startswith("guard.")]
    if model.hardware.masks is not None:
        kept += model.hardware.masks.state_dict()["importance"].values()
    return sum(t.numel() * t.element_size() for t in kept if isinstance(t, Tensor))


def run(arm: str, seed: int, size: Size, begun: Start) -> dict[str, Any]:
    """One line of the table."""
    began = time.process_time()
    one = Run(arm, recipe(arm, seed, size.steps), begun, size.pictures)
    one.teach()
    line = {"arm": arm, "seed": seed, "steps": one.recipe.learn.steps, "pictures": size.pictures}
    return {**line, **one.figures(), "cpu_seconds": round(time.process_time() - began)}


def summary(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A line an arm: mean and spread (population) of figures over its seeds, mean matrices."""
    for arm in ARMS:
        rows = [one for one in found if one["arm"] == arm]
        if not rows:
            continue
        line: dict[str, Any] = {"benchmark": "generators", "arm": arm, "seeds": len(rows)}
        line |= {key: rows[0][key] for key in ("steps", "pictures")}
        for figure in FIGURES:
            values = [row[figure] for row in rows]
            both = statistics.mean(values), statistics.pstdev(values)
            line[figure] = [float(f"{value:.4g}") for value in both]
        yield line | {key: _mean([row[key] for row in rows]) for key in ("match", "kid")}


def _mean(matrices: list[list[list[Any]]]) -> list[list[float | None]]:
    """Entry by entry over seeds, two digits; None where nothing was taught yet."""
    return [
        [None if None in at else round(statistics.mean(at), 2) for at in zip(*row, strict=True)]
        for row in zip(*matrices, strict=True)
    ]


def asked() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description="What guards keep of a generator on a chip.")
    parser.add_argument("arm", nargs="?", choices=list(ARMS), help="one arm; all without")
    parser.add_argument("seed", nargs="?", type=int, help="one seed; 0, 1 and 2 without")
    parser.add_argument("--rows", type=Path, help="file of JSON lines to go on with")
    parser.add_argument("--steps", type=int, default=0, help="of a lesson; the recipe's without")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of a measurement")
    return parser.parse_args()


def jobs(arm: str | None, seed: int | None) -> Iterator[tuple[str, int]]:
    """Arms and seeds asked for: the extra arms come after the others of all seeds."""
    for late in (False, True):
        for number in SEEDS if seed is None else (seed,):
            for name in ARMS if arm is None else (arm,):
                if (name in EXTRA) == late:
                    yield name, number


def main() -> None:
    """Print a line a run and the summary."""
    torch.set_num_threads(1)
    wish = asked()
    there = wish.rows.read_text().splitlines() if wish.rows and wish.rows.exists() else []
    found: list[dict[str, Any]] = [json.loads(line) for line in there]
    done = {(one["arm"], one["seed"]) for one in found}
    size = Size(steps=wish.steps, pictures=wish.pictures)
    begun: dict[tuple[int, str], Start] = {}
    for arm, seed in jobs(wish.arm, wish.seed):
        if (arm, seed) in done:
            continue
        alike = (seed, str(ARMS[arm].get("adapter")))
        if alike not in begun:
            begun = {alike: start(arm, seed, size.pictures)}
        found.append(run(arm, seed, size, begun[alike]))
        text = json.dumps(found[-1])
        print(text, flush=True)
        if wish.rows:
            with wish.rows.open("a") as file:
                file.write(text + "\n")
    for line in summary(found):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
