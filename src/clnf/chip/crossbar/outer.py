"""How outer products become trains of pulses, and which kernels apply them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.devices import coincidence_reference, coincidences, encoders, pulse_reference, trains
from clnf.devices.counting import BATCH
from clnf.devices.dispatch import run

__all__ = ["ONE_BY_ONE", "TRAIN_BITS", "How", "encoded", "pulsing"]

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


ONE_BY_ONE = How()


def pulsing(how: How) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The kernel that applies trains, and its twin."""
    if how.together:
        return coincidences.pulse_batch, coincidence_reference.pulse_batch
    return trains.pulse_outer, pulse_reference.pulse_outer


def encoded(
    lines: tuple[Tensor, Tensor],
    how: How,
    keys: Sequence[NDArray[np.uint32]],
    operation: int,
    *,
    compiled: bool,
) -> tuple[Tensor, Tensor]:
    """Trains of the rows and columns of one operation.

    Args:
        lines: probabilities with signs, of rows [N, R] and columns [N, C].
        how: by chance or evenly spread.
        keys: two words for each.
        operation: its number, from which evenly spread trains take their phases.
        compiled: use compiled kernels on the CPU.
    """
    made = []
    for role, (value, key) in enumerate(zip(lines, keys, strict=True)):
        # Words of 32 bits; few operations know them off the CPU, so there they are int64.
        dtype = torch.uint32 if value.is_cpu else torch.int64
        words = torch.empty(value.shape, dtype=dtype, device=value.device)
        args: tuple[Any, ...] = (value, TRAIN_BITS, key, words)
        kernel: Callable[..., Any] = trains.encode
        plain: Callable[..., Any] = pulse_reference.encode
        if how.even:
            args = (value, TRAIN_BITS, role, operation * BATCH % 2**32, key, words)
            kernel, plain = encoders.encode_even, coincidence_reference.encode_even
        elif how.together:
            kernel, plain = encoders.encode_random, coincidence_reference.encode_random
        run(kernel, plain, args, compiled=compiled)
        made.append(words)
    return made[0], made[1]
