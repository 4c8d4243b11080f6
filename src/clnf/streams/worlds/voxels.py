"""Voxels: one solid in a cube, filled where its signed distance is negative."""

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.streams.worlds.factors import AbstractWorld, Factor, Scene

__all__ = ["SOLIDS", "Voxels"]

SOLIDS = ("ball", "box", "cylinder", "cone", "torus", "octahedron")

_SIDE = 16

Coordinates = NDArray[np.float64]


@final
class Voxels(AbstractWorld):
    """Solids, float32 [K, 1, 16, 16, 16] (z, y, x), -1 empty to 1 filled.

    A voxel at the surface holds its filled share, estimated from the distance of its centre.
    Factors: solid; ``x``, ``y``, ``z`` of the centre and ``size`` (radius) as shares of the
    side; pose as ``yaw_rad`` about z, then ``tilt_rad`` about x.
    """

    factors = (
        Factor(name="solid", kinds=SOLIDS),
        Factor(name="x", low=0.4, high=0.6),
        Factor(name="y", low=0.4, high=0.6),
        Factor(name="z", low=0.4, high=0.6),
        Factor(name="size", low=0.22, high=0.36),
        Factor(name="yaw_rad", high=2.0 * math.pi),
        Factor(name="tilt_rad", low=-math.pi / 2, high=math.pi / 2),
    )

    def render(self, scene: Scene) -> NDArray[np.float32]:
        """Solids from their factors."""
        line = (np.arange(_SIDE) + 0.5) / _SIDE
        size = scene["size"][:, None, None, None]
        z, y, x = (
            (axis - scene[name][:, None, None, None]) / size
            for name, axis in (
                ("z", line[None, :, None, None]),
                ("y", line[None, None, :, None]),
                ("x", line[None, None, None, :]),
            )
        )
        x, y = _turned(x, y, scene["yaw_rad"])
        y, z = _turned(y, z, scene["tilt_rad"])
        x, y, z = np.broadcast_arrays(x, y, z)
        distance = np.empty(x.shape)
        for solid in np.unique(scene["solid"]):
            rows = scene["solid"] == solid
            distance[rows] = _distance(SOLIDS[int(solid)], x[rows], y[rows], z[rows])
        filled = np.clip(0.5 - distance * size * _SIDE, 0.0, 1.0)
        return np.asarray(2.0 * filled[:, None] - 1.0, np.float32)


def _turned(a: Coordinates, b: Coordinates, angle: Coordinates) -> tuple[Coordinates, Coordinates]:
    """Coordinates in a frame turned from a towards b."""
    cos, sin = (f(angle)[:, None, None, None] for f in (np.cos, np.sin))
    return cos * a + sin * b, cos * b - sin * a


def _distance(solid: str, x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
    """Signed distance in radii, negative inside; exact up to edges and corners."""
    across = np.hypot(x, y)
    if solid == "ball":
        return np.sqrt(across**2 + z**2) - 1.0
    if solid == "box":
        # Unequal edges, so that the pose can be seen.
        return np.asarray(np.maximum.reduce([np.abs(x) - 0.85, np.abs(y) - 0.6, np.abs(z) - 0.4]))
    if solid == "cylinder":
        return np.asarray(np.maximum(across - 0.55, np.abs(z) - 0.8))
    if solid == "cone":
        # From the base z = -0.8 of radius 0.8 to the tip z = 0.8.
        slope = math.hypot(1.6, 0.8)
        return np.asarray(np.maximum((1.6 * across + 0.8 * (z - 0.8)) / slope, -0.8 - z))
    if solid == "torus":
        return np.hypot(across - 0.7, z) - 0.28
    return np.asarray((np.abs(x) + np.abs(y) + np.abs(z) - 1.0) / math.sqrt(3.0))
