"""Half-selected cells: what a write does to those it does not mean.

Rows are written one after the other. While row r has its pulses, its driver and those of the
columns that want one are on at half the amplitude each: the cells that are meant see all of it, the
others of that row and the others of those columns see half. Cells of a row have their pulses at the
same time; up and down go one after the other. A cell is thus half-selected

    n = (most pulses of a cell in its row - its own) + (pulses of its column - its own)

times in each direction, and moves on average by ``share`` of its step each time. No mask shuts
that out, since a mask only keeps a cell from being meant; access transistors do.

A linear law of steps has its sum in closed form, a = dw slope / abs(bound):

    w += (n_up dw_up left_up - n_down dw_down left_down) (1 - keep) / (n_up a_up + n_down a_down)
    left = 1 - slope w / bound,  keep = (1 - share a_up)^n_up (1 - share a_down)^n_down

exact for one direction, and for both an even mixture of them. Other laws are summed in small steps.

Simplified: disturbs have no noise of their own and cause no wear, and the order of rows is not
followed (each half-selected step starts from where the operation left the cell).
"""

import torch
from torch import Tensor

from clnf.devices import pulses
from clnf.devices.pulse_reference import Cell, step_at
from clnf.devices.pulses import Cells

__all__ = ["disturb", "half_selected", "moved_at_once"]

_MOST = 0.05  # of the window, in one step of the sum below


def half_selected(own_CR: Tensor) -> Tensor:
    """How often each cell is half-selected, [C, R], by pulses of one direction.

    Args:
        own_CR: pulses of each cell, >= 0.

    >>> half_selected(torch.tensor([[2, 0], [1, 0]]))
    tensor([[0, 2],
            [1, 1]])
    """
    rows, columns = own_CR.amax(0, keepdim=True), own_CR.sum(1, keepdim=True)
    return (rows - own_CR) + (columns - own_CR)


def disturb(
    cells: Cells, before: Cells, law: Tensor, table: Tensor, shape: tuple[int, int], share: float
) -> int:
    """Move the half-selected cells of one plane after an operation.

    Args:
        cells: as the operation left them; moved in place.
        before: copies of what they were.
        law: of their steps.
        table: steps and bounds, [4, M] or [4, 1].
        shape: columns and rows.
        share: mean step of a half-selected cell over that of a meant one.

    Returns:
        Half-selected pulses.
    """
    own = (cells.wear - before.wear).view(shape)
    rising = (cells.hidden >= before.hidden).view(shape)
    counts = [half_selected(torch.where(way, own, 0)).view(-1) for way in (rising, ~rising)]
    total = int(counts[0].sum() + counts[1].sum())
    if total == 0:
        return 0
    rows = table.expand(-1, len(cells.hidden))
    traits, times = (rows[0], rows[1], rows[2], rows[3]), (counts[0].float(), counts[1].float())
    whole = moved_at_once if law[pulses.KIND] == 0 else _in_parts
    start = cells.hidden.clone()
    cells.hidden.copy_(whole(start, times, traits, law, share))
    if cells.seen is not cells.hidden and cells.seen.data_ptr() != cells.hidden.data_ptr():
        cells.seen.add_(cells.hidden - start)
    return total


def moved_at_once(
    w: Tensor, times: tuple[Tensor, Tensor], traits: Cell, law: Tensor, share: float
) -> Tensor:
    """Where a linear law leaves cells after half-selected pulses, in closed form.

    Args:
        w: hidden weights, [M].
        times: pulses up and pulses down of each cell, [M].
        traits: steps up and down, upper and lower bounds, [M] each.
        law: of the steps.
        share: mean step of a half-selected cell over that of a meant one.
    """
    pace, ends, log_keep = torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w)
    for up, count, step, bound in zip((True, False), times, traits[:2], traits[2:], strict=True):
        way, slope = bound.abs(), law[pulses.SHAPE_UP if up else pulses.SHAPE_DOWN]
        there = way > 0
        step = torch.where(step * slope > way, way / slope, step)  # none goes beyond its end
        left = torch.where(there, 1.0 - slope * (w / bound), 0.0)
        each = torch.where(there, step * slope / way, 0.0)
        pace = pace + (count * step * left if up else -count * step * left)
        ends = ends + count * each
        log_keep = log_keep + torch.special.xlog1py(count, -share * each)
    gone = torch.where(ends > 0, -torch.expm1(log_keep) / ends, share)
    return torch.minimum(torch.maximum(w + pace * gone, traits[3]), traits[2])


def _in_parts(
    w: Tensor, times: tuple[Tensor, Tensor], traits: Cell, law: Tensor, share: float
) -> Tensor:
    """Where any law leaves cells, part by part."""
    up, down = times
    window = float((traits[2] - traits[3]).max())
    true = torch.ones(len(w), dtype=torch.bool, device=w.device)

    def pace(w: Tensor) -> Tensor:
        rise, fall = step_at(w, true, traits, law), step_at(w, ~true, traits, law)
        return share * (up * rise - down * fall)

    parts = max(1, int(float(pace(w).abs().max()) / (_MOST * window)) + 1)
    for _ in range(parts):
        w = torch.minimum(torch.maximum(w + pace(w) / parts, traits[3]), traits[2])
    return w
