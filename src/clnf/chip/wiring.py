"""How a layer's weight lies on tiles, and how images become vectors and back.

Legend: B batch, G groups, C channels, R rows, O outputs, T taps of a kernel, P vectors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clnf.chip.kernels import Columns, FlawedColumns

__all__ = ["Part", "Sizes", "Spot", "Wiring", "overlap_add", "windows"]

Sizes = tuple[int, ...]


class Spot(NamedTuple):
    """Where a tile stands in its layer.

    Attributes:
        part: which run of rows it holds, counted within each group.
        group: which group of inputs.
        columns: its columns, counted among all columns of the layer.
        stack: tiles it stands for, where the taps of one channel are more than a tile has rows.
    """

    part: int
    group: int
    columns: slice
    stack: int = 1


class Part(NamedTuple):
    """What reading one run of rows needs: packed weights and the factors around them."""

    weight: Tensor
    power_GC: Tensor
    columns: Columns | FlawedColumns
    variance: Tensor | None  # exact noise
    lone: Tensor | None  # rank-one noise of several groups: one column for each


class Wiring(NamedTuple):
    """What one group of a layer drives and senses; all groups are alike.

    Attributes:
        groups: groups of inputs, each of which meets only its own columns.
        channels: input channels of a group.
        unit: rows that one input channel needs.
        columns: columns of a group.
        turned: the weight's first axis counts inputs, as in a transposed convolution.
    """

    groups: int
    channels: int
    unit: int
    columns: int
    turned: bool = False

    def matrix(self, weight: Tensor) -> Tensor:
        """View anything of the weight's shape as [columns, rows], as tiles are named in it."""
        flat = weight.flatten(1)
        return flat.T if self.turned else flat

    def wired(self, weight: Tensor) -> Tensor:
        """View anything of the weight's shape as [G, columns of a group, rows of a group]."""
        if self.turned:
            return weight.view(self.groups, self.channels, -1).transpose(1, 2)
        return weight.view(self.groups, self.columns, -1)

    def cut(self, weight: Tensor, channels: slice) -> Tensor:
        """The part of a weight that some channels of each group meet."""
        if not self.turned:
            return weight[:, channels]
        grouped = weight.view(self.groups, self.channels, *weight.shape[1:])
        return grouped[:, channels].flatten(0, 1)

    def place(self, group: int, channels: slice, columns: slice) -> tuple[slice, slice]:
        """Rows and columns of a tile, counted in :meth:`matrix`."""
        start, stop = channels.start * self.unit, channels.stop * self.unit
        if self.turned:
            first = group * self.channels
            return slice(first + start, first + stop), columns
        return slice(start, stop), self.sensed(group, columns)

    def spot(self, part: int, group: int, cut: tuple[slice, slice], limit: int) -> Spot:
        """Where the tile of some channels and columns of a group stands, of ``limit`` rows each."""
        channels, columns = cut
        stack = -(-self.unit * (channels.stop - channels.start) // limit)
        return Spot(part, group, self.sensed(group, columns), stack)

    def sensed(self, group: int, columns: slice) -> slice:
        """Columns of one group, counted among all columns of the layer."""
        first = group * self.columns
        return slice(first + columns.start, first + columns.stop)


def windows(x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Tensor:
    """What a sliding kernel sees at each of its positions, for any number of dimensions.

    Args:
        x: [B, C, spatial ...].
        kernel: taps per dimension.
        stride: steps per dimension.
        padding: zeros on both sides of each dimension.
        dilation: distance between taps.

    Returns:
        [B, positions ..., C, taps ...].
    """
    dims = len(kernel)
    x = F.pad(x, [p for p in reversed(padding) for _ in range(2)])
    for d in range(dims):
        reach = dilation[d] * (kernel[d] - 1) + 1
        x = x.unfold(2 + d, reach, stride[d])[..., :: dilation[d]]
    return x.movedim(1, 1 + dims)


def overlap_add(
    parts: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes, size: Sequence[int]
) -> Tensor:
    """Add up overlapping windows, the adjoint of :func:`windows`.

    Args:
        parts: [B, positions ..., C, taps ...].
        stride: steps per dimension.
        padding: how much of the border is cut away on both sides.
        dilation: distance between taps.
        size: spatial size of the result.

    Returns:
        [B, C, size ...].
    """
    dims = len(stride)
    positions, kernel = parts.shape[1 : 1 + dims], parts.shape[2 + dims :]
    reach = [
        max((n - 1) * s + d * (k - 1) + 1, want + 2 * p)
        for n, s, d, k, want, p in zip(
            positions, stride, dilation, kernel, size, padding, strict=True
        )
    ]
    whole = parts.new_zeros(len(parts), *reach, parts.shape[1 + dims])
    taps = torch.cartesian_prod(*(torch.arange(k) for k in kernel)).view(-1, dims).tolist()
    for tap in taps:
        where = [
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilation, positions, stride, strict=True)
        ]
        whole[(slice(None), *where)] += parts[(..., *tap)]
    inner = [slice(p, p + want) for p, want in zip(padding, size, strict=True)]
    return whole[(slice(None), *inner)].movedim(-1, 1)
