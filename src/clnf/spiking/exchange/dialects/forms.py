"""What readers of other tools have in common: explicit steps, and potentials in other units.

Inputs and weights stay as they are; potentials may be shifted and scaled as a whole, which moves no
spike. ``needs`` is the threshold in inputs of 1 above rest.
"""

from typing import Any

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.dialects.step import Step, same
from clnf.spiking.exchange.graph import Array, Node

__all__ = ["LONG", "alike", "explicit", "levels", "needs", "uniform", "wide"]

LONG = 1e9  # steps of a time constant whose decay is 1 in float32


def wide(node: Node, name: str) -> Array:
    """A field as float64."""
    return node.array(name).astype(np.float64)


def alike(node: Node, name: str) -> float:
    """The one value of a field.

    Raises:
        DataError: cells differ in it.
    """
    found = wide(node, name)
    if not found.size or not (found == found.flat[0]).all():
        raise DataError(f"{name} must be the same for all cells of a population")
    return float(found.flat[0])


def explicit(decay: Array, dt_s: float) -> Array:
    """The time constant whose explicit step keeps so much, 1 - dt/tau = decay."""
    with np.errstate(divide="ignore"):
        return np.minimum(dt_s / (1.0 - decay), LONG * dt_s)


def needs(step: Step) -> Array:
    """Threshold in inputs of 1 above rest.

    Raises:
        DataError: it is a read-out, or inputs count nothing.
    """
    if step.threshold is None:
        raise DataError("it has no cells without spikes that would do this")
    if not (step.gain > 0).all():
        raise DataError("inputs add nothing, or less; no threshold in units of an input says that")
    return np.asarray((step.threshold - step.rest) / step.gain)


def levels(step: Step) -> Array:
    """The reset in inputs of 1 above rest; 0 for one by subtraction."""
    if step.reset is None:
        return np.zeros(1)
    return np.asarray((step.reset - step.rest) / step.gain)


def uniform(name: str, value: Any) -> float:
    """The one value of what must be alike for all cells.

    Raises:
        DataError: it is not.
    """
    found = np.asarray(value, np.float64).reshape(-1)
    if not same(found, found[0], 1e-6):
        raise DataError(f"{name} must be the same for all cells of a population")
    return float(found[0])
