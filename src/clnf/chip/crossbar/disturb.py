"""Half-selected cells: what a write does to those it does not mean.

Rows are written one after the other. While row r has its pulses, its driver and those of the
columns that want one are on at half the amplitude each: the cells that are meant see all of it, the
others of that row and the others of those columns see half. Cells of a row have their pulses at the
same time; up and down go one after the other. A cell is thus half-selected

    n = (most pulses of a cell in its row - its own) + (pulses of its column - its own)

times in each direction, and moves on average by ``share`` of its step each time. No mask shuts
that out, since a mask only keeps a cell from being meant; access transistors do.

Simplified: disturbs have no noise of their own and cause no wear, and the order of rows is not
followed (each half-selected step starts from where the operation left the cell).
"""

import torch
from torch import Tensor

from clnf.devices.pulse_reference import step_at
from clnf.devices.pulses import Cells

__all__ = ["disturb", "half_selected"]

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
    size = len(cells.hidden)
    rows = table.expand(-1, size)
    traits = rows[0], rows[1], rows[2], rows[3]
    window, (up, down) = float((traits[2] - traits[3]).max()), (c.float() for c in counts)
    true = torch.ones(size, dtype=torch.bool, device=up.device)

    def pace(w: Tensor) -> Tensor:
        rise, fall = step_at(w, true, traits, law), step_at(w, ~true, traits, law)
        return share * (up * rise - down * fall)

    parts = max(1, int(float(pace(cells.hidden).abs().max()) / (_MOST * window)) + 1)
    start = cells.hidden.clone()
    for _ in range(parts):
        moved = cells.hidden + pace(cells.hidden) / parts
        cells.hidden.copy_(torch.minimum(torch.maximum(moved, traits[3]), traits[2]))
    if cells.seen is not cells.hidden and cells.seen.data_ptr() != cells.hidden.data_ptr():
        cells.seen.add_(cells.hidden - start)
    return total
