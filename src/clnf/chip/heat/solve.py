"""Steady temperature of a layered stack, exact for its finite volumes.

Sides let no heat through and layers are uniform, so cosines along rows and columns part the
problem: for each mode of lateral eigenvalue lam one tridiagonal system is left along the layers,

    (k_i dz_i lam + g_(i-1) + g_i) T_i - g_(i-1) T_(i-1) - g_i T_(i+1) = P_i,

factored once for a stack. A solve is a transform, one sweep up and down, and a transform back.
Where heat comes from few layers and is asked for in few, each mode is one small dense product.

Legend: N fields, Z cells from bottom to top, Y rows, X columns, M = Y X modes, S source layers,
O layers asked for. Powers are W in a cell, temperatures K above the coolant.
"""

from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from clnf.chip.heat import kernels
from clnf.chip.heat.modes import Modes, decay
from clnf.chip.heat.stack import Stack
from clnf.core.errors import ShapeError

__all__ = ["Ladder", "Steady", "ladder", "outflow_w_k"]

Array = NDArray[np.float64]


class Ladder(NamedTuple):
    """Factors of one tridiagonal system a mode, in W/K, each [Z, M]."""

    inverse: Array
    link: Array

    def solve(self, amplitudes: Array) -> Array:
        """Solve [N, Z, M] in place, and give it back."""
        kernels.sweep(self.inverse, self.link, amplitudes)
        return amplitudes


def ladder(stack: Stack, modes: Modes, extra_w_k: Array | None = None) -> Ladder:
    """Factor the stack's modes.

    Args:
        stack: the layers.
        modes: in whose order.
        extra_w_k: added to the diagonal of each layer, [Z]; what a step in time adds.
    """
    cell_m2 = stack.area_m2 / (stack.rows * stack.columns)
    couplings = cell_m2 * stack.couplings_w_m2k
    lateral = cell_m2 * stack.conductivities_w_mk * stack.heights_m
    own = couplings + np.append(couplings[1:], 0.0)
    if extra_w_k is not None:
        own = own + extra_w_k
    diagonal = own[:, None] + lateral[:, None] * modes.ordered(decay(stack))
    inverse, link = np.empty_like(diagonal), np.empty_like(diagonal)
    kernels.factor(diagonal, np.append(couplings[1:], 0.0), inverse, link)
    return Ladder(inverse, link)


@final
class Steady:
    """Steady state of one stack, factored once, for any number of power maps.

    Args:
        stack: the layers.
        sources: layers (numbers from bottom to top) that :meth:`planes` takes power in.
        outputs: layers it gives; all where left out.

    >>> from clnf.chip.heat.stack import tile_stack
    >>> stack = tile_stack(4e-3, 4e-3, cells=(8, 8))
    >>> power = np.zeros(stack.shape); power[4] = 1 / 64
    >>> f"{Steady(stack).field(power)[4].mean():.2f}"
    '3.22'
    """

    def __init__(
        self,
        stack: Stack,
        *,
        sources: tuple[int, ...] = (),
        outputs: tuple[int, ...] = (),
    ) -> None:
        self.stack = stack
        self.modes = Modes(stack.rows, stack.columns)
        self.ladder = ladder(stack, self.modes)
        depth = stack.shape[0]
        self.sources = sources or tuple(range(depth))
        self.outputs = outputs or tuple(range(depth))
        self._transfer: Array | None = None

    def field(self, power_w: Array) -> Array:
        """Temperature of every cell.

        Args:
            power_w: in each cell, [Z, Y, X] or [N, Z, Y, X].

        Returns:
            K above the coolant, of the same shape.

        Raises:
            ShapeError: another shape, or a power that is not finite.
        """
        self._check(power_w, self.stack.shape)
        amplitudes = self.modes.into(power_w)
        self.ladder.solve(amplitudes.reshape(-1, *amplitudes.shape[-2:]))
        return self.modes.back(amplitudes)

    def planes(self, power_w: Array) -> Array:
        """Temperature of the layers asked for, from power in the source layers alone.

        Args:
            power_w: in each cell of the sources, [S, Y, X] or [N, S, Y, X].

        Returns:
            K above the coolant in each cell of the outputs, [O, Y, X] or [N, O, Y, X].

        Raises:
            ShapeError: another shape, or a power that is not finite.
        """
        _, rows, columns = self.stack.shape
        self._check(power_w, (len(self.sources), rows, columns))
        transfer = self._transferred()
        amplitudes = self.modes.into(power_w)
        if transfer.shape[1] == 1:
            found = transfer[:, 0] * amplitudes
        else:
            found = (transfer * amplitudes[..., None, :, :]).sum(-2)
        return self.modes.back(found)

    def _transferred(self) -> Array:
        """Kelvins at each output for a watt at each source by mode, [O, S, M]."""
        if self._transfer is None:
            units = np.zeros((len(self.sources), *self.ladder.link.shape))
            units[np.arange(len(self.sources)), list(self.sources)] = 1.0
            answers = self.ladder.solve(units)[:, list(self.outputs)]
            self._transfer = np.ascontiguousarray(answers.swapaxes(0, 1))
        return self._transfer

    def carried_w(self, rise_k: Array) -> float:
        """Heat that leaves below at the temperatures of a :meth:`field`, in W."""
        return float(outflow_w_k(self.stack) * rise_k[..., 0, :, :].sum())

    @staticmethod
    def _check(power_w: Array, shape: tuple[int, ...]) -> None:
        if power_w.ndim not in (3, 4) or power_w.shape[-3:] != shape:
            raise ShapeError(f"power is {list(shape)} or [fields, ...], got {power_w.shape}")
        if not np.isfinite(power_w).all():
            raise ShapeError("power is finite in every cell; some is not, look for NaN")


def outflow_w_k(stack: Stack) -> float:
    """Conductance of one lowest cell to the coolant, in W/K."""
    cell_m2 = stack.area_m2 / (stack.rows * stack.columns)
    return float(cell_m2 * stack.couplings_w_m2k[0])
