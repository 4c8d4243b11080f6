"""Layers in a row, with the states of all of them."""

from typing import final

from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.inputs import shown
from clnf.spiking.layers import AbstractPopulation
from clnf.spiking.steps import State

__all__ = ["Chain"]

States = tuple[State | None, ...]


@final
class Chain(nn.Sequential):
    """A row of modules over time, of which populations have a state.

    As ``nn.Sequential``; ``run`` also takes and gives states, one for each module, None for those
    without. A module without a state gets all steps at once, [T, B, ...].

    >>> import torch
    >>> from clnf.spiking.cells import LI, LIF
    >>> from clnf.spiking.layers import Neurons, Readout
    >>> chain = Chain(Neurons(LIF(), dt_s=1e-3), nn.Linear(4, 2), Readout(LI(), dt_s=1e-3))
    >>> out, states = chain.run(torch.ones(5, 3, 4))
    >>> out.shape, [state is None for state in states]
    (torch.Size([5, 3, 2]), [False, True, False])
    """

    def run(self, x: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """All steps from states: what comes out and the states after.

        Args:
            x: inputs [T, B, ...].
            states: one for each module; None for rest.

        Raises:
            ConfigError: not one state for each module.
        """
        before = states or (None,) * len(self)
        if not isinstance(before, tuple | list) or len(before) != len(self):
            raise ConfigError(
                f"states are one for each of {len(self)} modules, None for those without, got "
                f"{len(before) if isinstance(before, tuple | list) else shown(before)}; give "
                "those that run gave"
            )
        after: list[State | None] = []
        for module, state in zip(self, before, strict=True):
            if isinstance(module, AbstractPopulation):
                x, now = module.run(x, state)
                after.append(now)
            else:
                x = module(x)
                after.append(None)
        return x, tuple(after)
