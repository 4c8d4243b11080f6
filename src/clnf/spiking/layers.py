"""Populations as torch modules: parameters, and nothing else, over the pure functions.

``module(x)`` gives what comes out of all steps, from rest, so modules stand in an
``nn.Sequential``; ``module.run(x, state)`` also takes a state and gives the one after.

    x [T, B, N] -> spikes [T, B, N],   for Readout potentials [T, B, N]
"""

from abc import abstractmethod
from dataclasses import fields, replace
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import instance, seconds, shown, whole
from clnf.core.rng import torch_rng
from clnf.spiking.cells import AbstractCell
from clnf.spiking.coefficients import Coefficients, check_finite
from clnf.spiking.over_time import leak_over_time, recurrent_over_time, spike_over_time
from clnf.spiking.steps import State
from clnf.spiking.surrogates import AbstractSurrogate, Triangle

__all__ = ["AbstractPopulation", "Neurons", "Readout", "RecurrentNeurons", "drawn", "slope_of"]


def drawn(seed: int, *shape: int, scale: float) -> nn.Parameter:
    """Weights uniform in +-scale, from a seed; under torch.device("meta") sizes without values."""
    if torch.get_default_device().type == "meta":
        return nn.Parameter(torch.empty(shape))
    values = torch.rand(shape, generator=torch_rng(seed, "weights", *shape))
    return nn.Parameter((values * 2 - 1) * scale)


def slope_of(surrogate: AbstractSurrogate | None) -> AbstractSurrogate:
    """A surrogate as it was given, or the triangle that stands for none.

    Raises:
        ConfigError: it is no surrogate.
    """
    kind: Any = AbstractSurrogate
    made = instance("surrogate", surrogate or Triangle(), kind, "give one, such as Triangle()")
    return cast(AbstractSurrogate, made)


class AbstractPopulation(nn.Module):
    """Cells of one kind with a time step.

    Tensors among the cells' parameters are buffers of the module, or parameters if they are
    ``nn.Parameter``; these learn, by the plain path. Inputs are taken as they come: one that is not
    a number makes its cell silent from there on, by kernels as by the plain path.

    Args:
        cell: whose equations hold.
        dt_s: seconds of a step.
        kernels: False for the plain path always.
        spikes: what the cell must do.

    Raises:
        ConfigError: the cell is of the other kind or has parameters that are not finite, or
            ``dt_s`` does not suit it.
    """

    def __init__(self, cell: AbstractCell, *, dt_s: float, kernels: bool, spikes: bool) -> None:
        super().__init__()
        if not isinstance(cell, AbstractCell) or cell.spikes != spikes:
            kind = "one that spikes, such as LIF()" if spikes else "a read-out, such as LI()"
            raise ConfigError(f"cell must be {kind}, got {shown(cell)}; give another")
        check_finite(cell)
        self.dt_s = seconds("dt_s", dt_s)
        self.kernels, self._cell = kernels, cell
        self._tensors = []
        for field in fields(cell):
            value = getattr(cell, field.name)
            if isinstance(value, Tensor):
                self._tensors.append(field.name)
                if isinstance(value, nn.Parameter):
                    self.register_parameter(field.name, value)
                else:
                    self.register_buffer(field.name, value)
        cell.coefficients(self.dt_s)

    @property
    def cell(self) -> AbstractCell:
        """The cells with their parameters as they are now."""
        if not self._tensors:
            return self._cell
        return replace(self._cell, **{name: getattr(self, name) for name in self._tensors})

    def coefficients(self) -> Coefficients:
        """What a step does."""
        return self.cell.coefficients(self.dt_s)

    def fit(self, shape: tuple[int, ...]) -> None:
        """Refuse a population whose cells' parameters are of another shape.

        Args:
            shape: of the population, [N] or more axes.

        Raises:
            ShapeError: a tensor among the parameters does not spread to it.
        """
        for name in self._tensors:
            own = tuple(getattr(self, name).shape)
            pairs = zip(reversed(own), reversed(shape), strict=False)
            if len(own) > len(shape) or any(one not in (1, full) for one, full in pairs):
                raise ShapeError(
                    f"{name} has the shape {[*own]} and its population {[*shape]}; give one value "
                    "for each cell, or a number"
                )

    @abstractmethod
    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """All steps from a state: what comes out and the state after.

        Args:
            x: inputs [T, B, N].
            state: before; None for rest.
        """

    def forward(self, x: Tensor) -> Tensor:
        """All steps from rest: what comes out, [T, B, N]."""
        return self.run(x)[0]

    def extra_repr(self) -> str:
        """The cell and the step."""
        return f"{type(self._cell).__name__}, dt_s={self.dt_s}"


@final
class Neurons(AbstractPopulation):
    """Spiking cells, each by itself; any number of axes after steps and samples.

    Args:
        cell: one that spikes.
        dt_s: seconds of a step.
        surrogate: slope of spikes; None for a triangle as wide as half a volt.
        kernels: False for the plain path always.

    >>> from clnf.spiking.cells import LIF
    >>> neurons = Neurons(LIF(tau_s=10e-3), dt_s=1e-3)
    >>> neurons(torch.full((6, 1, 1), 0.4)).flatten()
    tensor([0., 0., 1., 0., 0., 1.])
    """

    def __init__(
        self,
        cell: AbstractCell,
        *,
        dt_s: float,
        surrogate: AbstractSurrogate | None = None,
        kernels: bool = True,
    ) -> None:
        super().__init__(cell, dt_s=dt_s, kernels=kernels, spikes=True)
        self.surrogate = slope_of(surrogate)

    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if self._tensors and isinstance(x, Tensor):
            self.fit(tuple(x.shape[2:]))
        return spike_over_time(x, self.coefficients(), self.surrogate, state, kernels=self.kernels)


@final
class RecurrentNeurons(AbstractPopulation):
    """Spiking cells whose spikes come back one step later through weights [N, N], post by pre.

    Args:
        cell: one that spikes.
        size: cells, N.
        dt_s: seconds of a step.
        surrogate: slope of spikes; None for a triangle as wide as half a volt.
        seed: of the first weights, uniform in +-1/sqrt(N) thresholds.
        kernels: False for the plain path always.
    """

    def __init__(
        self,
        cell: AbstractCell,
        size: int,
        *,
        dt_s: float,
        surrogate: AbstractSurrogate | None = None,
        seed: int = 0,
        kernels: bool = True,
    ) -> None:
        super().__init__(cell, dt_s=dt_s, kernels=kernels, spikes=True)
        self.surrogate = slope_of(surrogate)
        self.fit((whole("size", size, least=1),))
        self.weight = drawn(seed, size, size, scale=size**-0.5)

    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return recurrent_over_time(
            x, self.weight, self.coefficients(), self.surrogate, state, kernels=self.kernels
        )


@final
class Readout(AbstractPopulation):
    """Potentials without spikes, [T, B, N] in volts.

    Args:
        cell: a read-out, LI or CubaLI.
        dt_s: seconds of a step.
        kernels: False for the plain path always.
    """

    def __init__(self, cell: AbstractCell, *, dt_s: float, kernels: bool = True) -> None:
        super().__init__(cell, dt_s=dt_s, kernels=kernels, spikes=False)

    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if self._tensors and isinstance(x, Tensor):
            self.fit(tuple(x.shape[2:]))
        return leak_over_time(x, self.coefficients(), state, kernels=self.kernels)
