"""Recordings: sounds from files, in one channel, at one rate, cut around what is loudest.

WAV is read by Python itself. OGG, FLAC and the rest need the extra ``sound``.
"""

import math
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

from clnf.core.errors import ConfigError, DataError, ShapeError, need
from clnf.core.inputs import check_fields, shown, whole
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity

__all__ = ["Cut", "loudest", "read_recording"]

_MOST_BYTES = 50_000_000
_MOST_SAMPLES = 10**8  # of a sound, and of a cut
_HIGHEST_HZ = 400_000  # fast recorders have 384 kHz; a header that says more is damaged
_LOUD_S = 0.1  # over which loudness is taken
_WIDTHS = {1: "u1", 2: "<i2", 4: "<i4"}


@final
@dataclass(frozen=True, kw_only=True)
class Cut:
    """Which part of a recording is kept.

    Attributes:
        rate_hz: samples a second of what is kept.
        length_s: how long it is; silence is put where a recording ends.
        before: share of it that comes before the loudest tenth of a second.
    """

    rate_hz: int = quantity("Hz", 16_000)
    length_s: float = quantity("s", 0.5)
    before: float = quantity("1", 0.35)

    def __post_init__(self) -> None:
        check_fields(self)
        if not (self.rate_hz >= 1 and 1 <= self.samples < _MOST_SAMPLES and 0 <= self.before <= 1):
            raise ConfigError(
                "a cut has a rate, some samples and a share before the loudest in [0, 1], got "
                f"{self.rate_hz} Hz, {self.length_s} s and {self.before}; correct it"
            )

    @property
    def samples(self) -> int:
        """How many it has."""
        good = 0 < self.length_s < math.inf
        return round(self.length_s * self.rate_hz) if good else 0


def read_recording(path: Path, *, rate_hz: int = 16_000) -> NDArray[np.float32]:
    """A sound in [-1, 1], float32 [samples]: the mean of its channels at a rate.

    Args:
        path: a file; ``.wav`` of 8, 16 or 32 bits, or what libsndfile reads with the extra.
        rate_hz: samples a second wanted, up to 400,000.

    Raises:
        ConfigError: another rate.
        DataError: no such file, one too large, or none that can be read: also one whose header
            says a rate that no recorder has.
        MissingExtraError: no WAV, and the extra ``sound`` is not installed.
    """
    if not isinstance(path, (str, Path)):
        raise DataError(f"a recording is named by its path, got {shown(path)}; give its name")
    path, rate_hz = Path(path), whole("rate_hz", rate_hz, least=1, most=_HIGHEST_HZ)
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise DataError(f"{path} is no file of at most {_MOST_BYTES // 10**6} MB; give a recording")
    made, rate = _wav(path) if path.suffix.lower() == ".wav" else _other(path)
    if not made.size or not np.isfinite(made).all():
        raise DataError(f"{path} holds no sound, or values that are not finite; leave it out")
    if not 1 <= rate <= _HIGHEST_HZ or len(made) * rate_hz > _MOST_SAMPLES * rate:
        raise DataError(
            f"{path} says that it has {rate} samples a second, and {len(made)} of them; its header "
            "is damaged, leave it out"
        )
    mono = made.mean(axis=1)
    common = math.gcd(rate, rate_hz)
    if rate != rate_hz:
        mono = resample_poly(mono, rate_hz // common, rate // common)
    return np.asarray(mono, np.float32)


def _wav(path: Path) -> tuple[NDArray[np.float32], int]:
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        fault = str(error) or "it ends early"
        raise DataError(
            f"{path} is no WAV file that can be read ({fault}); leave it out or save it anew"
        ) from None
    if width not in _WIDTHS:
        raise DataError(f"{path} has {8 * width} bits a sample; save it with 16")
    whole = len(data) // (width * channels) * width * channels
    found = (
        np.frombuffer(data[:whole], np.dtype(_WIDTHS[width]))
        .reshape(-1, channels)
        .astype(np.float32)
    )
    middle = 128.0 if width == 1 else 0.0
    return ((found - middle) / np.float32(2.0 ** (8 * width - 1))).reshape(-1, channels), rate


def _other(path: Path) -> tuple[NDArray[np.float32], int]:
    reader = need("soundfile", extra="sound")
    try:
        found, rate = reader.read(str(path), dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise DataError(f"{path} cannot be read as a sound ({error})") from None
    return found, int(rate)


def loudest(x: NDArray[np.float32], cut: Cut) -> NDArray[np.float32]:
    """The part of a sound [samples] around its loudest tenth of a second, float32 [cut.samples].

    Raises:
        DataError: a sample is not finite.
        ShapeError: no sound of one channel, or an empty one.

    >>> x = np.zeros(4000, np.float32); x[3000:3400] = 1.0
    >>> kept = loudest(x, Cut(rate_hz=1000, length_s=1.0, before=0.5))
    >>> kept.shape, int(kept.sum())
    ((1000,), 400)
    """
    found = dense("sounds", x, dtype=torch.float32).detach().cpu()
    if found.dim() != 1 or not len(found):
        raise ShapeError(f"a sound is one row of samples, got {[*found.shape]}; give one channel")
    fault = not_finite(found)
    if fault:
        raise DataError(f"sounds are finite, got {fault}; cut or mend them")
    x = found.numpy()
    around = np.ones(max(1, round(_LOUD_S * cut.rate_hz)), np.float32)
    middle = int(np.convolve(np.square(x), around, "same").argmax())
    first = middle - round(cut.before * cut.samples)
    out = np.zeros(cut.samples, np.float32)
    low, high = max(first, 0), min(first + cut.samples, len(x))
    out[low - first : high - first] = x[low:high]
    return out
