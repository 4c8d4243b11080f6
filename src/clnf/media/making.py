"""Recipes of the bundled weights: from a TOML file and the bundled data to a weights file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.rng import fold
from clnf.core.toml import load_toml, recipe_hash
from clnf.media.bundled import net_facts, save_half
from clnf.media.flow import FlowModel
from clnf.media.judge import Judge, JudgePlan, train_judge
from clnf.media.pretrain import PretrainPlan, pretrain
from clnf.media.unet import UNet, UNetParams
from clnf.streams.bundled import emoji32, family

__all__ = ["MakingRecipe", "load_making", "make", "members", "origin"]


@final
class MakingRecipe(BaseModel):
    """What weights to make, from which families, for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["core", "judge"]
    seed: int
    families: tuple[str, ...]
    other: tuple[str, ...] = ()
    net: dict[str, Any] = {}
    plan: dict[str, Any]


def load_making(path: Path) -> MakingRecipe:
    """Read a recipe of weights.

    Raises:
        ConfigError: the file is missing or breaks a rule.
    """
    try:
        return MakingRecipe.model_validate(load_toml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg'].lower()}") from None


def members(recipe: MakingRecipe) -> tuple[NDArray[np.int64], Tensor]:
    """Pictures of the recipe's families.

    Returns:
        Indices into ``emoji32()`` and the class of each, int64 [N] both. Families that stand for
        "other" share the class after the last family.
    """
    chosen, label = [], []
    rows = [*enumerate(recipe.families), *((len(recipe.families), n) for n in recipe.other)]
    for at, name in rows:
        index = family(name)
        chosen.extend(index.tolist())
        label.extend([at] * len(index))
    return np.array(chosen, dtype=np.int64), torch.tensor(label)


def _pictures(recipe: MakingRecipe) -> tuple[Tensor, Tensor]:
    index, label = members(recipe)
    return torch.from_numpy(emoji32().images[index]), label


def origin(recipe: MakingRecipe) -> dict[str, Any]:
    """What weights made by a recipe are made of: seed, and hashes of recipe, set and pictures."""
    images, _ = _pictures(recipe)
    return {
        "families": list(recipe.families),
        "seed": recipe.seed,
        "recipe_sha256": recipe_hash(recipe.model_dump(mode="json", exclude_defaults=True)),
        "data_sha256": emoji32().sha256,
        "pictures_sha256": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
    }


def make(recipe: MakingRecipe, out: Path) -> Iterator[tuple[int, int, float]]:
    """Train and write weights in half precision, with what they were made of in the header.

    Args:
        recipe: what to make.
        out: target file, replaced only when training is done.

    Yields:
        (step done, steps in all, loss).
    """
    torch.manual_seed(fold(recipe.seed, "init"))
    facts = origin(recipe)
    images, label = _pictures(recipe)
    finished: nn.Module
    if recipe.kind == "core":
        cond = label + 1  # class 0 is "nothing asked"
        sizes = {**recipe.net, "multipliers": tuple(recipe.net.get("multipliers", (1, 2, 2)))}
        params, plan = UNetParams(**sizes), PretrainPlan(**recipe.plan)
        facts["net"] = net_facts(params)
        model = FlowModel(UNet(params))
        finished = model.net
        for step, loss, average in pretrain(model, images, cond, plan, recipe.seed):
            assert isinstance(average, FlowModel)
            finished = average.net
            yield step + 1, plan.steps, loss
    else:
        judge = Judge(list(recipe.families))
        judging = JudgePlan(**recipe.plan)
        for step, loss in train_judge(judge, images, label, judging, recipe.seed):
            yield step + 1, judging.copies + judging.steps, loss
        finished = judge
    # Whoever reads the old weights meanwhile must never see half a file.
    part = out.with_name(f".{out.name}.part")
    save_half(finished, part, facts)
    part.replace(out)
