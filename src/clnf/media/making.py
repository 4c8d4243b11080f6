"""Recipes of the bundled weights: from a TOML file and the bundled data to a weights file."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from clnf.core.errors import ConfigError, ExportError
from clnf.core.rng import fold
from clnf.core.toml import broken_rule, load_toml, recipe_hash
from clnf.media.bundled import net_facts, save_half
from clnf.media.flow import FlowModel
from clnf.media.judge import Judge, JudgePlan, train_judge
from clnf.media.pretrain import PretrainPlan, pretrain
from clnf.media.unet import UNet, UNetParams
from clnf.streams.bundled import emoji32, family

__all__ = ["MakingRecipe", "load_making", "make", "members", "origin"]


@final
class MakingRecipe(BaseModel):
    """What weights to make, from which families, for how long.

    Attributes:
        name: shown while the weights are made.
        kind: "core" for a generator, "judge" for a judge.
        seed: every draw depends on it.
        families: what is learned, one class each.
        other: families that a judge should name "other".
        net: fields of ``UNetParams``; empty for a judge.
        plan: fields of ``PretrainPlan`` or ``JudgePlan``.
    """

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
        ConfigError: the file is missing or breaks a rule; names file, key and value.
    """
    recipe: MakingRecipe = _parsed(MakingRecipe, load_toml(path), f"{path}: ")
    plan: type = JudgePlan if recipe.kind == "judge" else PretrainPlan
    checked = {"plan": _known(plan, recipe.plan, f"{path}: plan.")}
    if recipe.kind == "core":
        checked["net"] = _known(UNetParams, recipe.net, f"{path}: net.")
    elif recipe.net:
        raise ConfigError(f"{path}: net is {recipe.net!r}: a judge has no sizes; leave it out")
    recipe = recipe.model_copy(update=checked)
    _check_families(recipe, path)
    return recipe


def _parsed(kind: Any, values: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise ConfigError(f"{where}{broken_rule(error)}") from None
    except ConfigError as error:  # a rule of the record itself, which names key and value
        raise ConfigError(f"{where}{error}") from None


def _known(kind: Any, values: dict[str, Any], where: str) -> dict[str, Any]:
    """The given fields of a record, each in its own type."""
    names = [field.name for field in fields(kind)]
    for key, value in values.items():
        if key not in names:
            raise ConfigError(f"{where}{key} is {value!r}: no such key; take {', '.join(names)}")
    record = _parsed(kind, values, where)
    return {key: getattr(record, key) for key in values}


def _check_families(recipe: MakingRecipe, path: Path) -> None:
    if not recipe.families:
        raise ConfigError(f"{path}: families is []: name at least one family")
    names, where = (*recipe.families, *recipe.other), f"{path}: families"
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(f"{where} or other name {name!r} {count} times; name it once")
        try:
            family(name)
        except ConfigError as error:
            raise ConfigError(f"{where} or other: {error}") from None
    if recipe.kind == "core":
        if recipe.other:
            raise ConfigError(f"{path}: other is {list(recipe.other)}: only a judge has others")
        rows = UNetParams(**recipe.net).concepts
        if len(names) >= rows:  # row 0 is "nothing asked"
            raise ConfigError(
                f"{path}: net.concepts is {rows}: {len(names)} families need {len(names) + 1}"
            )


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
        out: target file, replaced only when training is done; missing folders are made.

    Yields:
        (step done, steps in all, loss).

    Raises:
        ExportError: the file cannot be written; tried before training begins.
    """
    # Whoever reads the old weights meanwhile must never see half a file.
    part = out.with_name(f".{out.name}.part")
    _try_target(out, part)
    torch.manual_seed(fold(recipe.seed, "init"))
    facts = origin(recipe)
    images, label = _pictures(recipe)
    finished: nn.Module
    if recipe.kind == "core":
        cond = label + 1  # class 0 is "nothing asked"
        params, plan = UNetParams(**recipe.net), PretrainPlan(**recipe.plan)
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
    try:
        save_half(finished, part, facts)
        part.replace(out)
    except (OSError, SafetensorError) as error:
        raise _refused(out, error) from error
    finally:
        part.unlink(missing_ok=True)


def _try_target(out: Path, part: Path) -> None:
    """Find out before an hour of training whether its result can be kept."""
    if out.is_dir():
        raise ExportError(f"cannot write {out}: it is a folder; give the name of a file")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise _refused(out, error) from error


def _refused(out: Path, error: Exception) -> ExportError:
    said = error.strerror if isinstance(error, OSError) else None
    return ExportError(f"cannot write {out}: {said or error}; give another file, or free space")
