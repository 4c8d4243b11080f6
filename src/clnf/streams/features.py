"""What the gate sees of a sample when it knows no model.

:func:`describe` gives coordinates in which like pictures lie close; :func:`summarise` a few
physical quantities a person could check; :func:`fingerprint` a name for the exact content.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SUMMARY_NAMES", "SUMMARY_UNITS", "describe", "fingerprint", "marks", "summarise"]

SUMMARY_NAMES = ("brightness", "contrast", "colour", "edges", "smoothness")
# A difference of one unit is visible to a person; smaller spreads are treated as this wide.
SUMMARY_UNITS = (0.05, 0.05, 0.05, 0.02, 0.05)

_LUMA = (0.299, 0.587, 0.114)
_MOST = 256  # features of a sample that is not a picture


def describe(x: Tensor) -> NDArray[np.float32]:
    """Model-free features.

    A picture gives an 8x8 thumbnail of its luminance, 4x4 thumbnails of its colours, 4x4 maps of
    horizontal and vertical edges (mean absolute step, times 4), and the square roots of a
    27-colour histogram. All are whole numbers from 0 to 255 and fewer than 257 of them, so sums
    of their products stay below 2^24 and float32 distances between samples are exact: the same at
    any thread count. Other data is averaged down to at most 256 numbers.

    Args:
        x: float [B, C, H, W] in [-1, 1] with C = 1 or 3, or any float [B, ...]; finite.

    Returns:
        float32 [B, F].
    """
    if not _are_pictures(x):
        flat = x.detach().to("cpu", torch.float32).reshape(len(x), 1, -1)
        if flat.shape[2] > _MOST:
            flat = torch.nn.functional.adaptive_avg_pool1d(flat, _MOST)
        return np.asarray(flat[:, 0].numpy(), dtype=np.float32)
    levels = _levels(x)
    colour = levels.astype(np.float32)
    grey = _luminance(colour)
    across = np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))
    down = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    parts = [
        _pool(grey[:, None], 8),
        _pool(colour, 4),
        np.minimum(4.0 * _pool(across[:, None], 4), 255.0),
        np.minimum(4.0 * _pool(down[:, None], 4), 255.0),
        255.0 * np.sqrt(_histogram(levels)),
    ]
    return np.asarray(np.rint(np.concatenate(parts, axis=1)), dtype=np.float32)


def summarise(x: Tensor) -> NDArray[np.float64]:
    """A few physical quantities of each sample, in the order of ``SUMMARY_NAMES``.

    brightness: mean luminance; contrast: its standard deviation; colour: mean of the largest
    minus the smallest channel; edges: mean absolute step between neighbouring pixels;
    smoothness: correlation of neighbouring pixels, near 1 in pictures and 0 in white noise.
    For samples that are not pictures: mean, deviation, range, mean absolute step and neighbour
    correlation along the flattened sample.

    Args:
        x: float [B, ...], finite.

    Returns:
        float64 [B, 5].
    """
    if _are_pictures(x):
        colour = x.detach().cpu().numpy().astype(np.float64)
        grey = _luminance(colour)
        steps = [np.diff(grey, axis=1), np.diff(grey, axis=2)]
        spread = _mean_of(colour.max(1) - colour.min(1))
    else:
        grey = x.detach().cpu().numpy().astype(np.float64).reshape(len(x), 1, -1)
        steps = [np.diff(grey, axis=2)]
        spread = grey.max((1, 2)) - grey.min((1, 2))
    mean = _mean_of(grey)
    centred = grey - mean[:, None, None]
    variance = _mean_of(centred * centred)
    edges = np.mean([_mean_of(np.abs(step)) for step in steps], axis=0)
    pairs = [(centred[:, :, 1:], centred[:, :, :-1])]
    if len(steps) == 2:
        pairs.append((centred[:, 1:], centred[:, :-1]))
    joint = np.mean([_mean_of(a * b) for a, b in pairs], axis=0)
    smooth = np.divide(joint, variance, out=np.ones_like(joint), where=variance > 1e-12)
    return np.stack([mean, np.sqrt(variance), spread, edges, smooth], axis=1)


def fingerprint(x: Tensor) -> NDArray[np.int64]:
    """A 64-bit BLAKE2b hash of each sample's content; pictures are hashed as stored (uint8).

    Args:
        x: float [B, ...], finite.

    Returns:
        int64 [B].
    """
    if _are_pictures(x):
        rows: NDArray[np.generic] = _levels(x)
    else:
        # Adding zero turns -0.0 into 0.0, which is the same number with another pattern of bits.
        rows = np.ascontiguousarray(x.detach().cpu().numpy() + 0.0)
    hashes = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(hashes, dtype="<i8").astype(np.int64)


def marks(x: Tensor) -> NDArray[np.uint8] | None:
    """Contents of small blocks of a picture: four luminances of two bits each.

    Blocks are 2x2 pixels on a grid of their size, in larger pictures wider so that there are at
    most 20 to a side; a block is known by its corners. A stamp of one and a half blocks holds at
    least one whole block wherever it lies.

    Args:
        x: float [B, C, H, W] in [-1, 1] with C = 1 or 3; finite.

    Returns:
        uint8 [B, M], or None where samples are no pictures.
    """
    if not _are_pictures(x):
        return None
    grey = _luminance(_levels(x).astype(np.float32))
    size = max(2, -(-max(grey.shape[1:]) // 20))
    shades = (grey / 64.0).astype(np.uint8)
    low = shades[:, : grey.shape[1] // size * size, : grey.shape[2] // size * size]
    top, bottom = low[:, ::size], low[:, size - 1 :: size]
    code = top[:, :, ::size] << 6 | top[:, :, size - 1 :: size] << 4
    code = code | bottom[:, :, ::size] << 2 | bottom[:, :, size - 1 :: size]
    return np.ascontiguousarray(code.reshape(len(x), -1))


def _are_pictures(x: Tensor) -> bool:
    return x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) >= 8


def _levels(x: Tensor) -> NDArray[np.uint8]:
    """Pictures in [-1, 1] as stored, uint8 [B, C, H, W]."""
    levels = x.detach().to("cpu", torch.float32).add(1.0).mul_(127.5).round_().clamp_(0.0, 255.0)
    return np.asarray(levels.to(torch.uint8).contiguous().numpy())


def _luminance(colour: NDArray[Any]) -> NDArray[Any]:
    """[B, C, H, W] to [B, H, W], in the input's precision."""
    if colour.shape[1] == 1:
        return np.asarray(colour[:, 0])
    red, green, blue = (np.asarray(weight, colour.dtype) for weight in _LUMA)
    # Written out rather than a matrix product, whose sums may depend on the thread count.
    return np.asarray(red * colour[:, 0] + green * colour[:, 1] + blue * colour[:, 2])


def _histogram(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of the pixels in each of 27 colours (three shades a channel), [B, 27]."""
    count, channels = levels.shape[:2]
    shades = levels // 86
    code = shades[:, 0].astype(np.int64)
    for channel in range(1, channels):
        code = code * 3 + shades[:, channel]
    pixels = code[0].size
    code += 27 * np.arange(count)[:, None, None]
    return np.bincount(code.ravel(), minlength=27 * count).reshape(count, 27) / pixels


def _mean_of(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each sample; an empty field (a sample of one number) counts as zero."""
    if field[0].size == 0:
        return np.zeros(len(field))
    return np.asarray(field.reshape(len(field), -1).mean(1))


def _pool(planes: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Mean over a grid of cells x cells blocks of [B, C, H, W], flattened to [B, C cells^2].

    Where a side is no multiple of the cells, blocks differ by one pixel.
    """
    height, width = planes.shape[2:]
    top = np.arange(cells) * height // cells
    left = np.arange(cells) * width // cells
    sums = np.add.reduceat(np.add.reduceat(planes, top, axis=2), left, axis=3)
    rows = np.diff(np.append(top, height)).astype(np.float32)
    columns = np.diff(np.append(left, width)).astype(np.float32)
    means = sums / (rows[:, None] * columns[None, :])
    return np.asarray(means.reshape(len(planes), -1), dtype=np.float32)
