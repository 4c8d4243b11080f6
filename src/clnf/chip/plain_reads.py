"""The read path of :mod:`clnf.chip.kernels` sixteen numbers at a time, to the same bits.

For rows that lie one after the other in memory, converters that do convert, and noise by vector:
what linear layers do that nothing special is asked of. Convolutions stay with the other path:
nearly all of their time goes to the product, and for few channels the passes here are slower.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.chip.kernels import Columns
from clnf.devices.sixteen import (
    WIDTH,
    every,
    every_word,
    greater,
    lesser,
    load,
    load_words,
    magnitude,
    nearest,
    save,
)
from clnf.devices.sixteen_maths import gauss4

__all__ = ["drive_rows", "sense_rows"]

_F = np.float32
_I = np.uintp
_LANES = np.arange(WIDTH, dtype=np.uint32)


@njit(inline="always")
def _clip(code: Any, most: float) -> Any:
    """Bounds come first in what is compared, so that what is not a number stays none."""
    return lesser(every(_F(most)), greater(every(_F(-most)), code))


@njit(inline="always")
def _largest(most: Any, lanes: NDArray[np.float32]) -> Any:
    save(lanes, _I(0), most)
    return np.int32(lanes.max())


@njit(inline="always")
def _sum_of(total: Any, lanes: NDArray[np.float32]) -> Any:
    """Halves of sixteen are added up, then halves of these."""
    save(lanes, _I(0), total)
    for half in (_I(8), _I(4)):
        for k in range(half):
            lanes[k] += lanes[half + k]
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])


@njit(inline="always")
def _finite_peak(x: NDArray[np.float32], place: tuple[Any, Any, Any], gain: Any, far: Any) -> Any:
    """Largest code asked for by inputs that are finite; ``place``: row, first column, columns."""
    (p, first, count), peak = place, np.int32(0)
    for c in range(count):
        asked = np.rint(x[p, first + c] * gain)
        if abs(asked) < _F(np.inf):
            peak = max(peak, abs(np.int32(min(max(asked, -far), far))))
    return peak


@njit(nogil=True, cache=True, error_model="numpy")
def drive_rows(
    x: NDArray[np.float32],
    power: NDArray[np.float32],
    dac: NDArray[np.float32],
    out: NDArray[np.float32],
    energy: NDArray[np.float32],
    first: int,
) -> int:
    """As :func:`clnf.chip.kernels.drive`, of contiguous arrays and with a largest code above 0."""
    gain, step, top, count = dac[0], dac[1], dac[2], _I(out.shape[1])
    far, peak, whole = _F(8.0) * top, np.int32(0), count - count % _I(WIDTH)
    lanes, some, weights = np.zeros(WIDTH, _F), np.zeros(WIDTH, _F), np.zeros(WIDTH, _F)
    for c in range(whole, count):
        weights[c - whole] = power[c]
    for p in range(_I(out.shape[0])):
        here, there = p * _I(x.shape[1]) + _I(first), p * count
        most, total = every(_F(0.0)), every(_F(0.0))
        for c in range(_I(0), whole, _I(WIDTH)):
            code = _clip(nearest(load(x, here + c) * every(gain)), far)
            most = greater(magnitude(code), most)
            volt = _clip(code, top) * every(step)
            save(out, there + c, volt)
            total = total + load(power, c) * (volt * volt)
        if whole < count:
            for c in range(whole, count):
                some[c - whole] = x[p, _I(first) + c]
            code = _clip(nearest(load(some, _I(0)) * every(gain)), far)
            most = greater(magnitude(code), most)
            volt = _clip(code, top) * every(step)
            save(lanes, _I(0), volt)
            for c in range(whole, count):
                out[p, c] = lanes[c - whole]
            total = total + load(weights, _I(0)) * (volt * volt)
        energy[p] = _sum_of(total, lanes)
        mine = _largest(most, lanes)
        if mine > max(top, peak):
            mine = _finite_peak(x, (p, _I(first), count), gain, far)
        peak = max(peak, mine)
    return int(peak)


@njit(inline="always")
def _codes(y: Any, spread: Any, gain: Any, index: Any, key: tuple[Any, Any]) -> Any:
    """Codes that currents with noise ask for."""
    return nearest((y + spread * gauss4(index, key[0], key[1])) * gain)


@njit(nogil=True, cache=True, error_model="numpy")
def sense_rows(
    y: NDArray[np.float32],
    energy: NDArray[np.float32],
    columns: Columns,
    control: NDArray[np.float32],
    key: NDArray[np.uint32],
    out: NDArray[np.float32],
) -> int:
    """As :func:`clnf.chip.kernels.sense`, of contiguous arrays, energy [P, 1], a largest code."""
    count, top, far = _I(y.shape[1]), control[2], _F(8.0) * control[2]
    long, lanes = (count + _I(WIDTH - 1)) // _I(WIDTH) * _I(WIDTH), load_words(_LANES, _I(0))
    gain, step, bias = np.zeros(long, _F), np.zeros(long, _F), np.zeros(long, _F)
    sigma, some, held = np.zeros(long, _F), np.zeros(WIDTH, _F), np.zeros(WIDTH, _F)
    for c in range(count):
        gain[c] = control[0] / columns.scale[c]
        step[c] = control[1] * columns.scale[c]
        bias[c] = control[4] * columns.bias[c]
        sigma[c] = columns.sigma[c]
    keys, more, most = (key[0], key[1]), control[5] > _F(0.0), every(_F(0.0))
    for p in range(_I(y.shape[0])):
        root, there = control[3] * np.sqrt(energy[p, 0]), p * count
        for c in range(_I(0), long, _I(WIDTH)):
            whole = c + _I(WIDTH) <= count
            if not whole:
                for k in range(count - c):
                    some[k], held[k] = y[p, c + k], out[p, c + k]
            current = load(y, there + c) if whole else load(some, _I(0))
            before = load(out, there + c) if whole else load(held, _I(0))
            index = lanes + every_word(np.uint32(there + c))
            code = _codes(current, load(sigma, c) * every(root), load(gain, c), index, keys)
            code = _clip(code, far)
            most = greater(magnitude(code), most)
            value = _clip(code, top) * load(step, c) + load(bias, c)
            value = (before if more else every(_F(0.0))) + value
            if whole:
                save(out, there + c, value)
                continue
            save(some, _I(0), value)
            for k in range(count - c):
                out[p, c + k] = some[k]
                some[k] = _F(0.0)
    return int(_largest(most, some)) if control[6] > _F(0.0) else 0
