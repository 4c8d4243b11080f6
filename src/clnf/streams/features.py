"""What the gate sees of a sample when it knows no model.

:func:`describe` gives coordinates in which like pictures lie close; :func:`summarise` a few
physical quantities a person could check; :func:`fingerprint` a name for the exact content. All
of a picture is worked out in whole numbers from its bytes, so it is the same on any machine.
``survey`` gives the same of a batch in one compiled pass.
"""

import sys
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "SUMMARY_NAMES",
    "SUMMARY_UNITS",
    "Windows",
    "are_pictures",
    "describe",
    "fingerprint",
    "marks",
    "plain_hash",
    "summarise",
    "summary_of",
    "to_bytes",
    "windows_of",
    "words_of",
]

SUMMARY_NAMES = ("brightness", "contrast", "colour", "edges", "smoothness")
# A difference of one unit is visible to a person; smaller spreads are treated as this wide.
SUMMARY_UNITS = (0.05, 0.05, 0.05, 0.02, 0.05)

_LUMA = (19595, 38470, 7471)  # of 65536: ITU-R BT.601
_MOST = 256  # features of a sample that is not a picture
# Of XXH64, Collet 2012.
_PRIMES = (
    11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579,
    2870177450012600261,
)  # fmt: skip


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
    if not are_pictures(x):
        flat = x.detach().to("cpu", torch.float32).reshape(len(x), 1, -1)
        if flat.shape[2] > _MOST:
            flat = torch.nn.functional.adaptive_avg_pool1d(flat, _MOST)
        return np.asarray(flat[:, 0].numpy(), dtype=np.float32)
    levels = to_bytes(x)
    grey = _luminance(levels).astype(np.int64)
    across = np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))
    down = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    parts = [
        _pool(grey[:, None], 8),
        _pool(levels.astype(np.int64), 4),
        np.minimum(np.float32(4.0) * _pool(across[:, None], 4), np.float32(255.0)),
        np.minimum(np.float32(4.0) * _pool(down[:, None], 4), np.float32(255.0)),
        np.float32(255.0) * np.sqrt(_histogram(levels)),
    ]
    return np.asarray(np.rint(np.concatenate(parts, axis=1)), dtype=np.float32)


def summarise(x: Tensor) -> NDArray[np.float64]:
    """A few physical quantities of each sample, in the order of ``SUMMARY_NAMES``.

    brightness: mean luminance; contrast: its standard deviation; colour: mean of the largest
    minus the smallest channel; edges: mean absolute step between neighbouring pixels;
    smoothness: correlation of neighbouring pixels, near 1 in pictures and 0 in white noise.
    Pictures are seen as stored, in 256 levels.
    For samples that are not pictures: mean, deviation, range, mean absolute step and neighbour
    correlation along the flattened sample.

    Args:
        x: float [B, ...], finite.

    Returns:
        float64 [B, 5].
    """
    if are_pictures(x):
        levels = to_bytes(x).astype(np.int64)
        grey = _luminance(to_bytes(x)).astype(np.int64)
        spread = levels.max(1) - levels.min(1)
        sums = [
            grey, grey**2, np.abs(np.diff(grey, axis=2)), np.abs(np.diff(grey, axis=1)),
            grey[:, :, 1:] * grey[:, :, :-1], grey[:, 1:] * grey[:, :-1],
            grey[:, :, 0], grey[:, :, -1], grey[:, 0], grey[:, -1], spread,
        ]  # fmt: skip
        total = np.stack([part.reshape(len(x), -1).sum(1) for part in sums])
        return summary_of(total, *grey.shape[1:])
    flat = x.detach().cpu().numpy().astype(np.float64).reshape(len(x), -1)
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    variance = (centred * centred).mean(1)
    edges = _mean_of(np.abs(np.diff(flat, axis=1)))
    joint = _mean_of(centred[:, 1:] * centred[:, :-1])
    smooth = np.divide(joint, variance, out=np.ones_like(joint), where=variance > 1e-12)
    return np.stack([mean, np.sqrt(variance), np.ptp(flat, axis=1), edges, smooth], axis=1)


def summary_of(sums: NDArray[np.int64], height: int, width: int) -> NDArray[np.float64]:
    """The quantities of :func:`summarise` from whole-number sums.

    Args:
        sums: int64 [11, B], see ``survey_kernels.SUMS``.
        height: H, pixels.
        width: W, pixels.

    Returns:
        float64 [B, 5].
    """
    real = sums.astype(np.float64)
    grey, square, across, down, beside, below, left, right, top, bottom, spread = real
    size, level = height * width, 127.5
    mean = grey / size
    variance = np.maximum(square / size - mean * mean, 0.0)
    pairs_across, pairs_down = height * (width - 1), (height - 1) * width
    edges = 0.5 * (across / pairs_across + down / pairs_down)
    # Sum of (a - m)(b - m) over pairs of neighbours.
    across_joint = beside - mean * (2.0 * grey - left - right) + pairs_across * mean * mean
    down_joint = below - mean * (2.0 * grey - top - bottom) + pairs_down * mean * mean
    joint = 0.5 * (across_joint / pairs_across + down_joint / pairs_down)
    even = variance <= 1e-9
    smooth = np.where(even, 1.0, joint / np.where(even, 1.0, variance))
    deviation = np.sqrt(np.where(even, 0.0, variance))
    found = [mean / level - 1.0, deviation / level, spread / size / level, edges / level, smooth]
    return np.stack(found, axis=1)


def fingerprint(x: Tensor) -> NDArray[np.int64]:
    """A 64-bit hash of each sample's content (XXH64); pictures are hashed as stored (uint8).

    Args:
        x: float [B, ...], finite.

    Returns:
        int64 [B].
    """
    if are_pictures(x):
        return plain_hash(words_of(to_bytes(x)))
    # Adding zero turns -0.0 into 0.0, which is the same number with another pattern of bits.
    return plain_hash(words_of(x.detach().cpu().numpy() + 0.0))


def words_of(rows: NDArray[np.generic]) -> NDArray[np.uint64]:
    """The bytes of each sample as whole 8-byte words, zeros behind the last, uint64 [B, W]."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1)).view(np.uint8)
    flat = flat.reshape(len(rows), rows[:1].nbytes)
    if flat.shape[1] % 8 or not flat.shape[1]:
        flat = np.pad(flat, ((0, 0), (0, 8 - flat.shape[1] % 8)))
    words = flat.view(np.uint64)
    return words if sys.byteorder == "little" else words.byteswap()


def plain_hash(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The plain twin of ``byte_kernels.hash_words``."""
    p1, p2, p3, p4, p5 = (np.uint64(prime) for prime in _PRIMES)

    def turned(x: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
        return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))

    def mixed(start: NDArray[np.uint64], word: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return turned(start + word * p2, 31) * p1

    count, size = words.shape
    zero = np.zeros(count, np.uint64)
    done = size - size % 4
    with np.errstate(over="ignore"):
        total = zero + p5
        if done:
            lanes = [zero + p1 + p2, zero + p2, zero, zero - p1]
            for i in range(done):
                lanes[i % 4] = mixed(lanes[i % 4], words[:, i])
            total = sum(
                (turned(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)), zero
            )
            for lane in lanes:
                total = (total ^ mixed(zero, lane)) * p1 + p4
        total = total + np.uint64(8 * size)
        for i in range(done, size):
            total = turned(total ^ mixed(zero, words[:, i]), 27) * p1 + p4
        total = (total ^ (total >> np.uint64(33))) * p2
        total = (total ^ (total >> np.uint64(29))) * p3
        total = total ^ (total >> np.uint64(32))
    return np.asarray(total.view(np.int64))


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
    if not are_pictures(x):
        return None
    grey = _luminance(to_bytes(x))
    size = max(2, -(-max(grey.shape[1:]) // 20))
    shades = grey >> 6
    low = shades[:, : grey.shape[1] // size * size, : grey.shape[2] // size * size]
    top, bottom = low[:, ::size], low[:, size - 1 :: size]
    code = top[:, :, ::size] << 6 | top[:, :, size - 1 :: size] << 4
    code = code | bottom[:, :, ::size] << 2 | bottom[:, :, size - 1 :: size]
    return np.ascontiguousarray(code.reshape(len(x), -1))


@final
@dataclass(frozen=True)
class Windows:
    """Nine overlapping windows of a picture, half as wide and high, and what belongs to each.

    Attributes:
        hidden: bool [9, F], features that see a window.
        of_mark: int64 [M], the window that each mark lies deepest in.
    """

    hidden: NDArray[np.bool_]
    of_mark: NDArray[np.int64]


def windows_of(channels: int, height: int, width: int) -> Windows:
    """The windows of pictures of one size; see :func:`describe` and :func:`marks`.

    >>> windows_of(1, 28, 28).hidden.shape, windows_of(3, 32, 32).of_mark.shape
    ((9, 139), (256,))
    """

    def cells(count: int, window: int) -> NDArray[np.bool_]:
        down, across = (
            (np.arange(count) * 4 // count >= start) & (np.arange(count) * 4 // count < start + 2)
            for start in divmod(window, 3)
        )
        return np.outer(down, across).ravel()

    hidden = np.stack(
        [
            np.concatenate(
                [cells(8, window), *[cells(4, window)] * (channels + 2), np.ones(27, bool)]
            )
            for window in range(9)
        ]
    )
    side = max(2, -(-max(height, width) // 20))
    # Windows lie in the middle at 2, 4 and 6 eighths; a mark belongs to the nearest.
    down, across = (
        np.digitize((np.arange(size // side) + 0.5) * side / size, (0.375, 0.625))
        for size in (height, width)
    )
    return Windows(hidden, np.add.outer(3 * down, across).ravel().astype(np.int64))


def are_pictures(x: Tensor) -> bool:
    """Whether samples are read as pictures: [B, 1 or 3, H, W] of 8x8 pixels or more."""
    return x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) >= 8


def to_bytes(x: Tensor) -> NDArray[np.uint8]:
    """Pictures in [-1, 1] as stored, uint8 [B, C, H, W]; the plain twin of ``quantise``."""
    levels = x.detach().to("cpu", torch.float32).add(1.0).mul_(127.5).round_().clamp_(0.0, 255.0)
    return np.asarray(levels.to(torch.uint8).contiguous().numpy())


def _luminance(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[B, C, H, W] to [B, H, W], rounded to a byte."""
    if levels.shape[1] == 1:
        return levels[:, 0]
    red, green, blue = (weight * levels[:, i].astype(np.int32) for i, weight in enumerate(_LUMA))
    return np.asarray((red + green + blue + 32768) >> 16, np.uint8)


def _histogram(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Share of the pixels in each of 27 colours (three shades a channel), [B, 27]."""
    count, channels = levels.shape[:2]
    shades = levels // 86
    code = shades[:, 0].astype(np.int64)
    for channel in range(1, channels):
        code = code * 3 + shades[:, channel]
    pixels = code[0].size
    code += 27 * np.arange(count)[:, None, None]
    found = np.bincount(code.ravel(), minlength=27 * count).reshape(count, 27)
    return np.asarray(found.astype(np.float32) / np.float32(pixels))


def _mean_of(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each row; an empty row (a sample of one number) counts as zero."""
    return np.asarray(field.mean(1)) if field.shape[1] else np.zeros(len(field))


def _pool(planes: NDArray[np.int64], cells: int) -> NDArray[np.float32]:
    """Mean over a grid of cells x cells blocks of [B, C, H, W], flattened to [B, C cells^2].

    Where a side is no multiple of the cells, blocks differ by one pixel.
    """
    height, width = planes.shape[2:]
    top = np.arange(cells) * height // cells
    left = np.arange(cells) * width // cells
    sums = np.add.reduceat(np.add.reduceat(planes, top, axis=2), left, axis=3)
    area = np.outer(np.diff(np.append(top, height)), np.diff(np.append(left, width)))
    means = sums.astype(np.float32) / area.astype(np.float32)
    return np.asarray(means.reshape(len(planes), -1))
