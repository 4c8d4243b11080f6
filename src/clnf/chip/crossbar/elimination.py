"""Exact wires by elimination: the whole crossbar as one matrix, in plain torch on any device."""

import torch
from torch import Tensor

__all__ = ["eliminated"]

_AT_ONCE = 1 << 15  # numbers of each kind for word lines that are worked out together


def eliminated(cells: Tensor, word: float, feed: float, bit: float, ground: float) -> Tensor:
    """Effective conductance where rows are fed at column 0 and columns end at row 0.

    With the word line of row i at rest, its cells are the network N_i = G - G A_i^-1 G between
    the columns. The columns below add theirs in series with a segment: K_i = N_i + series(K_{i+1}).
    Ladders and series are sums and products of conductances, so small resistances lose no digits;
    N_i is a difference, and loses them where wires resist far more than cells.

    Args:
        cells: conductances of one crossbar or of several alike, float64 [..., rows, cols].
        word: conductance of a word line's segment.
        feed: conductance between a row's driver and its first node.
        bit: conductance of a bit line's segment.
        ground: conductance between a column's last node and ground.

    Returns:
        Shape of ``cells``.
    """
    several, n = cells.shape[:-2], cells.shape[-1]
    reach, depth = _word_lines(cells, word, feed)
    # What the columns conduct between each other so far, and per volt at a row what they carry.
    between = cells.new_zeros(*several, n, n)
    carried = between[..., :0, :]
    at_once = max(_AT_ONCE // between.numel(), 1)
    for stop in range(cells.shape[-2], 0, -at_once):
        start = max(stop - at_once, 0)
        far, deep, some = (line[..., start:stop, :] for line in (reach, depth, cells))
        spread, pairs, into = _inside(far, deep, some, feed)
        for i in range(stop - start - 1, -1, -1):
            network = torch.addcmul(between, pairs[..., i, :, :], spread[..., i, :, :], value=-1.0)
            network.diagonal(dim1=-2, dim2=-1).add_(cells[..., start + i, :])
            onward = bit if start + i else ground
            grounded = network.clone()
            grounded.diagonal(dim1=-2, dim2=-1).add_(onward)
            # LAPACK counts along columns: symmetric matrices and right sides are handed over
            # turned.
            root = torch.linalg.cholesky(grounded.mT)
            asked = torch.cat([into[..., i : i + 1, :], carried, network], -2)
            solved = onward * torch.cholesky_solve(asked.mT, root).mT
            carried, between = solved[..., :-n, :], solved[..., -n:, :]
    return carried


def _inside(
    reach: Tensor, depth: Tensor, cells: Tensor, feed: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What word lines are between the columns.

    Returns:
        Voltage at node j of each word line per ampere into node k, products of their cells, both
        [..., rows, n, n], and what a volt at the driver carries into each column, [..., rows, n].
    """
    place = torch.arange(cells.shape[-1], device=cells.device)
    deeper = torch.where(place[:, None] >= place, depth[..., :, None], depth[..., None, :])
    spread = (reach[..., :, None] - reach[..., None, :]).abs_().neg_().exp_() * deeper
    return spread, cells[..., :, None] * cells[..., None, :], cells * spread[..., 0] * feed


def _word_lines(cells: Tensor, word: float, feed: float) -> tuple[Tensor, Tensor]:
    """Word lines with columns at rest, by sums of positive conductances.

    Returns:
        Minus the logarithm of how a voltage at node k arrives at node 0, and the voltage at node
        k per ampere into it, of the shape of ``cells``.
    """
    columns = cells.unbind(-1)
    left = [torch.full_like(columns[0], feed)]
    for cell in columns[:-1]:
        inside = cell + left[-1]
        left.append(word * inside / (inside + word))
    right = [torch.zeros_like(columns[0])]
    for cell in columns[:0:-1]:
        inside = cell + right[-1]
        right.append(word * inside / (inside + word))
    from_left, from_right = torch.stack(left, -1), torch.stack(right[::-1], -1)
    passed = ((cells + from_left) / word).log1p()  # pivot over segment
    reach = passed.cumsum(-1) - passed
    return reach, 1.0 / (cells + from_left + from_right)
