"""Running statistics of normalisation layers: what a forward pass moves besides gradients."""

from typing import final

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["Running"]


@final
class Running:
    """The running means, variances and counts inside a model.

    Args:
        model: whose normalisation layers are meant; there may be none, and it may be no module.

    >>> norm = nn.BatchNorm1d(2)
    >>> held = Running(norm).now()
    >>> [before.shape == buffer.shape for buffer, before in held]
    [True, True, True]
    """

    def __init__(self, model: object) -> None:
        inside = model.modules() if isinstance(model, nn.Module) else ()
        self._norms = [module for module in inside if isinstance(module, _NormBase)]

    def now(self) -> list[tuple[Tensor, Tensor]]:
        """Each buffer beside a copy of what it holds."""
        return [(b, b.clone()) for module in self._norms for b in module.buffers(recurse=False)]
