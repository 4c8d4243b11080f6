"""Pictures too faint for a sensor of few bits, seen by help of noise."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from clnf.chip.resonance.theory import Quantiser, mean_square_error
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.units import quantity
from clnf.devices.draws import hash_normals

__all__ = ["Dither", "best_dither", "see"]

_LEVELS = 65  # contrasts over which the error is averaged
_GAIN = 0.05  # least share of the error that must go before noise is worth its looks


@final
@dataclass(frozen=True, kw_only=True)
class Dither:
    """The noise with which a faint picture is seen best.

    Attributes:
        sigma: spread of what is added, in units of full scale; 0 where none helps.
        error: root-mean-square error of the mean of all looks, in full scales.
        at_zero: the same without adding any.
    """

    sigma: float = quantity("1")
    error: float = quantity("1")
    at_zero: float = quantity("1")

    @property
    def sentence(self) -> str:
        """The finding in words."""
        both = f"error {self.error:.3g} of full scale against {self.at_zero:.3g} without"
        if self.sigma:
            return f"noise of {self.sigma:.3g} of full scale helps: {both}"
        return f"no noise helps, add none: the best gave {both}"


def see(picture: Tensor, quantiser: Quantiser, *, sigma: float, looks: int, seed: int) -> Tensor:
    """Look several times through one quantiser, with new white noise each time.

        seen = step mean_k code(picture + sigma n_k)

    Args:
        picture: any shape, in units of full scale.
        quantiser: of the sensor.
        sigma: spread of the noise in one look, >= 0.
        looks: how many are averaged, >= 1.
        seed: of the noise; every look and place has its own number.

    Returns:
        What was seen, of the same shape.

    >>> faint, sensor = torch.full((4000,), 0.1), Quantiser(step=1.0, top=1)
    >>> [round(float(see(faint, sensor, sigma=s, looks=8, seed=1).mean()), 2) for s in (0.0, 0.5)]
    [0.0, 0.1]
    """
    if looks < 1 or not 0 <= sigma < math.inf:
        raise ConfigError(f"looks must be at least 1 and sigma at least 0, got {looks} and {sigma}")
    if not picture.is_floating_point() or not bool(picture.isfinite().all()):
        raise ShapeError("a picture to see has finite real numbers; got others")
    edges = torch.from_numpy(quantiser.edges).to(picture.device)
    lowest, total = int(quantiser.codes[0]), torch.zeros(picture.shape, device=picture.device)
    for k in range(looks if sigma else 1):
        noise = hash_normals(seed, ("look", k), tuple(picture.shape), device=picture.device)
        total += torch.bucketize((picture + sigma * noise).double(), edges) + lowest
    return total * (quantiser.step / (looks if sigma else 1))


def best_dither(contrast: float, quantiser: Quantiser, *, looks: int, own: float = 0.0) -> Dither:
    """The noise that brings out levels spread evenly over [-contrast, contrast], by theory.

    Args:
        contrast: largest magnitude in the picture, in units of full scale, > 0.
        quantiser: of the sensor, with codes on both sides of 0.
        looks: how many are averaged.
        own: spread of white noise that the source brings along in every look; what is added
            makes up what it lacks.

    Raises:
        ConfigError: the contrast is not above 0, the quantiser is a comparator, or the source's
            own noise is not at least 0.
    """
    if not 0 < contrast < math.inf or not quantiser.top or not 0 <= own < math.inf:
        raise ConfigError(
            "contrast must be above 0, own noise at least 0 and the sensor have codes on both "
            f"sides, got {contrast}, {own} and top {quantiser.top}"
        )
    levels = np.linspace(-contrast, contrast, _LEVELS)

    def error(log_sigma: float) -> float:
        return mean_square_error(levels, math.exp(log_sigma), quantiser, looks=looks)

    ends = math.log(0.02 * quantiser.step), math.log(3.0 * quantiser.step)
    grid = np.linspace(*ends, 41)
    start = int(np.argmin([error(float(at)) for at in grid]))
    around = float(grid[max(start - 1, 0)]), float(grid[min(start + 1, len(grid) - 1)])
    peak = minimize_scalar(error, bounds=around, method="bounded")
    zero = math.sqrt(mean_square_error(levels, own, quantiser, looks=looks))
    best, all_of_it = math.sqrt(float(peak.fun)), math.exp(float(peak.x))
    if all_of_it <= own or best >= (1.0 - _GAIN) * zero:
        return Dither(sigma=0.0, error=min(best, zero), at_zero=zero)
    return Dither(sigma=math.sqrt(all_of_it**2 - own**2), error=best, at_zero=zero)
