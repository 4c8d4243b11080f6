"""Weights read back from cells in one pass: after each step of pulses, all of them.

What stands behind a cell has no law of drift and no wires here, and its read noise is a share of
its conductance or none; other cells are read tile by tile, see ``AbstractCells.own_slices``.

Legend: C columns of a tile, R its rows, M = C R, O columns of a layer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.wiring import Spot
from clnf.devices import sixteen_maths
from clnf.devices.batch_moves import runs_of
from clnf.devices.cell import Unknown
from clnf.devices.kernels import gauss8
from clnf.devices.noise import RelativeNoise
from clnf.devices.sixteen import (
    WIDTH,
    every,
    every_word,
    greater,
    lesser,
    load,
    load_words,
    nearest,
    root,
    save,
)

__all__ = ["LayerReader", "is_plain", "numbers_of", "sense_lines"]

_F = np.float32
_I = np.uintp
_LANES = np.arange(WIDTH, dtype=np.uint32)


class _Sums(NamedTuple):
    """What a read of a run of rows needs besides weights.

    Shapes: ``power`` [R], the variance of a read summed over columns, then its mean; ``sigma``
    [O], the mean over rows, then the noise scale; ``scale`` [O], weight at full scale.
    """

    power: Any
    sigma: Any
    scale: Any


def is_plain(tile: Crossbar) -> bool:
    """Whether one pass reads a tile."""
    noise = tile.cell.noise
    law = tile.drifts or not isinstance(noise, Unknown | RelativeNoise)
    other = tile.make.wires is not None or tile.make.mapping.slices > 1 or tile.uneven is not None
    return not (law or other or (tile.fast is not None and tile.gamma))


def numbers_of(tile: Crossbar) -> NDArray[np.float32]:
    """Weight of one unit of w, read noise as a share, and what makes a conductance of w."""
    (low, high), planes = tile.cell.bounds, tile.planes
    per_w = tile.make.mapping.coefficient * 2 / (high - low) * tile.heat
    return np.array((_F(per_w * planes) / _F(planes), *tile.relative_noise), dtype=_F)


@njit(inline="always")
def _lanes_sum(lanes: NDArray[np.float32]) -> float:
    for half in (8, 4):
        for k in range(half):
            lanes[k] += lanes[half + k]
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])


@njit(inline="always")
def _rest(seen: NDArray[np.float32], at: Any, numbers: NDArray[np.float32]) -> Any:
    """Sum and squared spreads of the planes of one weight."""
    total, square = _F(0.0), _F(0.0)
    for plane in range(seen.shape[0]):
        value = seen[plane, at]
        sigma = numbers[1] * (numbers[2] + value)
        total, square = total + (-value if plane % 2 else value), square + sigma * sigma
    return total, square


@njit(inline="always")
def _sixteen(seen: NDArray[np.float32], at: Any, numbers: NDArray[np.float32]) -> Any:
    """The same of sixteen neighbours."""
    cells, share, middle = _I(seen.shape[1]), every(numbers[1]), every(numbers[2])
    total, square = every(_F(0.0)), every(_F(0.0))
    for plane in range(seen.shape[0]):
        value = load(seen, _I(plane) * cells + at)
        sigma = share * (middle + value)
        total = total - value if plane % 2 else total + value
        square = square + sigma * sigma
    return total, square


@njit(inline="always")
def _finish(sums: _Sums) -> None:
    """Take means: variance(row, column) ~ power(row) sigma(column)^2."""
    columns, mean = _F(sums.sigma.shape[0]), 0.0
    for r in range(sums.power.shape[0]):
        sums.power[r] /= columns
        mean += np.float64(sums.power[r])
    level = max(_F(mean / sums.power.shape[0]), _F(1e-30))
    for c in range(sums.sigma.shape[0]):
        sums.sigma[c] = np.sqrt(sums.sigma[c] / level)


@njit(nogil=True, cache=True)
def _read_cells(
    seen: NDArray[np.float32],
    full: tuple[NDArray[np.float32], NDArray[np.float32]],
    numbers: NDArray[np.float32],
    out: tuple[NDArray[np.float32], NDArray[np.float32]],
    sums: _Sums,
    place: tuple[int, int, int, bool, bool],
) -> None:
    """Read one tile.

    Args:
        seen: visible cell values [planes, M]; planes count up and down in turn.
        full: weight at full scale and compensation, [C] each.
        numbers: see :func:`numbers_of`.
        out: weights of the layer [O, all rows] and of the run of rows [O, rows of the run].
        sums: ``power`` and ``sigma`` are added to and set, ``scale`` is set.
        place: first column in ``out`` and ``sums``, first row in the layer, rows R, and whether
            this tile is the first and the last of its run of rows.
    """
    first, row, wide, begins, ends = place
    if begins:
        for r in range(sums.power.shape[0]):
            sums.power[r] = _F(0.0)
    columns, rows = full[0].shape[0], _I(wide)
    whole = rows - rows % _I(WIDTH)
    scale, square_of = every(numbers[0]), numbers[0] * numbers[0]
    lanes = np.empty(WIDTH, _F)
    for c in range(columns):
        top = full[0][c] * full[1][c]
        factor, square = every(top), top * top
        at, there = _I(c) * rows, _I(first + c) * _I(out[0].shape[1]) + _I(row)
        here, spread = _I(first + c) * rows, every(_F(0.0))
        for r in range(_I(0), whole, _I(WIDTH)):
            total, power = _sixteen(seen, at + r, numbers)
            total = total * scale * factor
            save(out[0], there + r, total)
            save(out[1], here + r, total)
            power = power * every(square_of) * every(square)
            save(sums.power, r, load(sums.power, r) + power)
            spread = spread + power
        save(lanes, _I(0), spread)
        for r in range(whole, rows):
            one, two = _rest(seen, at + r, numbers)
            one, two = one * numbers[0] * top, two * square_of * square
            out[0][_I(first + c), _I(row) + r] = one
            out[1][_I(first + c), r] = one
            sums.power[r] += two
            lanes[r - whole] += two
        sums.sigma[first + c] = _lanes_sum(lanes) / _F(wide)
        sums.scale[first + c] = max(top, _F(1e-12))
    if ends:
        _finish(sums)


class _Tile(NamedTuple):
    """One tile as the kernel takes it, and the tensors of which that holds."""

    seen: Tensor
    scale: Tensor
    compensation: Tensor
    heat: float
    arrays: tuple[Any, ...]


@final
class LayerReader:
    """Reads a layer's tiles again and again; it keeps views of what is there, for speed.

    Args:
        tiles: what is read.
        spots: where they stand.
    """

    def __init__(self, tiles: Sequence[Crossbar], spots: Sequence[Spot]) -> None:
        self._tiles, self._spots = tiles, spots
        self._law = all(map(is_plain, tiles))
        parts = [spot.part for spot in spots]
        self._ends = [
            (parts.index(part) == k, k == len(parts) - 1 - parts[::-1].index(part))
            for k, part in enumerate(parts)
        ]
        self._held: list[_Tile | None] = [None] * len(tiles)
        self._parts: Sequence[Any] = ()
        self._out: list[tuple[NDArray[np.float32], _Sums]] = []

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what is loaded, has tensors of its own and must look at them anew."""
        return {**vars(self), "_held": [None] * len(self._tiles), "_parts": (), "_out": []}

    @property
    def is_plain(self) -> bool:
        """Whether one pass reads all tiles."""
        other = any((tile.fast and tile.gamma) or tile.uneven is not None for tile in self._tiles)
        return self._law and not other

    def read(self, weight: Tensor, parts: Sequence[Sequence[Any]]) -> None:
        """Read all tiles.

        Args:
            weight: what the cells read, set, [O, all rows].
            parts: of each run of rows, in a list of one: its ``weight`` [O, R], ``power_GC``, the
                variance by row, and ``columns`` (see :class:`clnf.chip.kernels.Columns`), all set
                in place.
        """
        if parts is not self._parts:
            self._parts, self._out = parts, []
            for (part,) in parts:
                held = part.power_GC.view(-1), part.columns.sigma, part.columns.scale
                sums = _Sums(*(tensor.numpy() for tensor in held))
                self._out.append((part.weight.numpy(), sums))
        whole = weight.numpy()
        for k, spot in enumerate(self._spots):
            (seen, full, numbers, place), (part, sums) = self._arrays(k), self._out[spot.part]
            _read_cells(seen, full, numbers, (whole, part), sums, place)

    def _arrays(self, k: int) -> tuple[Any, ...]:
        tile, held = self._tiles[k], self._held[k]
        same = held is not None and held.seen is tile.seen and held.scale is tile.scale
        if same and held.compensation is tile.compensation and held.heat == tile.heat:  # type: ignore[union-attr]
            return held.arrays  # type: ignore[union-attr]
        full = tile.scale.numpy(), tile.compensation.numpy()
        place = self._spots[k].columns.start, tile.rows.start, tile.shape[1], *self._ends[k]
        arrays = tile.seen.numpy(), full, numbers_of(tile), place
        self._held[k] = _Tile(tile.seen, tile.scale, tile.compensation, tile.heat, arrays)
        return arrays


@njit(nogil=True, cache=True)
def sense_lines(
    seen: NDArray[np.float32],
    scale: NDArray[np.float32],
    lines: NDArray[np.int64],
    numbers: NDArray[np.float32],
    key: NDArray[np.uint32],
    out: NDArray[np.float32],
) -> None:
    """Read rows one after the other with noise, and convert them.

    Args:
        seen: visible cell values [planes, M].
        scale: weight at full scale of each column [C], which is its converter's full scale.
        lines: rows [K].
        numbers: see :func:`numbers_of`, and the largest code (0: no conversion).
        key: two words for the noise.
        out: weights [C, K].
    """
    columns, count = _I(out.shape[0]), _I(out.shape[1])
    rows, top = _I(seen.shape[1]) // columns, numbers[3]
    key0, key1, noisy = key[0], key[1], numbers[1] > _F(0.0)
    run = runs_of(lines)
    places = load_words(_LANES, _I(0)) * every_word(np.uint32(columns))
    for c in range(columns):
        full = numbers[0] * scale[c]
        gain, step = top / scale[c], scale[c] / max(top, _F(1.0))
        k = _I(0)
        while k < count:
            at = c * rows + _I(lines[k])
            if run[k]:
                index = places + every_word(np.uint32(k * columns + c))
                value, square = _sixteen(seen, at, numbers)
                value = value * every(full)
                if noisy:
                    spread = root(square * every(full * full))
                    value = value + spread * sixteen_maths.gauss8(index, key0, key1)
                if top > _F(0.0):
                    code = nearest(value * every(gain))
                    value = lesser(greater(code, every(-top)), every(top)) * every(step)
                save(out, c * count + k, value)
                k += _I(WIDTH)
                continue
            one, two = _rest(seen, at, numbers)
            one = one * full
            if noisy:
                place: Any = np.uint32(k * columns + c)
                draw = gauss8(place, key0, key1)
                one = one + np.sqrt(two * (full * full)) * draw
            if top > _F(0.0):
                one = min(max(np.rint(one * gain), -top), top) * step
            out[c, k] = one
            k += _I(1)
