"""Retention and plasticity on the emoji stream, over three seeds.

For each seed: the guarded arm, the plain arm, the arm with gate and monitor off (the negative
control), and the guarded arm with one set of adapters for all concepts, held by rehearsal, EWC and
fence instead: with the same budget of pulses, without one and with half of it. Beside them a
reference with one set of adapters that is taught the four new families jointly, with as many steps.
Matches are measured on 64 pictures a family. Prints one JSON line a seed and one at the end. Long:
about 50 minutes a seed on one core, two at a time; CLNF_SEEDS=1 tries one seed. With

    python benchmarks/emoji_stream.py FILE

each part is added to FILE as it ends, and what FILE holds already is not done again.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from clnf.core.records import Experience, Source
from clnf.living.arm import Arm
from clnf.living.lessons import Lessons
from clnf.living.model import LivingModel
from clnf.living.probes import DrawProbe
from clnf.living.recipe import ProbePart, Recipe, load_recipe
from clnf.living.summary import summarise
from clnf.media.bundled import load_judge
from clnf.streams.bundled import CORE_FAMILIES, NEW_FAMILIES
from clnf.streams.sources import JoinSource, ShiftSource, SubsetSource
from clnf.streams.stream import emoji_source

RECIPE = Path(__file__).parents[1] / "recipes" / "emoji.toml"


def careful(recipe: Recipe) -> ProbePart:
    """The recipe's probe with 64 pictures a family."""
    return recipe.probe.model_copy(update={"samples": 64})


def final_match(model: LivingModel, recipe: Recipe, concepts: list[str]) -> dict[str, float]:
    """Match of each concept as the model stands."""
    lessons = Lessons(recipe, Path(tempfile.mkdtemp()), model.concepts)
    judge, _ = load_judge()
    probe = DrawProbe(judge, lessons.real(), careful(recipe), seed=recipe.seed + 1000)
    known = [name for name in concepts if name in model.concepts.names]
    model.engine.eval()
    found = probe.measure(model.engine, known, model.concepts).measures["match"]
    return {name: found.get(name, 0.0) for name in concepts}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Final matches, verdicts, and how many committed lessons broke a core probe's tolerance."""

    match: dict[str, float]
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    broken: int = 0


def shared(recipe: Recipe) -> Recipe:
    """One set of adapters for all concepts, and guards that hold what it knows."""
    one = recipe.changed("adapter", own=0)
    return one.changed("guards", rehearsal=True, ewc=True, fence=True)


def start(recipe: Recipe) -> Outcome:
    """The core families before any lesson."""
    model = LivingModel(recipe)
    model.prepare(Lessons(recipe, Path(tempfile.mkdtemp()), model.concepts).core())
    return Outcome(match=final_match(model, recipe, list(CORE_FAMILIES)))


def arm(recipe: Recipe) -> Outcome:
    """Run one arm to its end."""
    folder = Path(tempfile.mkdtemp()) / "arm"
    one = Arm(folder, recipe)
    for _ in one.run():
        pass
    match = final_match(one.model, recipe, [*CORE_FAMILIES, *NEW_FAMILIES])
    summary = summarise(folder)
    origin, broken = summary.rows[0]["match"], 0
    for verdict in (event.payload for event in one.journal.events("verdict")):
        if verdict["action"] == "commit" and recipe.guards.monitor:
            after = verdict["after"]["match"]
            broken += any(origin[c] - after[c] > recipe.probe.tolerance for c in summary.core)
    one.close()
    lines = [
        {"lesson": x.name, "action": x.action, "refused": sum(x.quarantined.values())}
        for x in summary.lessons
    ]
    return Outcome(match=match, verdicts=lines, broken=broken)


def at_once(recipe: Recipe) -> Recipe:
    """One lesson with the steps and the pulses of one for each new family."""
    n, learn = len(NEW_FAMILIES), recipe.learn
    return recipe.changed("learn", steps=n * learn.steps, write_budget=n * learn.write_budget)


def joint(recipe: Recipe) -> Outcome:
    """All four families at once, with the steps and pulses of four lessons."""
    recipe = at_once(shared(recipe))
    model = LivingModel(recipe)
    model.prepare(Lessons(recipe, Path(tempfile.mkdtemp()), model.concepts).core())
    sources: list[Source] = [emoji_source(name, model.concepts.add(name)) for name in NEW_FAMILIES]
    # Each family as often as in the stream, where it has a lesson of its own.
    most = max(map(len, sources))
    sources = [SubsetSource(s, torch.arange(most) % len(s)) for s in sources]
    data = ShiftSource(JoinSource(sources), reach=recipe.learn.shift)
    lesson = Experience(name="all four", concept="all four", data=data)
    model.begin(lesson.name, lesson.concept)
    steps = recipe.learn.steps
    model.pace(0)
    for info in model.learner.lesson(lesson, steps=steps, batch_size=recipe.learn.batch):
        model.pace((info.step + 1) / steps)
    return Outcome(match=final_match(model, recipe, [*CORE_FAMILIES, *NEW_FAMILIES]))


def mean(match: dict[str, float], names: tuple[str, ...]) -> float:
    """Mean match over names, in points."""
    return 100 * sum(match[name] for name in names) / len(names)


def guarded_arm(recipe: Recipe) -> Outcome:
    """The recipe as it is: adapters of their own, gate and monitor."""
    return arm(recipe)


def plain_arm(recipe: Recipe) -> Outcome:
    """Plain fine-tuning behind the gate."""
    return arm(recipe.plain())


def unwatched_arm(recipe: Recipe) -> Outcome:
    """As ``guarded_arm`` without gate and monitor: the negative control."""
    return arm(recipe.changed("guards", gate=False, monitor=False))


def shared_arm(recipe: Recipe) -> Outcome:
    """As ``guarded_arm`` with one set of adapters, rehearsal, EWC and fence."""
    return arm(shared(recipe))


def unlimited_arm(recipe: Recipe) -> Outcome:
    """As ``shared_arm`` without a budget of pulses."""
    return arm(shared(recipe).changed("learn", write_budget=0))


def quarter_arm(recipe: Recipe) -> Outcome:
    """As ``shared_arm`` with half its budget, a quarter of what lessons would take."""
    half = recipe.learn.write_budget // 2
    return arm(shared(recipe).changed("learn", write_budget=half))


ARMS = (guarded_arm, plain_arm, unwatched_arm, shared_arm, unlimited_arm, quarter_arm)
PARTS = (*ARMS, joint, start)


def line(recipe: Recipe, found: dict[str, Outcome]) -> dict[str, Any]:
    """The figures of one seed."""
    begin = mean(found["start"].match, CORE_FAMILIES)
    guarded, together = found["guarded_arm"], found["joint"].match
    ends = {one.__name__.removesuffix("_arm"): found[one.__name__].match for one in ARMS}
    return {
        "seed": recipe.seed,
        "core_start": begin,
        **{f"core_drop_{name}": begin - mean(end, CORE_FAMILIES) for name, end in ends.items()},
        **{f"new_{name}": mean(end, NEW_FAMILIES) for name, end in ends.items()},
        "faces_unwatched": ends["unwatched"]["faces"],
        "new_share_of_joint": {n: guarded.match[n] / max(together[n], 1e-9) for n in NEW_FAMILIES},
        "committed_out_of_tolerance": guarded.broken,
        "verdicts": guarded.verdicts,
        **{name: found[name].match for name in found},
    }


def spread(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds."""
    return {"mean": statistics.mean(values), "spread": statistics.pstdev(values)}


def one_thread() -> None:
    """A core for each process: see ``clnf.living.worker``."""
    torch.set_num_threads(1)


def main() -> None:
    """Print a line a seed and the summary."""
    held = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    base = load_recipe(RECIPE)
    count = int(os.environ.get("CLNF_SEEDS", "3"))
    recipes = [base.model_copy(update={"seed": seed}) for seed in range(count)]
    context = multiprocessing.get_context("spawn")
    results = []
    found: dict[int, dict[str, Outcome]] = {r.seed: {} for r in recipes}
    for text in held.read_text().splitlines() if held and held.exists() else ():
        row = json.loads(text)
        found.setdefault(row["seed"], {})[row["part"]] = Outcome(**row["outcome"])
    due = [(part, r) for part in PARTS for r in recipes if part.__name__ not in found[r.seed]]
    with ProcessPoolExecutor(2, context, one_thread) as pool:
        tasks = {pool.submit(part, r): (r.seed, part.__name__) for part, r in due}
        for task in as_completed(tasks):
            seed, name = tasks[task]
            found[seed][name] = task.result()
            text = json.dumps({"seed": seed, "part": name, "outcome": asdict(task.result())})
            # One such part takes minutes: say that something goes on.
            print(text, file=sys.stderr, flush=True)
            if held:
                with held.open("a") as file:
                    file.write(text + "\n")
    for recipe in recipes:
        results.append(line(recipe, found[recipe.seed]))
        print(json.dumps(results[-1]), flush=True)
    keys = [key for key in results[0] if key.startswith(("core_drop_", "new_"))]
    keys.remove("new_share_of_joint")
    shares = {n: [r["new_share_of_joint"][n] for r in results] for n in NEW_FAMILIES}
    print(
        json.dumps(
            {
                "benchmark": "emoji_stream",
                **{key: spread([r[key] for r in results]) for key in keys},
                "new_share_of_joint": {name: spread(values) for name, values in shares.items()},
                "committed_out_of_tolerance": sum(r["committed_out_of_tolerance"] for r in results),
            }
        )
    )


if __name__ == "__main__":
    main()
