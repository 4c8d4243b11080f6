"""The arm of a run with next to no network under it, so that it can be run hundreds of times.

Gate, learner, guards, chip, monitor, journal and snapshots are those of any run. What is small is
the generator (thousands of weights, untrained) and the judge (four numbers of a picture).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final
from unittest import mock

import torch
from torch import Tensor

from clnf.living.recipe import LessonPart, Recipe
from clnf.media.flow import FlowModel
from clnf.media.unet import UNet, UNetParams
from clnf.streams.bundled import CONCEPTS, CORE_FAMILIES

__all__ = ["small_recipe", "small_world"]


@final
class _Judge:
    """Tells pictures by their mean colours; deterministic, and of no other use."""

    families = (*CONCEPTS, "other")

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2).repeat(1, 2)

    def match(self, x: Tensor, family: str) -> float:
        return float((x.mean((1, 2, 3)) > 0).float().mean())


def _core() -> tuple[FlowModel, dict[str, Any]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet(UNetParams(width=8, multipliers=(1,), embedding=8, concepts=12))
        for parameter in net.parameters():
            parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return FlowModel(net), {"families": list(CORE_FAMILIES)}


@contextmanager
def small_world() -> Iterator[None]:
    """Inside, arms are made of next to nothing."""
    with (
        mock.patch("clnf.living.model.load_core", _core),
        mock.patch("clnf.living.arm.load_judge", return_value=(_Judge(), {})),
        mock.patch("clnf.living.arm.keep_floor"),
    ):
        yield


def small_recipe(**guards: bool) -> Recipe:
    """Two lessons of a few steps, the first of them partly poisoned."""
    recipe = Recipe(
        name="small",
        seed=3,
        snapshot_steps=2,
        compare=False,
        lesson=(
            LessonPart(name="people, poisoned", family="people", concept="people", poisoned=True),
            LessonPart(name="hands", family="hands", concept="hands"),
        ),
    )
    recipe = recipe.changed("learn", steps=4, batch=4)
    recipe = recipe.changed(
        "probe", samples=2, steps=1, tolerance=1.0, mean_tolerance=1.0, kid_tolerance=1e6
    )
    recipe = recipe.changed("chip", pairs=1, wire_ohm=0.0)
    return recipe.changed("guards", fisher_samples=2, rehearsed=2, memory_per_family=2, **guards)
