"""Pictures as answers to a dictionary of patches, learned without labels.

Patches are freed of their mean and contrast, decorrelated, and clustered by direction; a picture
is then described by how strongly each patch of the dictionary answers anywhere in it.

Source: Coates and Ng 2012, "Learning feature representations with k-means", sections 2 and 3
(spherical k-means, ZCA, two-sided soft threshold); the maximum over the picture instead of sums.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from clnf.core.errors import DataError

__all__ = ["colours", "dictionary", "strongest"]

_CONTRAST = 0.05  # added to a patch's variance, as flat patches hold only noise
_DRAWN = 60_000  # patches looked at, with repeats
_KEPT = 30_000  # patches clustered, at most; what is left of the drawn ones without flat ones
_ROUNDS = 8  # of clustering
_FLAT = 0.05  # standard deviation of a patch up to which it shows nothing; white has 0
_RIDGE = 0.1  # added to each eigenvalue, so that weak directions are not blown up to noise


def dictionary(x: Tensor, side: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Learn the patches that a set of pictures is made of.

    Args:
        x: pictures in [-1, 1], [N, 3, H, W].
        side: side of a patch in pixels.
        size: number of patches wanted.
        rng: draws which patches are looked at.

    Returns:
        Filters [size, 3, side, side] and offsets [size], decorrelation included.

    Raises:
        DataError: there are no pictures, they are smaller than a patch, or too flat for as many
            patches as wanted.
    """
    if not len(x) or min(x.shape[2:]) < side:
        raise DataError(
            f"no patch of {side}x{side} pixels fits into pictures of shape {tuple(x.shape)}; "
            "give more or larger pictures"
        )
    p = x.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5)
    p = p.reshape(-1, 3 * side * side)
    p = p[torch.randint(len(p), (_DRAWN,), generator=rng)]
    p = p[p.std(1) > _FLAT][:_KEPT]
    if len(p) < size:
        raise DataError(
            f"only {len(p)} of {_DRAWN} patches drawn from {len(x)} pictures are not flat, "
            f"{size} are needed; give pictures that show more"
        )
    p = p - p.mean(1, keepdim=True)
    p = p / (p.var(1, keepdim=True) + _CONTRAST).sqrt()
    centre = p.mean(0)
    value, vector = torch.linalg.eigh(torch.cov((p - centre).T))
    decorrelate = (vector * (value.clamp(min=0) + _RIDGE).rsqrt()) @ vector.T
    z = F.normalize((p - centre) @ decorrelate, dim=1)
    atoms = z[torch.randperm(len(z), generator=rng)[:size]]
    for _ in range(_ROUNDS):
        near, which = (z @ atoms.T).max(1, keepdim=True)
        moved = torch.zeros_like(atoms).index_add_(0, which[:, 0], z * near)
        # A patch that no other resembles stays where it is.
        atoms = torch.where(moved.norm(dim=1, keepdim=True) > 0, F.normalize(moved, dim=1), atoms)
    filters = atoms @ decorrelate
    return filters.reshape(size, 3, side, side), -(filters @ centre)


def strongest(x: Tensor, filters: Tensor, offset: Tensor, stride: int) -> Tensor:
    """How strongly each filter answers anywhere, on patches of mean 0 and contrast 1.

    Args:
        x: pictures in [-1, 1], [B, 3, H, W].
        filters: [K, 3, side, side].
        offset: [K].
        stride: step between patches in pixels.

    Returns:
        Largest max(0, z - 1) and largest max(0, -z - 1) of each filter, [B, 2 K].
    """
    evenly = torch.full_like(filters[:1], 1 / filters[0].numel())
    mean, square = (F.conv2d(y, evenly, stride=stride) for y in (x, x * x))
    contrast = ((square - mean * mean).clamp(min=0) + _CONTRAST).sqrt()
    whole = filters.sum((1, 2, 3))[:, None, None]
    z = (F.conv2d(x, filters, stride=stride) - mean * whole) / contrast + offset[:, None, None]
    return torch.cat([F.relu(z.amax((2, 3)) - 1), F.relu(-z.amin((2, 3)) - 1)], dim=1)


def colours(x: Tensor) -> Tensor:
    """Which colours a picture has and roughly where: [B, 3, H, W] to [B, colours].

    Means of a 4x4 grid, soft histograms of each channel over five levels, and the square root of
    a joint histogram of 4x4x4 colours.
    """
    rough = F.adaptive_avg_pool2d(x, 4).flatten(1)
    levels = [(-8 * (x - at) ** 2).exp().mean((2, 3)) for at in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    third = ((x + 1) / 2 * 3.999).long().clamp(0, 3)
    joint = (third * torch.tensor([16, 4, 1], device=x.device)[:, None, None]).sum(1).flatten(1)
    bins = torch.zeros(len(x), 64, device=x.device)
    bins.scatter_add_(1, joint, torch.ones_like(joint, dtype=bins.dtype))
    return torch.cat([rough, *levels, (bins / joint.shape[1]).sqrt()], dim=1)
