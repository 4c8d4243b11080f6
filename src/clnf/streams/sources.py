"""Finite data that can be taken by index.

Pictures are kept as uint8 and converted on take, x = u / 127.5 - 1; nothing is copied before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ShapeError
from clnf.core.records import Batch, Source

__all__ = [
    "ArraySource",
    "JoinSource",
    "Levels",
    "ShiftSource",
    "SubsetSource",
    "TransformSource",
    "from_levels",
    "levels_of",
    "to_levels",
]


@final
@dataclass(frozen=True, kw_only=True)
class Levels:
    """Pictures as they are stored, before they are turned into what models see.

    Attributes:
        images: uint8 [K, C, H, W], C = 1 or 3, of 8x8 pixels or more.
        label: int64 [K].
        weight: float32 [K].
    """

    images: NDArray[np.uint8]
    label: NDArray[np.int64]
    weight: NDArray[np.float32]


@runtime_checkable
class _Stored(Protocol):
    """A source that can say what is stored, see :func:`levels_of`."""

    def levels(self, index: Tensor) -> Levels | None: ...


def levels_of(source: Source, index: Tensor) -> Levels | None:
    """The samples at ``index`` (int64 [K]) as stored, where a source keeps them as bytes.

    ``take`` of the same index gives the same pictures as x = u / 127.5 - 1. None where samples
    are kept otherwise, or are changed on the way.
    """
    return source.levels(index) if isinstance(source, _Stored) and len(index) else None


def from_levels(images: NDArray[np.uint8]) -> Tensor:
    """Pictures as stored to pictures as models see them: x = u / 127.5 - 1.

    Args:
        images: uint8 [N, H, W, C], 0 to 255.

    Returns:
        float32 [N, C, H, W] in [-1, 1].
    """
    planes = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    return torch.from_numpy(planes).div_(127.5).sub_(1.0)


def to_levels(x: Tensor) -> NDArray[np.uint8]:
    """Inverse of :func:`from_levels`, rounded and clipped.

    Args:
        x: float [N, C, H, W], nominally in [-1, 1], finite.

    Returns:
        uint8 [N, H, W, C].
    """
    levels = x.detach().to("cpu", torch.float32).add(1.0).mul(127.5).round().clamp(0.0, 255.0)
    return np.ascontiguousarray(levels.to(torch.uint8).numpy().transpose(0, 2, 3, 1))


@final
class ArraySource:
    """Data held in memory.

    Args:
        data: uint8 array [N, H, W, C] (pictures, converted on take), or a float tensor [N, ...]
            handed out as it is.
        cond: concept or class index: one for all, or int64 [N].
        weight: factor on the loss: one for all, or float32 [N]; >= 0.

    Raises:
        ShapeError: pictures of another shape or type, or lengths that differ.
    """

    def __init__(
        self,
        data: NDArray[np.uint8] | Tensor,
        cond: int | NDArray[np.int64] | Tensor,
        weight: float | Tensor = 1.0,
    ) -> None:
        if isinstance(data, np.ndarray) and (data.dtype != np.uint8 or data.ndim != 4):
            raise ShapeError(
                f"pictures must be uint8 [N, H, W, C], got {data.dtype} {list(data.shape)}"
            )
        count = len(data)
        self.data = data
        self.cond = (
            torch.full((count,), cond, dtype=torch.int64)
            if isinstance(cond, int)
            else _integers(cond)
        )
        self.weight = (
            weight.to(torch.float32)
            if isinstance(weight, Tensor)
            else torch.full((count,), float(weight))
        )
        if not (count == len(self.cond) == len(self.weight)):
            raise ShapeError(
                f"{count} samples need as many conditions and weights, "
                f"got {len(self.cond)} and {len(self.weight)}"
            )
        if isinstance(data, Tensor):
            self.cond, self.weight = self.cond.to(data.device), self.weight.to(data.device)

    def __len__(self) -> int:
        return len(self.data)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]), in model range."""
        if isinstance(self.data, np.ndarray):
            x = from_levels(self.data.take(index.numpy(), axis=0))
        else:
            # Half the time of self.data[index], but the index must be where the data is.
            index = index.to(self.data.device)
            x = self.data.index_select(0, index)
        return Batch(
            x=x,
            cond=self.cond.index_select(0, index),
            weight=self.weight.index_select(0, index),
        )

    def levels(self, index: Tensor) -> Levels | None:
        """As :func:`levels_of`."""
        if not isinstance(self.data, np.ndarray):
            return None
        if self.data.shape[3] not in (1, 3) or min(self.data.shape[1:3]) < 8:
            return None
        return Levels(
            images=self.data.take(index.numpy(), axis=0).transpose(0, 3, 1, 2),
            label=self.cond.index_select(0, index).numpy(),
            weight=self.weight.index_select(0, index).numpy(),
        )


@final
class SubsetSource:
    """Some samples of another source, in the given order.

    Args:
        base: any source.
        index: int64 [K], positions in ``base``; may repeat.

    Raises:
        ShapeError: a position outside the base.
    """

    def __init__(self, base: Source, index: Tensor | NDArray[np.int64]) -> None:
        self.base = base
        self.index = _integers(index)
        if len(self.index) and (self.index.min() < 0 or self.index.max() >= len(base)):
            raise ShapeError(
                f"a subset of {len(base)} samples got positions from {int(self.index.min())} "
                f"to {int(self.index.max())}"
            )

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]) of the subset."""
        return self.base.take(self.index.index_select(0, index))

    def levels(self, index: Tensor) -> Levels | None:
        """As :func:`levels_of`."""
        return levels_of(self.base, self.index.index_select(0, index))


@final
class JoinSource:
    """Several sources, one after another.

    Args:
        parts: sources whose samples have the same shape.

    Raises:
        ShapeError: no part given.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        if not parts:
            raise ShapeError("joining needs at least one source, got none")
        self.parts = tuple(parts)
        self.starts = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]), in the order asked for."""
        owner = torch.bucketize(index, self.starts[1:], right=True)
        groups = [torch.nonzero(owner == number).flatten() for number in range(len(self.parts))]
        batches = [
            part.take(index[group] - self.starts[number])
            for number, (part, group) in enumerate(zip(self.parts, groups, strict=True))
            if len(group)
        ]
        if not batches:
            return self.parts[0].take(index)
        return Batch.cat(batches).select(torch.argsort(torch.cat(groups)))

    def levels(self, index: Tensor) -> Levels | None:
        """As :func:`levels_of`, where all parts asked have them in one shape."""
        owner = torch.bucketize(index, self.starts[1:], right=True)
        groups = [torch.nonzero(owner == number).flatten() for number in range(len(self.parts))]
        found = [
            levels_of(part, index[group] - self.starts[number])
            for number, (part, group) in enumerate(zip(self.parts, groups, strict=True))
            if len(group)
        ]
        stored = [one for one in found if one is not None]
        if len(stored) < len(found) or len({one.images.shape[1:] for one in stored}) != 1:
            return None
        order = torch.argsort(torch.cat(groups)).numpy()
        return Levels(
            images=np.concatenate([one.images for one in stored])[order],
            label=np.concatenate([one.label for one in stored])[order],
            weight=np.concatenate([one.weight for one in stored])[order],
        )


@final
class TransformSource:
    """Another source with its data changed on take.

    Args:
        base: any source.
        transform: ``(x [K, ...], index int64 [K]) -> x``; pure, so the same index always gives
            the same sample.
    """

    def __init__(self, base: Source, transform: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.base = base
        self.transform = transform

    def __len__(self) -> int:
        return len(self.base)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]), transformed."""
        batch = self.base.take(index)
        return Batch(x=self.transform(batch.x, index), cond=batch.cond, weight=batch.weight)


@final
class ShiftSource:
    """Pictures together with all their moves by up to ``reach`` pixels.

    Sample i is picture ``i // m`` moved by the ``i % m``-th of the m = (2 reach + 1)^2 moves
    (rows of moves from top left to bottom right; :attr:`still` is the one that moves nothing).
    The sample number is the counter, so nothing random is kept: whoever draws sample numbers
    evenly draws moves evenly.

    Args:
        base: pictures, float [K, C, H, W] on take.
        reach: farthest move in pixels along each axis, >= 0.
        fill: value of what moves in; 1 is white.
    """

    def __init__(self, base: Source, *, reach: int = 2, fill: float = 1.0) -> None:
        self.base = base
        self.reach = reach
        self.fill = fill
        self.moves = (2 * reach + 1) ** 2
        self.still = self.moves // 2

    def __len__(self) -> int:
        return len(self.base) * self.moves

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]), moved."""
        batch = self.base.take(index // self.moves)
        side, reach = 2 * self.reach + 1, self.reach
        padded = torch.nn.functional.pad(batch.x, (reach, reach, reach, reach), value=self.fill)
        _, _, height, width = batch.x.shape
        top, left = (index % self.moves) // side, (index % self.moves) % side
        rows = (top[:, None] + torch.arange(height))[:, None, :, None]
        columns = (left[:, None] + torch.arange(width))[:, None, None, :]
        sample = torch.arange(len(index))[:, None, None, None]
        channel = torch.arange(batch.x.shape[1])[None, :, None, None]
        return Batch(x=padded[sample, channel, rows, columns], cond=batch.cond, weight=batch.weight)


def _integers(values: Tensor | NDArray[np.int64]) -> Tensor:
    """A copy as int64; arrays may be read-only."""
    if isinstance(values, Tensor):
        return values.detach().clone().to(torch.int64)
    return torch.from_numpy(np.array(values, dtype=np.int64))
