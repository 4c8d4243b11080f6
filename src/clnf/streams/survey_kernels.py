"""Compiled loops of the gate's look at pictures. The plain twin of each is in ``features``.

Sixty-four samples go side by side: pixel after pixel, the same small whole-number arithmetic is
done for all of them at once, so no loop is shorter than the machine's vectors, whatever the size
of the pictures.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.streams.byte_kernels import interleave

__all__ = ["LANES", "SUMS", "survey_pictures"]

LANES = 64
# Whole-number sums of a grey picture g [H, W], in this order: g, g^2, steps and products of
# neighbours across and down, the first and last columns and rows, colour spread.
SUMS = (
    "grey", "square", "across", "down", "across_product", "down_product",
    "left", "right", "top", "bottom", "spread",
)  # fmt: skip

_FLUSH = 255  # counts that fit a byte


@njit(cache=True, nogil=True, inline="always")
def _add(total: NDArray[np.int32], a: NDArray[np.uint8]) -> None:
    for lane in range(64):
        total[lane] += a[lane]


@njit(cache=True, nogil=True, inline="always")
def _add_step(total: NDArray[np.int32], a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
    for lane in range(64):
        total[lane] += np.uint8(max(a[lane], b[lane]) - min(a[lane], b[lane]))


@njit(cache=True, nogil=True, inline="always")
def _add_product(total: NDArray[np.int32], a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
    for lane in range(64):
        total[lane] += np.int32(np.int32(a[lane]) * np.int32(b[lane]))


@njit(cache=True, nogil=True)
def _grey(planes: NDArray[np.uint8], grey: NDArray[np.uint8], spread: NDArray[np.int64]) -> None:
    """Luminance of red, green and blue planes [3 D, 64] and the sum of their spread."""
    size = len(grey)
    part = np.zeros(64, np.int32)
    for i in range(size):
        red, green, blue, out = planes[i], planes[size + i], planes[2 * size + i], grey[i]
        for lane in range(64):
            r, g, b = np.int32(red[lane]), np.int32(green[lane]), np.int32(blue[lane])
            out[lane] = np.uint8((19595 * r + 38470 * g + 7471 * b + 32768) >> 16)
            part[lane] += max(r, max(g, b)) - min(r, min(g, b))
        if i % 4096 == 4095 or i == size - 1:
            for lane in range(64):
                spread[lane] += part[lane]
                part[lane] = 0


@njit(cache=True, nogil=True)
def _rows(
    grey: NDArray[np.uint8],
    place: tuple[NDArray[np.int64], NDArray[np.int64]],
    blocks: NDArray[np.int32],
    steps: NDArray[np.int32],
    sums: NDArray[np.int64],
) -> None:
    """Blocks and sums of grey pictures [H W, 64]; ``place`` is the block of each row and column."""
    down_of, across_of = place
    height, width = len(down_of), len(across_of)
    part = np.zeros((5, 64), np.int32)
    for y in range(height):
        part[:] = 0
        here = y * width
        for x in range(width):
            a = grey[here + x]
            cell = (down_of[y] // 2) * 4 + across_of[x] // 2
            _add(blocks[down_of[y] * 8 + across_of[x]], a)
            _add_product(part[0], a, a)
            if x + 1 < width:
                _add_step(steps[cell], a, grey[here + x + 1])
                _add_product(part[1], a, grey[here + x + 1])
            if y + 1 < height:
                _add_step(steps[16 + cell], a, grey[here + width + x])
                _add_product(part[2], a, grey[here + width + x])
        for lane in range(64):
            sums[1, lane] += part[0, lane]
            sums[4, lane] += part[1, lane]
            sums[5, lane] += part[2, lane]
            sums[6, lane] += grey[here, lane]
            sums[7, lane] += grey[here + width - 1, lane]
    for x in range(width):
        for lane in range(64):
            sums[8, lane] += grey[x, lane]
            sums[9, lane] += grey[(height - 1) * width + x, lane]


@njit(cache=True, nogil=True)
def _colours(
    planes: NDArray[np.uint8],
    size: int,
    place: tuple[NDArray[np.int64], NDArray[np.int64]],
    cells: NDArray[np.int32],
    shades: NDArray[np.int32],
) -> None:
    """4x4 blocks of each of three planes, and how many pixels have each of 27 colours."""
    down_of, across_of = place
    width = len(across_of)
    for channel in range(3):
        for i in range(size):
            y, x = i // width, i % width
            cell = (down_of[y] // 2) * 4 + across_of[x] // 2
            _add(cells[channel * 16 + cell], planes[channel * size + i])
    code = np.empty(64, np.uint8)
    count = np.zeros((27, 64), np.uint8)
    for i in range(size):
        red, green, blue = planes[i], planes[size + i], planes[2 * size + i]
        for lane in range(64):
            shade = np.uint8(red[lane] // 86 * 9 + green[lane] // 86 * 3 + blue[lane] // 86)
            code[lane] = shade
        for colour in range(27):
            # One comparison for every colour, of all lanes at once: no table is looked up.
            row = count[colour]
            for lane in range(64):
                row[lane] += np.uint8(code[lane] == np.uint8(colour))
        if i % _FLUSH == _FLUSH - 1 or i == size - 1:
            for colour in range(27):
                _add(shades[colour], count[colour])
            count[:] = 0


@njit(cache=True, nogil=True)
def _shades(grey: NDArray[np.uint8], shades: NDArray[np.int32]) -> None:
    """How many pixels of grey pictures have each of three shades."""
    size = len(grey)
    light, lighter = np.zeros(64, np.uint8), np.zeros(64, np.uint8)
    for i in range(size):
        row = grey[i]
        for lane in range(64):
            light[lane] += np.uint8(row[lane] >= 86)
        for lane in range(64):
            lighter[lane] += np.uint8(row[lane] >= 172)
        if i % _FLUSH == _FLUSH - 1 or i == size - 1:
            _add(shades[1], light)
            _add(shades[2], lighter)
            light[:] = 0
            lighter[:] = 0
    for lane in range(64):
        shades[0, lane] = size - shades[1, lane]
        shades[1, lane] -= shades[2, lane]


@njit(cache=True, nogil=True)
def _marks(grey: NDArray[np.uint8], width: int, side: int, codes: NDArray[np.uint8]) -> None:
    """Corners of each block of side x side pixels, two bits each."""
    height = len(grey) // width
    across = width // side
    for block in range(len(codes)):
        top = (block // across) * side * width + (block % across) * side
        low = top + (side - 1) * width
        a, b, c, d = grey[top], grey[top + side - 1], grey[low], grey[low + side - 1]
        out = codes[block]
        for lane in range(64):
            high = (a[lane] & 192) | ((b[lane] & 192) >> 2)
            out[lane] = np.uint8(high | ((c[lane] & 192) >> 4) | ((d[lane] & 192) >> 6))
    assert height >= side


@njit(cache=True, nogil=True)
def _lanes(
    planes: NDArray[np.uint8],
    place: tuple[NDArray[np.int64], NDArray[np.int64]],
    blocks: NDArray[np.int32],
    sums: NDArray[np.int64],
    codes: NDArray[np.uint8],
) -> None:
    """Sums over 64 pictures side by side.

    Args:
        planes: uint8 [C H W, 64], C = 1 or 3.
        place: block of 8 along each axis that every row and every column belongs to.
        blocks: int32 [64 + 16 C + 32 + 27, 64], filled: sums over 8x8 blocks of grey, over 4x4
            blocks of every channel and of steps across and down, and counts of colours.
        sums: int64 [len(SUMS), 64], filled.
        codes: uint8 [M, 64], filled with the marks.
    """
    height, width = len(place[0]), len(place[1])
    size = height * width
    blocks[:] = 0
    sums[:] = 0
    if len(planes) == 3 * size:
        grey = np.empty((size, 64), np.uint8)
        _grey(planes, grey, sums[10])
        _colours(planes, size, place, blocks[64:112], blocks[144:])
        steps = blocks[112:144]
    else:
        grey = planes
        _shades(grey, blocks[112:])
        steps = blocks[80:112]
    _rows(grey, place, blocks, steps, sums)
    for block in range(64):
        for lane in range(64):
            sums[0, lane] += blocks[block, lane]
    for cell in range(16):
        for lane in range(64):
            sums[2, lane] += steps[cell, lane]
            sums[3, lane] += steps[16 + cell, lane]
    if len(planes) == size:
        # The colour of a grey picture is its grey.
        for block in range(64):
            cell = 64 + (block // 16) * 4 + block % 8 // 2
            for lane in range(64):
                blocks[cell, lane] += blocks[block, lane]
    _marks(grey, width, max(2, -(-max(height, width) // 20)), codes)


@njit(cache=True, nogil=True)
def _finish(
    blocks: NDArray[np.int32],
    area: NDArray[np.float32],
    features: NDArray[np.float32],
) -> None:
    """Sums of 64 pictures to features: means, four times the mean steps, roots of shares.

    Args:
        blocks: int32 [F, 64], as ``_lanes`` fills them.
        area: float32 [F], pixels of each block; of the whole picture for counts.
        features: filled, float32 [B, F], B <= 64.
    """
    count, size = features.shape
    colours = size - 27
    steps = colours - 32
    line = np.empty((size, 64), np.float32)
    for i in range(size):
        out, row, pixels = line[i], blocks[i], area[i]
        for lane in range(64):
            out[lane] = np.float32(row[lane]) / pixels
        if i >= colours:
            for lane in range(64):
                out[lane] = np.float32(255.0) * np.sqrt(out[lane])
        elif i >= steps:
            for lane in range(64):
                out[lane] = min(np.float32(4.0) * out[lane], np.float32(255.0))
        for lane in range(64):
            # Adding 2^23 rounds a positive number as IEEE 754 says.
            out[lane] = (out[lane] + np.float32(8388608.0)) - np.float32(8388608.0)
    for lane in range(count):
        for i in range(size):
            features[lane, i] = line[i, lane]


@njit(cache=True, nogil=True)
def survey_pictures(
    words: NDArray[np.uint64],
    place: tuple[NDArray[np.int64], NDArray[np.int64]],
    area: NDArray[np.float32],
    features: NDArray[np.float32],
    sums: NDArray[np.int64],
    codes: NDArray[np.uint8],
) -> None:
    """Features, sums and marks of pictures.

    Args:
        words: bytes [C H W] of each picture as whole words, uint64 [64 K, W], K >= 1.
        place: block of 8 along each axis that every row and every column belongs to.
        area: float32 [F], pixels of each block; of the whole picture for counts.
        features: filled, float32 [B, F], B <= 64 K.
        sums: filled, int64 [B, len(SUMS)].
        codes: filled with the marks, uint8 [64 K, M or more, a multiple of 8].
    """
    longest = max(len(place[0]), len(place[1]))
    side = max(2, -(-longest // 20))
    marks = (len(place[0]) // side) * (len(place[1]) // side)
    count = len(features)
    channels = (features.shape[1] - 123) // 16
    size = channels * len(place[0]) * len(place[1])
    lanes = np.empty((8 * words.shape[1], 64), np.uint8)
    blocks = np.empty((features.shape[1], 64), np.int32)
    total = np.empty((sums.shape[1], 64), np.int64)
    code = np.zeros((codes.shape[1], 64), np.uint8)
    for first in range(0, count, 64):
        last = min(first + 64, count)
        interleave(words[first : first + 64], lanes.view(np.uint64))
        _lanes(lanes[:size], place, blocks, total, code[:marks])
        _finish(blocks, area, features[first:last])
        for row in range(first, last):
            for i in range(len(total)):
                sums[row, i] = total[i, row - first]
        interleave(code.view(np.uint64), codes[first : first + 64].view(np.uint64))
