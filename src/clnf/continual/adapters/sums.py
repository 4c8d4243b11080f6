"""Sums of what adapters change, kept as factors for as long as these are smaller."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clnf.continual.adapters.pairs import Held

__all__ = ["LowRankSum", "change_of", "moved_on", "sum_of"]


class LowRankSum(NamedTuple):
    """A matrix [O, I]: left @ right, or left itself.

    Attributes:
        left: [O, R], scales and signs within; the whole matrix [O, I] where there is no right.
        right: [R, I]; None where factors would take more room.
    """

    left: Tensor
    right: Tensor | None

    def dense(self) -> Tensor:
        """The matrix, [O, I]; not a copy where it is kept whole."""
        return self.left if self.right is None else self.left @ self.right

    def any(self) -> bool:
        """Whether it can be other than zero."""
        parts = (self.left,) if self.right is None else (self.left, self.right)
        return all(bool(part.any()) for part in parts)

    def same(self, other: "LowRankSum") -> bool:
        """Whether both are kept alike, bit for bit."""
        if self.right is None or other.right is None:
            return self.right is other.right and torch.equal(self.left, other.left)
        return torch.equal(self.left, other.left) and torch.equal(self.right, other.right)

    def fits(self, rows: int, columns: int) -> bool:
        """Whether it is a matrix of this shape."""
        if self.right is None:
            return tuple(self.left.shape) == (rows, columns)
        inner = self.left.shape[-1]
        shapes = (tuple(self.left.shape), tuple(self.right.shape))
        return shapes == ((rows, inner), (inner, columns))


def change_of(held: Held) -> LowRankSum:
    """What an adapter changes now, scale * up @ down, as copies of its factors."""
    up, down = (weight.detach().flatten(1) for weight in held.weights)
    return _smaller(up * held.scale, down.clone())


def sum_of(parts: Sequence[LowRankSum]) -> LowRankSum:
    """The sum of at least one matrix of one shape.

    Factors stand side by side, sum_t left_t right_t = [left_1 ...] [right_1; ...], until R (O + I)
    numbers are as many as the O I of the matrix.

    >>> one = LowRankSum(torch.ones(4, 1), torch.ones(1, 4))
    >>> sum_of([one]).right is None, sum_of([one, one]).right is None
    (False, True)
    """
    if len(parts) == 1:
        return parts[0]
    rights = [part.right for part in parts if part.right is not None]
    if len(rights) == len(parts):
        return _smaller(torch.cat([part.left for part in parts], 1), torch.cat(rights))
    return LowRankSum(torch.stack([part.dense() for part in parts]).sum(0), None)


def moved_on(
    total: LowRankSum | None, start: LowRankSum | None, now: LowRankSum
) -> LowRankSum | None:
    """Add what a lesson changed: total + now - start, None standing for zero.

    Where the total ends with the very factors that the lesson began with, those of now take their
    place: an adapter that goes on through all lessons needs room for two at most.
    """
    if start is None:
        parts = [total, now if now.any() else None]
    elif start.same(now):
        parts = [total]
    else:
        parts = [_minus(total, start), now]
    given = [part for part in parts if part is not None]
    return sum_of(given) if given else None


def _minus(total: LowRankSum | None, start: LowRankSum) -> LowRankSum | None:
    if total is not None and total.right is not None and start.right is not None:
        rest = total.left.shape[1] - start.left.shape[1]
        tail = LowRankSum(total.left[:, max(rest, 0) :], total.right[max(rest, 0) :])
        if tail.same(start):
            return LowRankSum(total.left[:, :rest], total.right[:rest]) if rest else None
    taken = LowRankSum(-start.left, start.right)
    return taken if total is None else sum_of([total, taken])


def _smaller(left: Tensor, right: Tensor) -> LowRankSum:
    (rows, inner), columns = left.shape, right.shape[1]
    if inner * (rows + columns) < rows * columns:
        return LowRankSum(left, right)
    return LowRankSum(left @ right, None)
