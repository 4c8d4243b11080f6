"""A picture too faint for a coarse sensor, to start a drawing from."""

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from clnf.chip.resonance import Dither, Quantiser, best_dither, see
from clnf.core.errors import ConfigError
from clnf.core.rng import fold
from clnf.core.units import quantity
from clnf.streams.folder import read_picture
from clnf.streams.sources import from_levels

__all__ = ["Scene", "Seen", "look_at"]


@final
@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture, how faint it reaches the sensor, and how it is looked at.

    Attributes:
        picture: a picture file; black to white is -1 to 1.
        contrast: share of the sensor's full scale that this range fills, above 0 to 1.
        bits: of the sensor, 2 to 16.
        looks: how many are averaged, 1 to 4096.
        keep: how much of what was seen the drawing keeps, 0 to below 1; see
            :func:`clnf.living.generate.draw`.
        sigma: spread of the noise added before the sensor, in full scales; None takes the one
            that theory names best, and none where none helps.
        noise: spread of white noise that the source has by itself, new in every look, in full
            scales.
    """

    picture: Path
    contrast: float = quantity("1", 1.0)
    bits: int = quantity("1", 4)
    looks: int = quantity("1", 16)
    keep: float = quantity("1", 0.5)
    sigma: float | None = quantity("1", None)
    noise: float = quantity("1", 0.0)

    def __post_init__(self) -> None:
        if not 0 < self.contrast <= 1 or not 0 <= self.keep < 1:
            raise ConfigError(
                "contrast must be above 0 to 1 and keep 0 to below 1, got "
                f"{self.contrast} and {self.keep}"
            )
        if not 2 <= self.bits <= 16 or not 1 <= self.looks <= 4096:
            raise ConfigError(
                f"a sensor has 2 to 16 bits and looks 1 to 4096 times, got {self.bits} and "
                f"{self.looks}"
            )
        if self.sigma is not None and not 0 <= self.sigma < 100:
            raise ConfigError(f"sigma must be 0 to below 100 full scales, got {self.sigma}")
        if not 0 <= self.noise < 100:
            raise ConfigError(f"noise must be 0 to below 100 full scales, got {self.noise}")

    @property
    def sensor(self) -> Quantiser:
        """Its codes, over a range of -1 to 1."""
        top = 2 ** (self.bits - 1) - 1
        return Quantiser(step=1.0 / top, top=top)


@final
@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a sensor saw of a scene.

    Attributes:
        picture: [3, 32, 32], stretched back to [-1, 1].
        sigma: spread of the noise that was added.
        dither: what theory says about noise here.
        sha256: of the shown picture's levels.
    """

    picture: Tensor
    sigma: float = quantity("1")
    dither: Dither
    sha256: str

    def making(self, scene: Scene) -> dict[str, Any]:
        """For a drawing's metadata: the scene by name and hash, without a path."""
        return {
            **asdict(scene),
            "picture": scene.picture.name,
            "sha256": self.sha256,
            "sigma": self.sigma,
        }


def look_at(scene: Scene, seed: int) -> Seen:
    """Look at a scene: fainter, noisy, converted, averaged, and stretched to full range again.

    Args:
        scene: what and how.
        seed: of the noise.

    Raises:
        DataError: the picture cannot be read; says why.
    """
    levels = read_picture(scene.picture)
    shown = from_levels(levels[None])[0] * scene.contrast
    dither = best_dither(scene.contrast, scene.sensor, looks=scene.looks, own=scene.noise)
    sigma = dither.sigma if scene.sigma is None else scene.sigma
    total = math.hypot(sigma, scene.noise)
    seen = see(shown, scene.sensor, sigma=total, looks=scene.looks, seed=fold(seed, "scene"))
    return Seen(
        picture=torch.clamp(seen / scene.contrast, -1.0, 1.0),
        sigma=sigma,
        dither=dither,
        sha256=hashlib.sha256(levels.tobytes()).hexdigest(),
    )
