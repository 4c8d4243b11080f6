"""Exact wires by elimination: the whole crossbar as one matrix, in plain torch on any device."""

import torch
from torch import Tensor

__all__ = ["eliminated"]


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
    place = torch.arange(n, device=cells.device)
    later = torch.maximum(place[:, None], place).flatten()
    # What the columns conduct between each other so far, and per volt at a row what they carry.
    between = cells.new_zeros(*several, n, n)
    carried = between[..., :0, :]
    for i in range(cells.shape[-2] - 1, -1, -1):
        cell, far = cells[..., i, :], reach[..., i, :]
        # Voltage at node j of the word line per ampere into node k.
        deeper = depth[..., i, :].index_select(-1, later).view(*several, n, n)
        spread = (-(far[..., :, None] - far[..., None, :]).abs()).exp() * deeper
        network = torch.addcmul(
            between, cell[..., :, None] * cell[..., None, :], spread, value=-1.0
        )
        network.diagonal(dim1=-2, dim2=-1).add_(cell)
        into = cell * spread[..., 0] * feed
        onward = bit if i else ground
        grounded = network.clone()
        grounded.diagonal(dim1=-2, dim2=-1).add_(onward)
        # LAPACK counts along columns: symmetric matrices and right sides are handed over turned.
        root = torch.linalg.cholesky(grounded.mT)
        asked = torch.cat([into[..., None, :], carried, network], -2)
        solved = onward * torch.cholesky_solve(asked.mT, root).mT
        carried, between = solved[..., :-n, :], solved[..., -n:, :]
    return carried


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
