"""Convolutions of events, compiled: each event adds a patch of weights to what it reaches.

Where a place and a tap of the kernel lead to is in tables, one for each axis, -1 for nowhere.
Tables of the convolution make it, those of its transpose bring gradients back. Channels of the
result lie side by side while a picture is worked on, and go to their planes when it is done.

Legend: R pictures (steps times samples), C channels of events, H x W places of theirs, D channels
of the result, E x F places of theirs, k x l taps; L is D filled up to a multiple of 16.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import address, every, load, load_one, peek_word, save
from clnf.spiking.events.kernels import Events

__all__ = ["Places", "spread", "weigh"]

_F = np.float32
_I = np.uintp
_1 = _I(16)
_ROUND = 8  # pictures whose sums are taken together


class Places(NamedTuple):
    """Where events lead to.

    Attributes:
        down: int64 [H, k], a place of E or -1.
        across: int64 [W, l], a place of F or -1.
        rows: E.
        columns: F.
    """

    down: Any
    across: Any
    rows: int
    columns: int


@njit(inline="always")
def _place(index: int, high: int, wide: int) -> tuple[int, int, int]:
    """Channel, row and column of an event."""
    plane = _I(high) * _I(wide)
    channel = index // plane
    rest = index - channel * plane
    row = rest // _I(wide)
    return channel, row, rest - row * _I(wide)


@njit(nogil=True, cache=True, error_model="numpy")
def spread(
    events: Events,
    w: NDArray[np.float32],
    out: NDArray[np.float32],
    places: Places,
    part: tuple[int, int],
) -> None:
    """Pictures ``part[0]`` to ``part[1]``.

    Args:
        events: of pictures [R, C H W].
        w: weights [C, k, l, L].
        out: results [R, D, E F].
        places: where events lead to.
        part: of the pictures.
    """
    high, taps = places.down.shape
    wide, tips = places.across.shape
    lanes, channels, size = _I(w.shape[3]), out.shape[1], out.shape[2]
    sums = np.zeros((size, w.shape[3]), _F)
    weights, to = address(w), address(sums)
    index, value = address(events.index), address(events.value)
    for r in range(part[0], part[1]):
        sums[:] = _F(0.0)
        for event in range(_I(events.start[r]), _I(events.start[r + 1])):
            c, y, x = _place(_I(peek_word(index, event)), high, wide)
            times = every(load_one(value, event))
            for tap in range(taps):
                row = places.down[y, tap]
                if row < 0:
                    continue
                for tip in range(tips):
                    column = places.across[x, tip]
                    if column < 0:
                        continue
                    at = _I(row * places.columns + column) * lanes
                    of = ((c * _I(taps) + _I(tap)) * _I(tips) + _I(tip)) * lanes
                    for lane in range(_I(0), lanes, _1):
                        more = times * load(weights, of + lane)
                        save(sums, at + lane, load(to, at + lane) + more)
        for d in range(_I(channels)):
            for p in range(_I(size)):
                out[r, d, p] = sums[p, d]
    w.size, events.index.size, events.value.size  # noqa: B018


@njit(nogil=True, cache=True, error_model="numpy")
def weigh(
    events: Events,
    g: NDArray[np.float32],
    out: NDArray[np.float32],
    places: Places,
    part: tuple[int, int],
) -> None:
    """Sums for channels ``part[0]`` to ``part[1]``, which begin at multiples of 16.

    Args:
        events: of pictures [R, C H W].
        g: gradients of results, [R, D, E F].
        out: to be added to, [C, k, l, L].
        places: where events lead to.
        part: of the channels of the result.
    """
    high, taps = places.down.shape
    wide, tips = places.across.shape
    size, first = g.shape[2], part[0]
    lanes = _I(-(-(part[1] - first) // 16) * 16)
    grads = np.zeros((size, np.int64(lanes)), _F)
    sums = np.zeros((out.shape[0], taps, tips, np.int64(lanes)), _F)
    given, to = address(grads), address(sums)
    index, value = address(events.index), address(events.value)
    for begin in range(0, g.shape[0], _ROUND):
        sums[:] = _F(0.0)
        for r in range(begin, min(begin + _ROUND, g.shape[0])):
            for d in range(_I(part[1] - first)):
                for p in range(_I(size)):
                    grads[p, d] = g[r, _I(first) + d, p]
            for event in range(_I(events.start[r]), _I(events.start[r + 1])):
                c, y, x = _place(_I(peek_word(index, event)), high, wide)
                times = every(load_one(value, event))
                for tap in range(taps):
                    row = places.down[y, tap]
                    if row < 0:
                        continue
                    for tip in range(tips):
                        column = places.across[x, tip]
                        if column < 0:
                            continue
                        at = _I(row * places.columns + column) * lanes
                        of = ((c * _I(taps) + _I(tap)) * _I(tips) + _I(tip)) * lanes
                        for lane in range(_I(0), lanes, _1):
                            more = times * load(given, at + lane)
                            save(sums, of + lane, load(to, of + lane) + more)
        for c in range(out.shape[0]):
            for tap in range(taps):
                for tip in range(tips):
                    for d in range(_I(part[1] - first)):
                        out[c, tap, tip, _I(first) + d] += sums[c, tap, tip, d]
    events.index.size, events.value.size, grads.size  # noqa: B018
