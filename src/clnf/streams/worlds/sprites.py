"""Sprites: one coloured shape on white, drawn without steps at its edges.

Shapes are signed distances in units of the scale, so a pixel's coverage is known without
sampling; at corners this is the usual approximation of half a pixel.
"""

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.streams.worlds.factors import AbstractWorld, Factor, Scene

__all__ = ["COLOURS", "SHAPES", "TEXTURES", "Sprites"]

SHAPES = ("disc", "square", "triangle", "hexagon", "star", "cross", "ring", "moon")
TEXTURES = ("plain", "stripes", "checks")
COLOURS = {
    "red": (0.85, 0.10, 0.10), "orange": (0.95, 0.55, 0.05), "yellow": (0.90, 0.85, 0.10),
    "green": (0.10, 0.60, 0.20), "cyan": (0.10, 0.75, 0.80), "blue": (0.15, 0.25, 0.85),
    "violet": (0.55, 0.15, 0.75), "black": (0.05, 0.05, 0.05),
}  # fmt: skip

_SIDE = 32
_INK = np.array(list(COLOURS.values()))


@final
class Sprites(AbstractWorld):
    """Pictures of one shape, float32 [K, 3, 32, 32] in [-1, 1], on the 8-bit grid.

    Factors: shape, colour, texture; ``x`` and ``y`` of the centre (shares of the side, y
    downwards), ``scale`` (radius as share of the side), ``rotation_rad`` (counter-clockwise).

    >>> import torch
    >>> world = Sprites(10, seed=0, label="shape", limits={"colour": ["red"]})
    >>> int(world.scene(torch.arange(3))["colour"].max()), world.take(torch.arange(3)).x.shape
    (0, torch.Size([3, 3, 32, 32]))
    """

    factors = (
        Factor(name="shape", kinds=SHAPES),
        Factor(name="colour", kinds=tuple(COLOURS)),
        Factor(name="texture", kinds=TEXTURES),
        Factor(name="x", low=0.3, high=0.7),
        Factor(name="y", low=0.3, high=0.7),
        Factor(name="scale", low=0.15, high=0.28),
        Factor(name="rotation_rad", high=2.0 * math.pi),
    )

    def render(self, scene: Scene) -> NDArray[np.float32]:
        """Pictures from their factors."""
        line = (np.arange(_SIDE) + 0.5) / _SIDE
        radius = scene["scale"][:, None, None]
        across = (line[None, None, :] - scene["x"][:, None, None]) / radius
        down = (line[None, :, None] - scene["y"][:, None, None]) / radius
        cos, sin = (f(scene["rotation_rad"])[:, None, None] for f in (np.cos, np.sin))
        u, v = cos * across - sin * down, sin * across + cos * down
        inside = np.empty_like(u)
        for shape in np.unique(scene["shape"]):
            rows = scene["shape"] == shape
            inside[rows] = _distance(SHAPES[int(shape)], u[rows], v[rows])
        cover = np.clip(0.5 - inside * radius * _SIDE, 0.0, 1.0)
        light = np.where(_lit(scene["texture"], u, v), 0.45, 0.0)
        ink = _INK[scene["colour"].astype(int)][:, :, None, None]
        ink = ink + (1.0 - ink) * light[:, None]
        levels = np.rint(255.0 * (1.0 + cover[:, None] * (ink - 1.0))).astype(np.float32)
        return np.asarray(levels / np.float32(127.5) - np.float32(1.0))


def _lit(
    texture: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Where a texture lightens the ink; its period is two thirds of the radius."""
    which = texture[:, None, None]
    odd_v, odd_u = np.floor(3.0 * v) % 2 == 1, np.floor(3.0 * u) % 2 == 1
    stripes = (which == TEXTURES.index("stripes")) & odd_v
    return np.asarray(stripes | ((which == TEXTURES.index("checks")) & (odd_v ^ odd_u)))


def _distance(shape: str, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distance to the edge in radii, negative inside; exact up to corners."""
    r = np.hypot(u, v)
    if shape == "disc":
        return r - 0.85
    if shape == "ring":
        return np.abs(r - 0.7) - 0.22
    if shape == "moon":
        return np.asarray(np.maximum(r - 0.95, 0.75 - np.hypot(u - 0.5, v)))
    if shape == "cross":
        long, short = 0.9, 0.3
        one = np.maximum(np.abs(u) - long, np.abs(v) - short)
        return np.asarray(np.minimum(one, np.maximum(np.abs(u) - short, np.abs(v) - long)))
    if shape == "star":
        return _star(u, v, r)
    corners = {"triangle": 3, "square": 4, "hexagon": 6}[shape]
    # The angle to the nearest side's middle; the side is a straight line there.
    middle = _nearest(np.arctan2(v, u), corners)
    return np.asarray(r * np.cos(middle) - 0.95 * math.cos(math.pi / corners))


def _star(
    u: NDArray[np.float64], v: NDArray[np.float64], r: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A five-pointed star: one edge from tip to notch, folded to all ten."""
    angle = np.abs(_nearest(np.arctan2(v, u), 5))
    tip, notch = 1.0, 0.42
    ex, ey = notch * math.cos(math.pi / 5) - tip, notch * math.sin(math.pi / 5)
    px, py = r * np.cos(angle) - tip, r * np.sin(angle)
    return np.asarray((px * ey - py * ex) / math.hypot(ex, ey))


def _nearest(angle: NDArray[np.float64], corners: int) -> NDArray[np.float64]:
    """The angle to the nearest of evenly spread directions."""
    turn = 2.0 * math.pi / corners
    return np.asarray(angle - turn * np.round(angle / turn))
