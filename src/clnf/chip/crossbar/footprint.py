"""How much memory the state of a crossbar takes."""

import torch

from clnf.chip.crossbar.array import Crossbar

__all__ = ["state_bytes"]


def state_bytes(tile: Crossbar) -> int:
    """Bytes of all tensors a crossbar keeps, each memory counted once.

    What wires left of each cell at the last read is no state, nor is what kernels work out of steps
    and bounds beforehand: both are made again when needed.
    """
    kept = [value for value in vars(tile).values() if isinstance(value, torch.Tensor)]
    memory = [tensor.untyped_storage() for tensor in (*kept, *tile.tables) if tensor.numel()]
    return sum({part.data_ptr(): part.nbytes() for part in memory}.values())
