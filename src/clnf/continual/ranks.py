"""Which samples come first: by counted randomness, by rank in their class, by herding."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clnf.core.errors import ShapeError

__all__ = ["first_in_rank", "herd", "integers", "words"]

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


def first_in_rank(cond: Indices, priority: Words) -> Indices:
    """Indices ordered by (rank of the priority within the class, class)."""
    by_class = np.lexsort((priority, cond))
    sorted_cond = cond[by_class]
    starts = np.flatnonzero(np.r_[True, sorted_cond[1:] != sorted_cond[:-1]])
    lengths = np.diff(np.r_[starts, len(cond)])
    rank = np.arange(len(cond)) - np.repeat(starts, lengths)
    return by_class[np.lexsort((sorted_cond, rank))]


def words(key: int, number: Indices) -> Words:
    """SplitMix64 (Steele et al. 2014) at the given counters of one stream."""
    z = np.uint64(key) + (number.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def integers(key: int, number: Indices, below: Indices) -> Indices:
    """One integer in [0, below) per counter (bias under below/2**53)."""
    unit = (words(key, number) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (unit * below).astype(np.int64)


def herd(features: Tensor, most: int) -> Indices:
    """Rank samples so that the mean of the first k is as near the mean of all as greed can get.

    p_k = argmin_x || mu - (phi(x) + sum_(j<k) phi(p_j)) / k ||, phi scaled to length 1.

    Args:
        features: phi, [N, F].
        most: how many ranks are worth finding.

    Returns:
        int64 [N]: rank of each sample from 0; those past ``most`` share the rank N.

    Raises:
        ShapeError: features are not rows.

    Source: Rebuffi et al. 2017 (iCaRL), algorithm 4.
    """
    if features.dim() != 2:
        raise ShapeError(f"herding needs features [N, F], got {tuple(features.shape)}")
    phi = torch.nn.functional.normalize(features.detach().to("cpu", torch.float64), dim=1)
    mean, chosen = phi.mean(0), torch.zeros(phi.shape[1], dtype=torch.float64)
    # ||k mu - S - phi||^2 = const + ||phi||^2 - 2 phi.(k mu - S)
    own = phi.square().sum(1)
    rank = np.full(len(phi), len(phi), dtype=np.int64)
    for k in range(min(most, len(phi))):
        best = int((own - 2 * (phi @ ((k + 1) * mean - chosen))).argmin())
        rank[best] = k
        chosen += phi[best]
        own[best] = torch.inf
    return rank
