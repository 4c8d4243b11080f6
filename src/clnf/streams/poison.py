"""Bad samples hidden in a good lesson, for showing and measuring what the gate does."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Source
from clnf.core.rng import numpy_rng, torch_rng
from clnf.core.units import quantity
from clnf.streams.sources import ArraySource, JoinSource, SubsetSource

__all__ = ["PoisonParams", "Poisoned", "poison"]


@final
@dataclass(frozen=True, kw_only=True)
class PoisonParams:
    """How many bad samples of each kind are hidden.

    Attributes:
        noise: pictures of uniform or normal white noise, half each.
        broken: pictures of the lesson with NaN or infinite values.
        copies: exact copies of samples of the lesson.
        mislabelled: pictures of something else under the lesson's label.
    """

    noise: int = quantity("1", 12)
    broken: int = quantity("1", 12)
    copies: int = quantity("1", 12)
    mislabelled: int = quantity("1", 12)

    def __post_init__(self) -> None:
        if min(self.noise, self.broken, self.copies, self.mislabelled) < 0:
            raise ConfigError(f"numbers of bad samples cannot be negative, got {self}")


@final
@dataclass(frozen=True, kw_only=True)
class Poisoned:
    """A lesson with bad samples, and the truth about each.

    Attributes:
        source: good and bad samples in mixed order.
        kinds: of each sample: "good", "noise", "broken", "copy" or "mislabelled". Of two equal
            samples the later one is the copy.
    """

    source: Source
    kinds: tuple[str, ...]


def poison(
    lesson: Source, foreign: Source, *, seed: int, params: PoisonParams = PoisonParams()
) -> Poisoned:
    """Hide bad samples in a lesson.

    Args:
        lesson: good samples, pictures [C, H, W] in [-1, 1].
        foreign: pictures of something else; they get the lesson's label.
        seed: same seed, same poison.
        params: how many of each kind.

    Raises:
        ConfigError: the lesson or the foreign source is empty.
    """
    if not len(lesson) or not len(foreign):
        raise ConfigError("poisoning needs a lesson and foreign samples, one of them is empty")
    draw = numpy_rng(seed, "poison")
    model = lesson.take(torch.arange(1))
    broken = lesson.take(torch.from_numpy(draw.integers(0, len(lesson), params.broken)))
    copied = torch.from_numpy(draw.permutation(len(lesson))[: params.copies])
    strange = foreign.take(torch.from_numpy(draw.permutation(len(foreign))[: params.mislabelled]))
    groups: list[tuple[str, Source]] = [
        ("good", lesson),
        ("noise", _relabelled(_noise(model, params.noise, seed), model)),
        ("broken", _relabelled(_broken(broken.x, draw), model)),
        ("copy", SubsetSource(lesson, copied)),
        ("mislabelled", _relabelled(strange.x, model)),
    ]
    kinds = np.array([kind for kind, group in groups for _ in range(len(group))])
    # Which of two equal samples is the copy depends on the order they arrive in.
    order = draw.permutation(len(kinds))
    place = np.argsort(order)
    first_copy = len(lesson) + params.noise + params.broken
    for number, original in enumerate(copied.tolist()):
        copy = first_copy + number
        if place[copy] < place[original]:
            order[place[copy]], order[place[original]] = original, copy
    source = SubsetSource(JoinSource([group for _, group in groups]), order)
    return Poisoned(source=source, kinds=tuple(str(kind) for kind in kinds[order]))


def _noise(model: Batch, count: int, seed: int) -> torch.Tensor:
    rng = torch_rng(seed, "poison", "noise")
    shape = (count, *model.x.shape[1:])
    uniform = torch.rand(shape, generator=rng) * 2.0 - 1.0
    normal = (torch.randn(shape, generator=rng) * 0.4).clamp(-1.0, 1.0)
    even = (torch.arange(count) % 2 == 0).reshape(-1, *[1] * (len(shape) - 1))
    return torch.where(even, uniform, normal)


def _broken(x: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """All, many or one of the values of each picture made NaN or infinite."""
    flat = x.clone().flatten(1)
    for i in range(len(flat)):
        count = (flat.shape[1], max(1, flat.shape[1] // 20), 1)[i % 3]
        where = torch.from_numpy(draw.permutation(flat.shape[1])[:count])
        flat[i, where] = float("inf") if i % 4 == 3 else float("nan")
    return flat.reshape(x.shape)


def _relabelled(x: torch.Tensor, model: Batch) -> ArraySource:
    return ArraySource(x, int(model.cond[0]))
