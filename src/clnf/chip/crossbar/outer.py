"""How outer products become trains of pulses, and which kernels apply them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.devices import (
    batch_moves,
    coincidence_reference,
    encoders,
    pulse_reference,
    trains,
)
from clnf.devices.bit_counts import BATCH
from clnf.devices.dispatch import run
from clnf.devices.pulses import Cells

__all__ = [
    "BATCHED", "ONE_BY_ONE", "PRODUCTS", "TRAIN_BITS", "Hand", "How", "Ready", "encoded",
    "pulsing",
]  # fmt: skip

# Bits of a pulse train.
TRAIN_BITS = 31


@final
class How(NamedTuple):
    """How an outer product becomes pulses.

    Attributes:
        even: bits evenly spread, not by chance.
        together: coincidences of a batch are summed first; else vector after vector.
    """

    even: bool = False
    together: bool = False


@final
class Hand(NamedTuple):
    """What a kernel takes of a plane time after time, and the tensors whose arrays these are.

    ``fence`` is [C, R]; ``scale`` are the weights at full scale of columns.
    """

    cells: Cells
    law: NDArray[np.float32]
    table: NDArray[np.float32]
    fence: NDArray[np.float32]
    scale: NDArray[np.float32]
    held: tuple[Tensor, ...]


@final
class Ready(NamedTuple):
    """Arguments of :func:`clnf.devices.batch_moves.pulse_vectors`, and the plane they are of."""

    job: tuple[Any, ...]
    plane: int


ONE_BY_ONE = How()
# The kernel that draws random trains of a batch and applies them, and its twin.
PRODUCTS = batch_moves.pulse_products, coincidence_reference.pulse_products
# Kernels whose moves take paces, see :func:`clnf.devices.batch_maths.paces`.
BATCHED = (batch_moves.pulse_products, batch_moves.pulse_batch, batch_moves.pulse_lines)


def pulsing(how: How) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The kernel that applies trains, and its twin."""
    if how.together:
        return batch_moves.pulse_batch, coincidence_reference.pulse_batch
    return trains.pulse_outer, pulse_reference.pulse_outer


def encoded(
    lines: tuple[Tensor, Tensor],
    scales: tuple[float, float],
    how: How,
    keys: Sequence[NDArray[np.uint32]],
    operation: int,
    *,
    compiled: bool,
) -> tuple[Tensor, Tensor]:
    """Trains of the rows and columns of one operation, but random ones of a batch.

    Args:
        lines: rows [N, R] and columns [N, C], contiguous.
        scales: what makes probabilities with signs of them.
        how: by chance or evenly spread.
        keys: two words for each.
        operation: its number, from which evenly spread trains take their phases.
        compiled: use compiled kernels on the CPU.
    """
    made = []
    for role, (line, scale, key) in enumerate(zip(lines, scales, keys, strict=True)):
        # Words of 32 bits; few operations know them off the CPU, so there they are int64.
        dtype = torch.uint32 if line.is_cpu else torch.int64
        words = torch.empty(line.shape, dtype=dtype, device=line.device)
        args: tuple[Any, ...]
        kernel: Callable[..., Any]
        plain: Callable[..., Any]
        if how.even:
            args = line * scale, TRAIN_BITS, role, operation * BATCH % 2**32, key, words
            kernel, plain = encoders.encode_even, coincidence_reference.encode_even
        else:
            args = line * scale, TRAIN_BITS, key, words
            kernel, plain = trains.encode, pulse_reference.encode
        run(kernel, plain, args, compiled=compiled)
        made.append(words)
    return made[0], made[1]
