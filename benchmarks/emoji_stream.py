"""Retention and plasticity on the emoji stream, over three seeds.

For each seed: the guarded arm, the plain arm, the arm with gate and monitor off (the negative
control), and a reference taught the four new families jointly, with as many steps, on the same
chip. Matches are measured on 64 pictures a family. Prints one JSON line a seed and one at the
end. Long: several whole runs a seed; CLNF_SEEDS=1 tries one seed.
"""

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from clnf.core.records import Experience
from clnf.living.arm import Arm
from clnf.living.lessons import Lessons
from clnf.living.model import LivingModel
from clnf.living.probes import DrawProbe
from clnf.living.recipe import ProbePart, Recipe, load_recipe
from clnf.living.summary import summarise
from clnf.media.bundled import load_judge
from clnf.streams.bundled import CORE_FAMILIES, NEW_FAMILIES
from clnf.streams.sources import JoinSource, ShiftSource
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


def start_match(recipe: Recipe) -> dict[str, float]:
    """Match of the core families before any lesson."""
    model = LivingModel(recipe)
    model.prepare(Lessons(recipe, Path(tempfile.mkdtemp()), model.concepts).core())
    return final_match(model, recipe, list(CORE_FAMILIES))


def arm(recipe: Recipe) -> tuple[dict[str, float], list[dict[str, Any]], int]:
    """Run one arm; its final matches, its verdicts, and committed lessons out of tolerance."""
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
    return match, lines, broken


def joint(recipe: Recipe) -> dict[str, float]:
    """All four families at once, with the steps of four lessons."""
    model = LivingModel(recipe)
    model.prepare(Lessons(recipe, Path(tempfile.mkdtemp()), model.concepts).core())
    sources = [emoji_source(name, model.concepts.add(name)) for name in NEW_FAMILIES]
    data = ShiftSource(JoinSource(sources), reach=recipe.learn.shift)
    lesson = Experience(name="all four", concept="all four", data=data)
    model.begin()
    steps = recipe.learn.steps * len(NEW_FAMILIES)
    for _ in model.learner.lesson(lesson, steps=steps, batch_size=recipe.learn.batch):
        pass
    return final_match(model, recipe, list(NEW_FAMILIES))


def mean(match: dict[str, float], names: tuple[str, ...]) -> float:
    """Mean match over names, in points."""
    return 100 * sum(match[name] for name in names) / len(names)


def one_seed(recipe: Recipe) -> dict[str, Any]:
    """Every arm for one seed."""
    begin = mean(start_match(recipe), CORE_FAMILIES)
    guarded, verdicts, broken = arm(recipe)
    plain, _, _ = arm(recipe.plain())
    unwatched, _, _ = arm(recipe.changed("guards", gate=False, monitor=False))
    together = joint(recipe)
    share = {name: guarded[name] / max(together[name], 1e-9) for name in NEW_FAMILIES}
    return {
        "seed": recipe.seed,
        "core_start": begin,
        "core_drop_guarded": begin - mean(guarded, CORE_FAMILIES),
        "core_drop_plain": begin - mean(plain, CORE_FAMILIES),
        "core_drop_without_gate_and_monitor": begin - mean(unwatched, CORE_FAMILIES),
        "new_share_of_joint": share,
        "committed_out_of_tolerance": broken,
        "verdicts": verdicts,
        "guarded": guarded,
        "plain": plain,
        "joint": together,
    }


def main() -> None:
    """Print a line a seed and the summary."""
    torch.set_num_threads(2)
    recipe = load_recipe(RECIPE)
    results = []
    for seed in range(int(os.environ.get("CLNF_SEEDS", "3"))):
        results.append(one_seed(recipe.model_copy(update={"seed": seed})))
        print(json.dumps(results[-1]), flush=True)
    keys = ("core_drop_guarded", "core_drop_plain", "core_drop_without_gate_and_monitor")
    print(
        json.dumps(
            {
                "benchmark": "emoji_stream",
                **{
                    key: {
                        "mean": statistics.mean(r[key] for r in results),
                        "spread": statistics.pstdev(r[key] for r in results),
                    }
                    for key in keys
                },
                "smallest_share_of_joint": {
                    name: min(r["new_share_of_joint"][name] for r in results)
                    for name in NEW_FAMILIES
                },
                "committed_out_of_tolerance": sum(r["committed_out_of_tolerance"] for r in results),
            }
        )
    )


if __name__ == "__main__":
    main()
