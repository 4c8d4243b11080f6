"""Temperature that changes with time, in steps of one length, factored once.

    C dT/dt + K T = P,  P constant during a step

Two ways, both in modes:

exact   T(t + d) = T_inf + exp(-C^-1 K d) (T(t) - T_inf), T_inf the steady state of P: no error
        in time however long the step, for power that stands still during it
euler   (C / d + K) T(t + d) = C T(t) / d + P: first order in time, cheaper for many layers, and
        what flows out at the end of a step times its length balances the heat to rounding

Legend: Z cells from bottom to top, Y rows, X columns, M modes.
"""

from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from clnf.chip.heat.modes import Modes, decay
from clnf.chip.heat.solve import ladder, outflow_w_k
from clnf.chip.heat.stack import Stack
from clnf.core.errors import ConfigError, ShapeError

__all__ = ["Transient"]

Array = NDArray[np.float64]


@final
class Transient:
    """A stack's temperatures step by step, from that of the coolant.

    Args:
        stack: the layers; all heat capacities known.
        step_s: length of a step, > 0.
        how: see the head of this module.

    Raises:
        DeviceLimitError: a heat capacity is not known.
        ConfigError: the step is not above 0.

    >>> from clnf.chip.heat.stack import tile_stack
    >>> stack = tile_stack(4e-3, 4e-3, cells=(8, 8))
    >>> power = np.zeros(stack.shape); power[4] = 1 / 64
    >>> run = Transient(stack, 1e-3)
    >>> f"{run.step(power)[4].mean():.3f} {run.step(power)[4].mean():.3f}"
    '0.203 0.307'
    """

    def __init__(
        self, stack: Stack, step_s: float, *, how: Literal["exact", "euler"] = "exact"
    ) -> None:
        if not 0 < step_s < float("inf"):
            raise ConfigError(f"a step in time is above 0 s and finite, got {step_s}")
        self.stack, self.step_s, self.how = stack, step_s, how
        cell_m2 = stack.area_m2 / (stack.rows * stack.columns)
        self._store_j_k = cell_m2 * stack.capacities_j_m3k * stack.heights_m
        self._modes = Modes(stack.rows, stack.columns)
        self._now = np.zeros((stack.shape[0], stack.rows * stack.columns))
        self._left: Array | None = None
        if how == "exact":
            self._ladder = ladder(stack, self._modes)
            self._left = _propagator(stack, self._modes, self._store_j_k, step_s)
        else:
            self._ladder = ladder(stack, self._modes, self._store_j_k / step_s)

    def step(self, power_w: Array) -> Array:
        """Let one step pass.

        Args:
            power_w: in each cell meanwhile, [Z, Y, X].

        Returns:
            K above the coolant at the end of the step, [Z, Y, X].

        Raises:
            ShapeError: another shape.
        """
        self.advance(power_w, 1)
        return self.field()

    def advance(self, power_w: Array, steps: int) -> None:
        """Let several steps pass under one power map.

        Raises:
            ShapeError: another shape.
        """
        if power_w.shape != self.stack.shape:
            raise ShapeError(f"power is {list(self.stack.shape)}, got {power_w.shape}")
        source = self._modes.into(power_w)
        if self._left is not None:
            last = self._ladder.solve(source[None].copy())[0]
            for _ in range(steps):
                self._now = last + np.einsum("mij,jm->im", self._left, self._now - last)
            return
        rate = (self._store_j_k / self.step_s)[:, None]
        for _ in range(steps):
            self._now = self._ladder.solve((source + rate * self._now)[None])[0]

    def field(self) -> Array:
        """K above the coolant now, [Z, Y, X]."""
        return self._modes.back(self._now)

    def plane(self, layer: int) -> Array:
        """K above the coolant now in one layer of cells, [Y, X]."""
        return self._modes.back(self._now[layer])

    def mark(self) -> Array:
        """All that is needed to come back to where this is now."""
        return self._now.copy()

    def back(self, mark: Array) -> None:
        """Go back to a mark."""
        self._now = mark.copy()

    def load(self, rise_k: Array) -> None:
        """Go on from another field, [Z, Y, X].

        Raises:
            ShapeError: another shape.
        """
        if rise_k.shape != self.stack.shape:
            raise ShapeError(f"a field is {list(self.stack.shape)}, got {rise_k.shape}")
        self._now = self._modes.into(rise_k)

    @property
    def stored_j(self) -> float:
        """Heat above that at the coolant's temperature."""
        return float((self._store_j_k[:, None, None] * self.field()).sum())

    @property
    def leaving_w(self) -> float:
        """Heat that leaves below at the temperatures now."""
        return float(outflow_w_k(self.stack) * self.field()[0].sum())


def _propagator(stack: Stack, modes: Modes, store_j_k: Array, step_s: float) -> Array:
    """exp(-C^-1 K d) for each mode, [M, Z, Z].

    With roots of C on both sides the matrix is symmetric, and its eigenvectors are orthogonal.
    """
    cell_m2 = stack.area_m2 / (stack.rows * stack.columns)
    g = cell_m2 * stack.couplings_w_m2k
    lateral = cell_m2 * stack.conductivities_w_mk * stack.heights_m
    depth, root = len(store_j_k), np.sqrt(store_j_k)
    whole = np.diag(g + np.append(g[1:], 0.0)) - np.diag(g[1:], 1) - np.diag(g[1:], -1)
    scaled = np.repeat((whole / np.outer(root, root))[None], stack.rows * stack.columns, 0)
    places = np.arange(depth)
    scaled[:, places, places] += modes.ordered(decay(stack))[:, None] * (lateral / store_j_k)
    rate, vectors = np.linalg.eigh(scaled)
    kept = np.einsum("mik,mk,mjk->mij", vectors, np.exp(-rate * step_s), vectors)
    return np.asarray(kept * (root[None, None, :] / root[None, :, None]))
