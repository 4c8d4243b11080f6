"""Evenly spread trains of bits; those by chance are in :mod:`clnf.devices.random_trains`.

An evenly spread pair has one side with its bits in front and the other with its bits far apart;
they meet as often as asked, up to rounding. This is what the "deterministic implicit" pulses of the
IBM Analog Hardware Acceleration Kit count (Rasch et al., AICAS 2021), made of real trains.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.kernels import word

__all__ = ["BURST", "PHASES", "SPREAD", "encode_even"]

# Roles of evenly spread trains, and how far each one's phase goes on from vector to vector: the
# plane's most even sequence (Roberts 2018), from the root of x^3 = x + 1.
BURST, SPREAD = 0, 1
PHASES = (0xC13FA9A9, 0x91E10DA5)

_F = np.float32
_U = np.uint32
_I = np.uintp
_SIGNED = _U(0x80000000)
_PHASE_X, _PHASE_D = _U(PHASES[0]), _U(PHASES[1])


@njit(nogil=True, cache=True)
def encode_even(
    value: NDArray[np.float32],
    length: int,
    role: int,
    first: int,
    key: NDArray[np.uint32],
    words: NDArray[np.uint32],
) -> None:
    """Trains [N, M] without chance, whose coincidences are BL px pd up to rounding.

    A burst has its floor(BL p + psi) bits in front, a spread train has bit j set where
    floor(j p + phi) grows by one. With k bits of the one, they meet floor(k pd + phi) times. The
    phases psi and phi differ from line to line by the key and go on from vector to vector by fixed
    parts of a turn, so that what rounding takes from one vector it gives to others.

    Args:
        value: p with a sign; 1 and more sets all bits.
        length: bits of a train, <= 31.
        role: :data:`BURST` or :data:`SPREAD`.
        first: number of the first vector.
        key: two words, which set the phases of the lines.
        words: out; bits 0 to 30 a train, bit 31 the sign.
    """
    wide = _I(value.shape[1])
    phase, before = np.empty(wide, np.float32), np.empty(wide, np.float32)
    train, turn = np.empty(wide, np.uint32), _PHASE_X if role == BURST else _PHASE_D
    for n in range(_I(value.shape[0])):
        on = _U(_U(_U(first) + _U(n)) * turn)
        for m in range(wide):
            start = _U(word(_U(m), key[0], key[1]) + on)
            phase[m] = _F(_U(start >> _U(8))) * _F(2.0**-24)
            train[m], before[m] = _U(0), _F(0.0)
        if role == BURST:
            for m in range(wide):
                bits = _U(np.floor(min(abs(value[n, m]), _F(1.0)) * _F(length) + phase[m]))
                train[m] = _U(_U(_U(1) << bits) - _U(1))
        else:
            for b in range(length):
                bit = _U(_U(1) << _U(b))
                for m in range(wide):
                    after = np.floor(_F(b + 1) * min(abs(value[n, m]), _F(1.0)) + phase[m])
                    train[m] = _U(train[m] | (bit if after > before[m] else _U(0)))
                    before[m] = after
        for m in range(wide):
            words[n, m] = _U(train[m] | _SIGNED) if value[n, m] < _F(0.0) else train[m]
