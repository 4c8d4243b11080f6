"""Compiled loops over bytes: hashing, rounding, turning rows into columns.

The plain twins of hashing and rounding are in ``features``; those of the others are a line of numpy
in the tests.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["hash_words", "interleave", "look_levels", "quantise"]

# XXH64, Collet 2012.
_P1 = np.uint64(11400714785074694791)
_P2 = np.uint64(14029467366897019727)
_P3 = np.uint64(1609587929392839161)
_P4 = np.uint64(9650029242287828579)
_P5 = np.uint64(2870177450012600261)
_M1 = np.uint64(0x00FF00FF00FF00FF)
_M2 = np.uint64(0x0000FFFF0000FFFF)
_M3 = np.uint64(0x00000000FFFFFFFF)


@njit(cache=True, nogil=True, inline="always")
def _turned(x: np.uint64, bits: int) -> np.uint64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def hash_words(words: NDArray[np.uint64], prints: NDArray[np.int64]) -> None:
    """XXH64 (Collet 2012, seed 0) of every row of whole 8-byte words.

    Args:
        words: uint64 [B, W].
        prints: filled, [B].
    """
    rows, size = words.shape
    for b in range(rows):
        row = words[b]
        i = 0
        if size >= 4:
            v1, v2, v3, v4 = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
            for _ in range(size // 4):
                v1 = _turned(v1 + row[i] * _P2, 31) * _P1
                v2 = _turned(v2 + row[i + 1] * _P2, 31) * _P1
                v3 = _turned(v3 + row[i + 2] * _P2, 31) * _P1
                v4 = _turned(v4 + row[i + 3] * _P2, 31) * _P1
                i += 4
            total = _turned(v1, 1) + _turned(v2, 7) + _turned(v3, 12) + _turned(v4, 18)
            for v in (v1, v2, v3, v4):
                total = (total ^ (_turned(v * _P2, 31) * _P1)) * _P1 + _P4
        else:
            total = _P5
        total += np.uint64(8 * size)
        for j in range(i, size):
            total = _turned(total ^ (_turned(row[j] * _P2, 31) * _P1), 27) * _P1 + _P4
        total ^= total >> np.uint64(33)
        total *= _P2
        total ^= total >> np.uint64(29)
        total *= _P3
        prints[b] = np.int64(total ^ (total >> np.uint64(32)))


@njit(cache=True, nogil=True, inline="always")
def _exchanged(
    a: np.uint64, b: np.uint64, low: np.uint64, bits: int
) -> tuple[np.uint64, np.uint64]:
    """The low parts of both words in the first, the high parts in the second."""
    by = np.uint64(bits)
    return (a & low) | ((b & low) << by), ((a >> by) & low) | (b & ~low)


@njit(cache=True, nogil=True)
def quantise(x: NDArray[np.float32], levels: NDArray[np.uint8]) -> None:
    """Values in [-1, 1] to bytes, round((x + 1) 127.5), clipped; ties to the even number.

    Args:
        x: float32 [B, D]; what is not finite gives some byte.
        levels: filled, [B or more, D or more]; what lies beyond is left.
    """
    rows, size = x.shape
    for b in range(rows):
        row, out = x[b], levels[b]
        for i in range(size):
            value = (row[i] + np.float32(1.0)) * np.float32(127.5)
            value = value if value > np.float32(0.0) else np.float32(0.0)  # NaN too
            value = value if value < np.float32(255.0) else np.float32(255.0)
            # Adding 1.5 2^23 leaves no room for a fraction: the sum is rounded as IEEE 754 says.
            value = (value + np.float32(12582912.0)) - np.float32(12582912.0)
            out[i] = np.uint8(np.int32(value))


@njit(cache=True, nogil=True)
def look_levels(levels: NDArray[np.uint8], size: int, ends: NDArray[np.uint8]) -> None:
    """Smallest and largest byte of every channel.

    Args:
        levels: uint8 [B or more, C size or more].
        size: bytes of a channel.
        ends: filled, uint8 [2, B, C].
    """
    for b in range(ends.shape[1]):
        for c in range(ends.shape[2]):
            row = levels[b, c * size : (c + 1) * size]
            least, most = np.uint8(255), np.uint8(0)
            for i in range(size):
                least = min(least, row[i])
                most = max(most, row[i])
            ends[0, b, c], ends[1, b, c] = least, most


@njit(cache=True, nogil=True)
def interleave(words: NDArray[np.uint64], lanes: NDArray[np.uint64]) -> None:
    """Turn rows of bytes into columns: byte i of row s becomes byte s of row i.

    Eight by eight bytes at a time, in three rounds of exchanges (Warren 2012, 7-3).

    Args:
        words: uint64 [8 A, W].
        lanes: filled, uint64 [8 W, A].
    """
    for group in range(len(words) // 8):
        for word in range(words.shape[1]):
            a, b, c, d = words[8 * group : 8 * group + 4, word]
            e, f, g, h = words[8 * group + 4 : 8 * group + 8, word]
            a, b = _exchanged(a, b, _M1, 8)
            c, d = _exchanged(c, d, _M1, 8)
            e, f = _exchanged(e, f, _M1, 8)
            g, h = _exchanged(g, h, _M1, 8)
            a, c = _exchanged(a, c, _M2, 16)
            b, d = _exchanged(b, d, _M2, 16)
            e, g = _exchanged(e, g, _M2, 16)
            f, h = _exchanged(f, h, _M2, 16)
            a, e = _exchanged(a, e, _M3, 32)
            b, f = _exchanged(b, f, _M3, 32)
            c, g = _exchanged(c, g, _M3, 32)
            d, h = _exchanged(d, h, _M3, 32)
            out = lanes[8 * word : 8 * word + 8, group]
            out[0], out[1], out[2], out[3] = a, b, c, d
            out[4], out[5], out[6], out[7] = e, f, g, h
