"""Scenarios of the bundled digits: split, permuted and rotated. Nothing is downloaded.

All of them teach the same 8,000 pictures and test with the other 2,000 of ``digits10k``, which
is a part of MNIST: figures lie some points below those published for all 60,000.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import final

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Experience, Source
from clnf.core.rng import numpy_rng, torch_rng
from clnf.streams.bundled import Part, digits10k
from clnf.streams.scenario import Protocol, Scenario, Task, incremental
from clnf.streams.sources import ArraySource, TransformSource
from clnf.streams.stream import DIGIT_PAIRS

__all__ = ["TurningSource", "digits_part", "permuted_digits", "rotated_digits", "split_digits"]

_SIDE = 28
_BLANK = -1.0  # value of the background
_OUTPUTS = tuple(range(10))


@lru_cache(maxsize=3)
def digits_part(part: Part = "train") -> ArraySource:
    """8,000 digits to teach, 2,000 to test with, or all; x float32 [K, 1, 28, 28], cond the digit.

    Every digit's pictures are ranked by a generator of their own, the first 80 % train. No
    picture is in both parts, and none occurs twice.
    """
    digits = digits10k()
    chosen = []
    for digit in _OUTPUTS:
        every = np.flatnonzero(digits.labels == digit)
        ranked = every[numpy_rng(0, "digits10k", digit).permutation(len(every))]
        cut = round(0.8 * len(every))
        chosen.append({"train": ranked[:cut], "held_out": ranked[cut:], "all": ranked}[part])
    index = np.sort(np.concatenate(chosen))
    return ArraySource(digits.images[index], digits.labels[index])


def split_digits(
    protocol: Protocol = "class", groups: Sequence[Sequence[int]] = DIGIT_PAIRS
) -> Scenario:
    """Split digits: some digits a task.

    Under "domain" the label is the place in the group: with the usual pairs, odd or even.

    Args:
        protocol: "task", "domain" or "class".
        groups: the digits of each task.

    Raises:
        ConfigError: a digit outside 0 to 9 or in two groups, or groups of different sizes under
            "domain".
    """
    if any(digit not in _OUTPUTS for group in groups for digit in group):
        raise ConfigError(f"digits go from 0 to 9, got {[list(group) for group in groups]}")
    return incremental(
        digits_part("train"), digits_part("held_out"), groups, protocol=protocol, name="digits"
    )


def permuted_digits(tasks: int = 5, *, seed: int = 0) -> Scenario:
    """Permuted digits, domain-incremental: each task moves all pixels to other places.

    Task 0 leaves them where they are. A permutation depends on (seed, task) alone and is made
    when its task is read first, so a hundred tasks take no more memory than one.

    Args:
        tasks: >= 1.
        seed: of the permutations.
    """

    def made(task: int) -> Callable[[Tensor, Tensor], Tensor]:
        rng = torch_rng(seed, "permuted digits", task)
        order = torch.randperm(_SIDE * _SIDE, generator=rng)

        def move(x: Tensor, index: Tensor) -> Tensor:
            return x.flatten(1).index_select(1, order).view_as(x) if task else x

        return move

    return _domains([(f"permutation {task}", made(task)) for task in range(tasks)])


def rotated_digits(angles_deg: Sequence[float] = (0.0, 30.0, 60.0, 90.0, 120.0)) -> Scenario:
    """Rotated digits, domain-incremental: each task turns every picture by its angle.

    Args:
        angles_deg: one for each task, counter-clockwise.
    """

    def made(angle: float) -> Callable[[Tensor, Tensor], Tensor]:
        place, weight = _corners(_SIDE, torch.tensor([angle]))
        return lambda x, index: _mixed(x, place, weight)

    return _domains([(f"turned by {angle:g} degrees", made(angle)) for angle in angles_deg])


@final
class TurningSource:
    """Pictures that turn as the stream goes on: sample i is turned by ``rate_deg * i`` degrees.

    With the digits in the order of their pairs this is a stream in the manner of MNIST-360
    (Buzzega et al., arXiv 2004.07211): the domain changes with every sample and no task ends.

    Args:
        base: square pictures in the order they arrive.
        rate_deg: degrees from one sample to the next.
    """

    def __init__(self, base: Source, *, rate_deg: float) -> None:
        self.base = base
        self.rate_deg = rate_deg

    def __len__(self) -> int:
        return len(self.base)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]), each turned by its own angle."""
        batch = self.base.take(index)
        angles = (index.to(torch.float64) * self.rate_deg) % 360.0
        return Batch(x=_turned(batch.x, angles), cond=batch.cond, weight=batch.weight)


def _domains(makers: Sequence[tuple[str, Callable[[Tensor, Tensor], Tensor]]]) -> Scenario:
    tasks = []
    for name, change in makers:
        taught = TransformSource(digits_part("train"), change)
        experience = Experience(
            name=f"digits, {name}",
            concept=f"digits, {name}",
            data=taught,
            provenance=f"digits10k, training part, {len(taught)} pictures, {name}",
        )
        test = TransformSource(digits_part("held_out"), change)
        tasks.append(Task(experience=experience, test=test, outputs=_OUTPUTS))
    return Scenario(tasks, protocol="domain", outputs=len(_OUTPUTS))


def _turned(x: Tensor, angles_deg: Tensor) -> Tensor:
    """Turn each picture about its centre: bilinear, rounded to the 8-bit grid it came from.

    Args:
        x: float32 [K, C, S, S] in [-1, 1].
        angles_deg: [K], counter-clockwise; or [1], one for all, which costs a tenth.
    """
    return _mixed(x, *_corners(x.shape[-1], angles_deg))


def _corners(side: int, angles_deg: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel comes from: int64 and float32 [K, 4, S^2], in the padded picture."""
    radians = angles_deg.to(torch.float64) * (math.pi / 180.0)
    # Rounded, so that quarter turns move pixels without mixing them.
    cos, sin = (torch.round(f(radians) * 1e12) / 1e12 for f in (torch.cos, torch.sin))
    line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    down, across = line[:, None].expand(side, side), line[None, :].expand(side, side)
    # Rows grow downwards, so a counter-clockwise turn of the picture has this sign.
    column = cos[:, None, None] * across - sin[:, None, None] * down + (side - 1) / 2
    row = sin[:, None, None] * across + cos[:, None, None] * down + (side - 1) / 2
    top, left = row.floor(), column.floor()
    low, right = row - top, column - left
    weights = ((1 - low) * (1 - right), (1 - low) * right, low * (1 - right), low * right)
    places = []
    for dr, dc in ((0, 0), (0, 1), (1, 0), (1, 1)):
        r = (top + dr + 1).clamp_(0, side + 1).long()
        c = (left + dc + 1).clamp_(0, side + 1).long()
        places.append((r * (side + 2) + c).flatten(1))
    return torch.stack(places, 1), torch.stack([w.float().flatten(1) for w in weights], 1)


def _mixed(x: Tensor, place: Tensor, weight: Tensor) -> Tensor:
    """Sum of the four corners of each pixel, in a fixed order, on the 8-bit grid."""
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), value=_BLANK).flatten(2)
    out = torch.zeros(*x.shape[:2], place.shape[2])
    for corner in range(4):
        where, share = place[:, corner], weight[:, corner, None]
        if len(where) == 1:
            out += share * padded.index_select(2, where[0])
        else:
            out += share * padded.gather(2, where[:, None].expand(-1, x.shape[1], -1))
    return out.add_(1.0).mul_(127.5).round_().div_(127.5).sub_(1.0).view_as(x)
