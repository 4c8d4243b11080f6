"""How far the judge can be trusted, and the two ends of its scale.

held out       five-fold cross-validation with the recipe's own plan: every picture is named once
               by a judge that never saw it, nor an exact copy of it; the reference is naming
               everything after the largest class. "among_families" is the same judge when it may
               not answer "other". The shipped judge is trained on all pictures
kid            of the shipped judge: real pictures against real ones (two halves, which is the
               scale's zero) and noise against real ones (its far end), by family and over all
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.rng import fold, torch_rng
from clnf.media.bundled import load_judge
from clnf.media.judge import Judge, JudgePlan, train_judge
from clnf.media.kid import kid
from clnf.media.making import MakingRecipe, load_making, members
from clnf.streams.bundled import emoji32, family, split
from clnf.streams.sources import from_levels

RECIPE = Path(__file__).parents[1] / "recipes" / "emoji_judge.toml"
FOLDS = 5
HALVINGS = 20


def wilson(hits: int, total: int, z: float = 1.96) -> list[float]:
    """95 % interval of a share (Wilson 1927)."""
    centre = (hits + z * z / 2) / (total + z * z)
    half = z * math.sqrt(hits * (total - hits) / total + z * z / 4) / (total + z * z)
    return [round(centre - half, 3), round(centre + half, 3)]


def folds(names: tuple[str, ...]) -> dict[int, int]:
    """The fold in which each picture is held out; exact copies share one."""
    place = {}
    for name in names:
        shares = [split(name, "train", share=(k + 1) / FOLDS) for k in range(FOLDS - 1)]
        # Training parts of growing share contain each other; their differences are the folds.
        for k, index in reversed(list(enumerate([*shares, family(name)]))):
            place.update(dict.fromkeys(index.tolist(), k))
    return place


def judged(recipe: MakingRecipe, index: NDArray[np.int64], label: Tensor, held: Tensor) -> Tensor:
    """Logits that a judge trained on the rest gives to the held-out pictures, [n, classes]."""
    torch.manual_seed(fold(recipe.seed, "init"))
    judge = Judge(list(recipe.families))
    images = torch.from_numpy(emoji32().images[index])
    for _ in train_judge(judge, images[~held], label[~held], JudgePlan(**recipe.plan), recipe.seed):
        pass
    with torch.no_grad():
        logits: Tensor = judge.eval()(from_levels(images[held].numpy()))
    return logits


def held_out() -> None:
    """Accuracy on pictures never seen."""
    recipe = load_making(RECIPE)
    index, label = members(recipe)
    place = folds((*recipe.families, *recipe.other))
    at = torch.tensor([place[i] for i in index.tolist()])
    classes = [*recipe.families, "other"]
    logits = torch.empty(len(label), len(classes))
    for k in range(FOLDS):
        held = at == k
        logits[held] = judged(recipe, index, label, held)
        right = round(float((logits[held].argmax(1) == label[held]).float().mean()), 3)
        row = {"fold": k, "held_out": int(held.sum()), "accuracy": right}
        print(json.dumps({"name": "judge fold", **row}), flush=True)
    pictures, named = emoji32(), logits.argmax(1)
    among = logits[:, :-1].argmax(1)  # the question without "none of these" as an answer
    for c, name in enumerate(classes):
        mine = torch.nonzero(label == c).flatten().tolist()
        # Pairs, as names repeat: two pictures are called "man in tuxedo".
        missed = [
            [pictures.names[index[i]], classes[int(named[i])]] for i in mine if int(named[i]) != c
        ]
        hits = int((named[mine] == c).sum())
        row = {"accuracy": round(hits / len(mine), 3), "right": hits, "of": len(mine)}
        row["interval_95"] = wilson(hits, len(mine))
        if name != "other":
            row["among_families"] = round(float((among[mine] == c).float().mean()), 3)
        print(json.dumps({"name": "judge held out", "family": name, **row, "missed": missed}))
    table = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    table.index_put_((label, named), torch.tensor(1), accumulate=True)
    hits, total = int(table.trace()), len(label)
    shares = table.diagonal() / table.sum(1)
    row = {"accuracy": round(hits / total, 3), "mean_of_classes": round(float(shares.mean()), 3)}
    row["over_largest_class"] = round(hits / int(table.sum(1).max()), 2)
    print(json.dumps({"name": "judge held out, all", **row, "interval_95": wilson(hits, total)}))
    print(json.dumps({"name": "judge confusion", "classes": classes, "rows": table.tolist()}))


def ends(features: Tensor, noise: Tensor, name: str) -> dict[str, object]:
    """Both ends of the scale for one set of pictures, over several halvings."""
    near, far = [], []
    for i in range(HALVINGS):
        order = torch.randperm(len(features), generator=torch_rng(0, "halves", name, i))
        half = len(order) // 2
        near.append(kid(features[order[:half]], features[order[half:]]))
        far.append(kid(features[order[:half]], noise[order[half:]]))
    return {
        "real_real": round(float(np.mean(near)), 5),
        "real_real_sd": round(float(np.std(near)), 5),
        "noise_real": round(float(np.mean(far)), 4),
        "noise_real_sd": round(float(np.std(far)), 4),
    }


@torch.no_grad()
def scale() -> None:
    """Both ends of the distance of the shipped judge."""
    judge, _ = load_judge()
    real, noisy = [], []
    for name in judge.families[:-1]:
        pictures = from_levels(emoji32().images[family(name)])
        noise = torch.randn(pictures.shape, generator=torch_rng(0, "noise", name)).clamp(-1, 1)
        real.append(judge.features(pictures))
        noisy.append(judge.features(noise))
        row = {"pictures": len(pictures), **ends(real[-1], noisy[-1], name)}
        print(json.dumps({"name": "judge kid", "family": name, **row}))
    row = {"pictures": sum(map(len, real)), **ends(torch.cat(real), torch.cat(noisy), "all")}
    print(json.dumps({"name": "judge kid", "family": "all nine together", **row}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    scale()
    held_out()
