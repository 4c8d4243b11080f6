"""Kernel inception distance: how far drawn pictures are from real ones, and how sure that is."""

from typing import NamedTuple

import torch
from torch import Tensor

from clnf.core.errors import ShapeError

__all__ = ["Kid", "kid", "kid_blocks"]


class Kid(NamedTuple):
    """A distance with its error.

    Attributes:
        value: squared MMD, from all samples together; may be slightly negative.
        error: standard error of it, from blocks; NaN where there is one block only.
    """

    value: float
    error: float


def kid(a_ND: Tensor, b_MD: Tensor) -> float:
    """Kernel inception distance: unbiased squared MMD with k(a, b) = (a.b / D + 1)^3.

        mean_(i != j) k(a_i, a_j) + mean_(i != j) k(b_i, b_j) - 2 mean_(i, j) k(a_i, b_j)

    Args:
        a_ND: features of one set, N >= 2.
        b_MD: features of the other, M >= 2.

    Returns:
        Near 0 for equal distributions; may be slightly negative.

    Raises:
        ShapeError: these are not two sets of two or more rows of equal length.

    >>> round(kid(torch.zeros(2, 4), torch.ones(3, 4)), 6)
    7.0

    Source: Binkowski et al. 2018, equations 4 and 5.
    """
    _check(a_ND, b_MD)
    a, b = a_ND.double(), b_MD.double()
    d = a.shape[1]
    aa, bb, ab = ((p @ q.T / d + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    within_a = (aa.sum() - aa.trace()) / (n * (n - 1))
    within_b = (bb.sum() - bb.trace()) / (m * (m - 1))
    return float(within_a + within_b - 2 * ab.mean())


def kid_blocks(a_ND: Tensor, b_MD: Tensor, blocks: int = 4) -> Kid:
    """KID with a standard error: both sets are cut into blocks, and each pair of blocks is asked.

        error = s / sqrt(B),  s^2 = sum_b (KID_b - mean KID)^2 / (B - 1)

    Blocks are every B-th row, so a set that is sorted is cut evenly. A block of few rows says
    little: the error of four blocks is itself sure to some 40 %.

    Args:
        a_ND: features of one set, N >= 2.
        b_MD: features of the other, M >= 2.
        blocks: B >= 1, as far as each still has two rows.

    Returns:
        The distance of the whole sets, and its error.

    Raises:
        ShapeError: as for :func:`kid`, or blocks is below 1.

    Source: the estimate of Binkowski et al. 2018, section 4, taken over disjoint subsets.
    """
    value = kid(a_ND, b_MD)
    if blocks < 1:
        raise ShapeError(f"blocks must be at least 1, got {blocks}")
    count = min(blocks, len(a_ND) // 2, len(b_MD) // 2)
    if count < 2:
        return Kid(value, float("nan"))
    parts = torch.tensor([kid(a_ND[n::count], b_MD[n::count]) for n in range(count)])
    return Kid(value, float(parts.std() / count**0.5))


def _check(a: Tensor, b: Tensor) -> None:
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ShapeError(
            f"a KID needs two sets [N, D] and [M, D] of at least 2 rows, got shapes "
            f"{list(a.shape)} and {list(b.shape)}; draw more samples"
        )
