"""Sounds: one note, summed from its partials, so nothing folds back at half the sample rate."""

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.streams.worlds.factors import AbstractWorld, Factor, Scene

__all__ = ["ENVELOPES", "RATE_HZ", "TIMBRES", "Sounds"]

RATE_HZ = 8000
TIMBRES = ("sine", "square", "saw", "reed", "bell")
ENVELOPES = ("steady", "pluck", "swell", "tremolo")

_SAMPLES = 2048
_PARTIALS = 16
_BELL = (1.0, 2.76, 5.40, 8.93)  # modes of a free bar, Fletcher and Rossing 1998


@final
class Sounds(AbstractWorld):
    """Notes, float32 [K, 1, 2048] in [-1, 1] at 8 kHz (0.256 s).

    Factors: timbre, envelope; ``pitch_hz`` (even in the logarithm), ``glide`` (octaves over the
    sound), ``loudness`` (largest possible amplitude), ``phase_rad``. A partial that would pass
    half the sample rate is left out.
    """

    factors = (
        Factor(name="timbre", kinds=TIMBRES),
        Factor(name="envelope", kinds=ENVELOPES),
        Factor(name="pitch_hz", low=110.0, high=880.0, logarithmic=True),
        Factor(name="glide", low=-0.25, high=0.25),
        Factor(name="loudness", low=0.2, high=0.9),
        Factor(name="phase_rad", high=2.0 * math.pi),
    )

    def render(self, scene: Scene) -> NDArray[np.float32]:
        """Notes from their factors."""
        part = np.arange(_SAMPLES) / _SAMPLES
        time_s = np.arange(_SAMPLES) / RATE_HZ
        pitch, glide = scene["pitch_hz"][:, None], scene["glide"][:, None]
        rate = np.log(2.0) * glide / time_s[-1]
        # Cycles since the start: the integral of pitch * 2^(glide t / T).
        slow = np.abs(rate) < 1e-9
        safe = np.where(slow, 1.0, rate)
        cycles = pitch * np.where(slow, time_s, np.expm1(rate * time_s) / safe)
        highest = pitch * np.exp2(np.maximum(glide, 0.0))
        wave = np.zeros_like(cycles)
        most = np.zeros_like(pitch)
        for number in range(_PARTIALS):
            ratio, level = _partials(scene["timbre"], number)
            level = np.where(ratio * highest < RATE_HZ / 2, level, 0.0)
            heard = level[:, 0] > 0.0
            turns = 2.0 * math.pi * ratio[heard] * cycles[heard]
            wave[heard] += level[heard] * np.sin(turns + scene["phase_rad"][heard, None])
            most += level
        wave *= scene["loudness"][:, None] / most * _envelope(scene["envelope"], part, time_s)
        return np.asarray(wave[:, None], np.float32)


def _partials(
    timbre: NDArray[np.float64], number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequency over pitch and level of one partial, [K, 1] each."""
    harmonic = number + 1.0
    bell = number < len(_BELL)
    rows = {
        "sine": (1.0, float(number == 0)),
        "square": (harmonic, harmonic % 2 / harmonic),
        "saw": (harmonic, 1.0 / harmonic),
        # Strong second and third partials around a weaker first.
        "reed": (harmonic, 1.0 / (1.0 + (harmonic - 2.5) ** 2)),
        "bell": (_BELL[number] if bell else 1.0, 0.6**number if bell else 0.0),
    }
    table = np.array([rows[name] for name in TIMBRES])[timbre.astype(int)]
    return table[:, :1], table[:, 1:]


def _envelope(
    which: NDArray[np.float64], part: NDArray[np.float64], time_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Amplitude over time in [0, 1], [K, L]; both ends fade within 5 ms."""
    shapes = {
        "steady": np.ones_like(part),
        "pluck": np.exp(-5.0 * part),
        "swell": part**2,
        "tremolo": 0.6 + 0.4 * np.sin(2.0 * math.pi * 20.0 * time_s),
    }
    fade = np.minimum(1.0, np.minimum(time_s, time_s[-1] - time_s) / 0.005)
    table = np.array([shapes[name] * fade for name in ENVELOPES])
    return np.asarray(table[which.astype(int)])
