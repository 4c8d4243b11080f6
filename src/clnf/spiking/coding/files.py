"""Files of events: ``.npz`` of our own, and ``.aedat`` of event cameras.

``.npz`` is a NumPy archive without objects. It holds ``version`` (1), ``time_us`` int64 [E], from 0
on and never falling, ``unit`` int64 [E], ``sign`` int8 [E], +1 or -1, and ``shape`` int64, the axes
whose flat index ``unit`` is.

``.aedat`` is AEDAT 2.0 as jAER writes it for the DVS128: header lines that begin with ``#``, then
pairs of big-endian 32-bit integers, address and microseconds. Bits 14 to 8 of an address are y,
bits 7 to 1 x, bit 0 is 1 for brighter; bit 15 marks events of another kind, which are left out.
Places count from the lower left corner.

Source: iniVation, "AEDAT file formats" (docs.inivation.com), versions 1.0 and 2.0.
"""

import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.files import check_file, write_files
from clnf.core.inputs import seconds, shown, whole
from clnf.core.tensors import dense

__all__ = ["Recording", "read_events", "write_events"]

_VERSION = 1
_AEDAT = b"#!AER-DAT2.0\r\n"
_CAMERA = (128, 128)
_LATEST_US = 2.0**53  # up to which microseconds are exact in what works them out
_MOST_COUNTS = 2**33
# What archives raise whose bits were changed: of zip, of its methods, of arrays.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, lzma.LZMAError, struct.error, tokenize.TokenError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Recording(NamedTuple):
    """Events of a sensor or a net, in the order of time.

    Attributes:
        time_us: microseconds, int64 [E].
        unit: what sent each, a flat index, int64 [E].
        sign: +1 or -1, int8 [E].
        shape: axes of the units.
    """

    time_us: NDArray[np.int64]
    unit: NDArray[np.int64]
    sign: NDArray[np.int8]
    shape: tuple[int, ...]

    @staticmethod
    def of(events: Tensor, *, dt_s: float) -> "Recording":
        """Events of steps [T, ...], +1, -1 or 0; one lies where its step begins.

        Times are whole microseconds, so steps are no shorter.

        Args:
            events: of sensors or cells.
            dt_s: seconds of a step.

        Raises:
            ConfigError: ``dt_s`` is no finite time above 0, or steps would not come back from
                microseconds.
            ShapeError: no tensor with steps.
            DataError: other numbers than +1, -1 and 0.

        >>> Recording.of(torch.tensor([[0, 1], [-1, 0]]), dt_s=1e-3).time_us
        array([   0, 1000])
        """
        found = dense("events", events, dtype=torch.float32).detach().cpu()
        step_us = seconds("dt_s", dt_s) * 1e6
        if found.dim() < 1:
            raise ShapeError("events have steps, got a single number; give [steps, ...]")
        rows = found.reshape(len(found), math.prod(found.shape[1:]))
        at = rows.nonzero().numpy()
        value = rows.numpy()[at[:, 0], at[:, 1]]
        if not bool(np.isin(value, (-1, 1)).all()):
            raise DataError("events are +1, -1 or 0, got other numbers; take their signs")
        time = np.rint(at[:, 0] * step_us)
        if len(time) and (
            time[-1] >= _LATEST_US or bool((np.floor((time + 0.5) / step_us) != at[:, 0]).any())
        ):
            raise ConfigError(
                f"{len(rows)} steps of {dt_s} s do not come back from whole microseconds; steps "
                "of 1e-6 s or more do, below 2^53 microseconds"
            )
        shape = tuple(found.shape[1:])
        return Recording(time.astype(np.int64), at[:, 1], value.astype(np.int8), shape)

    def steps(self, *, dt_s: float, steps: int | None = None, signs: bool = False) -> Tensor:
        """Counts of events in steps, [T, ...]; with ``signs`` [T, ..., 2], up and down apart.

        Args:
            dt_s: seconds of a step.
            steps: T; None for as many as there are events in. Later events are left out.
            signs: False adds up signs.

        Raises:
            ConfigError: ``dt_s`` is no finite time above 0, T is no number from 1 on, or there
                would be more counts than can be held.
            DataError: the recording is damaged: times out of order, units outside the axes.
        """
        seconds("dt_s", dt_s)
        _check(self, "the recording")
        # A little later than it began: a time that was rounded stays in its step.
        when = np.floor((self.time_us + 0.5) / (dt_s * 1e6))
        last = int(when[-1]) + 1 if len(when) else 1
        total = last if steps is None else whole("steps", steps, least=1)
        size = math.prod(self.shape)
        if total * size > _MOST_COUNTS:
            raise ConfigError(
                f"{total} steps of {size} units are more counts than can be held; give fewer steps "
                "or a longer dt_s"
            )
        kept = when < total
        at = np.where(kept, when, 0).astype(np.int64)
        place, sign = at[kept] * size + self.unit[kept], self.sign[kept]
        if not signs:
            found = np.bincount(place, weights=sign, minlength=total * size)
            return torch.from_numpy(found.astype(np.float32)).view(total, *self.shape)
        both = place * 2 + (sign < 0)
        found = np.bincount(both, minlength=total * size * 2).astype(np.float32)
        return torch.from_numpy(found).view(total, *self.shape, 2)


def write_events(path: Path | str, recording: Recording) -> None:
    """Write a recording; the ending of the name says how.

    Raises:
        ExportError: the file cannot be written.
        DataError: the recording is damaged, or not of a 128 x 128 camera for ``.aedat``.
    """
    ending = Path(path).suffix.lower() if isinstance(path, (str, Path)) else ""
    target = check_file(path, ending if ending == ".aedat" else ".npz")
    _check(recording, "the recording")
    content = _to_aedat(recording) if ending == ".aedat" else _to_npz(recording)
    write_files([(target, content)])


def read_events(path: Path | str) -> Recording:
    """Read a file that ends in ``.npz`` or ``.aedat``.

    Raises:
        DataError: there is none, or it is damaged or of another kind.
    """
    if not isinstance(path, (str, Path)):
        raise DataError(f"a file is named by its path, got {shown(path)}; give its name")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name another file") from None
    ending = Path(path).suffix.lower()
    if ending == ".aedat":
        return _from_aedat(content, str(path))
    if ending == ".npz":
        return _from_npz(content, str(path))
    raise DataError(f"files of events end in .npz or .aedat, got {Path(path).name!r}; rename it")


def _to_npz(recording: Recording) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(
        file,
        version=np.int64(_VERSION),
        time_us=recording.time_us.astype(np.int64),
        unit=recording.unit.astype(np.int64),
        sign=recording.sign.astype(np.int8),
        shape=np.asarray(recording.shape, np.int64),
    )
    return file.getvalue()


def _from_npz(content: bytes, name: str) -> Recording:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            version = int(arrays["version"])
            kinds = {"time_us": np.int64, "unit": np.int64, "sign": np.int8, "shape": np.int64}
            found = {key: arrays[key].astype(kind, casting="safe") for key, kind in kinds.items()}
    except _DAMAGE as error:
        fault = str(error) or type(error).__name__
        raise DataError(f"{name} is no file of events ({fault}); write it anew") from None
    if version != _VERSION:
        raise DataError(f"{name} has version {version}, this clnf reads {_VERSION}; update clnf")
    shape = tuple(int(axis) for axis in found["shape"].reshape(-1))
    recording = Recording(found["time_us"], found["unit"], found["sign"], shape)
    _check(recording, name)
    return recording


def _to_aedat(recording: Recording) -> bytes:
    if recording.shape != _CAMERA:
        raise DataError(
            f"an .aedat file here is of 128 x 128 places, got {[*recording.shape]}; write .npz"
        )
    if len(recording.time_us) and recording.time_us[-1] >= 2**31:
        raise DataError("an .aedat file holds 2^31 microseconds, 35 minutes; write .npz")
    y, x = np.divmod(recording.unit, _CAMERA[1])
    pairs = np.empty((len(x), 2), ">i4")
    pairs[:, 0] = y << 8 | x << 1 | (recording.sign > 0)
    pairs[:, 1] = recording.time_us
    return _AEDAT + pairs.tobytes()


def _from_aedat(content: bytes, name: str) -> Recording:
    if not content.startswith(_AEDAT[:12]):
        raise DataError(f"{name} is no AEDAT 2.0 file; only this version is read")
    at = 0
    while content[at : at + 1] == b"#":
        end = content.find(b"\n", at)
        if end < 0:
            raise DataError(f"{name} ends within its header; record it anew")
        at = end + 1
    if (len(content) - at) % 8:
        raise DataError(f"{name} ends within an event; it was cut off")
    pairs = np.frombuffer(content[at:], ">i4").reshape(-1, 2).astype(np.int64)
    pairs = pairs[(pairs[:, 0] & 0x8000) == 0]
    address = pairs[:, 0]
    unit = (address >> 8 & 0x7F) * _CAMERA[1] + (address >> 1 & 0x7F)
    sign = np.where(address & 1, 1, -1).astype(np.int8)
    order = np.argsort(pairs[:, 1], kind="stable")
    recording = Recording(pairs[order, 1], unit[order], sign[order], _CAMERA)
    _check(recording, name)
    return recording


def _check(recording: Recording, name: str) -> None:
    """Refuse what is no recording.

    Raises:
        DataError: kinds, lengths, order, places or signs are wrong.
    """
    if not isinstance(recording, Recording):
        raise DataError(f"{name} must be a Recording, got {shown(recording)}; make one")
    time, unit, sign, shape = recording
    fault = ""
    if not all(isinstance(one, np.ndarray) and one.dtype.kind in "iu" for one in recording[:3]):
        fault = "times, units and signs are not arrays of whole numbers"
    elif not isinstance(shape, tuple) or not all(isinstance(axis, Integral) for axis in shape):
        fault = f"its axes are {shown(shape)}, not a tuple of whole numbers"
    elif not time.shape == unit.shape == sign.shape or time.ndim != 1:
        fault = "times, units and signs are not of one length"
    elif min(shape, default=1) < 1:
        fault = f"its axes are {[*shape]}"
    elif len(time) and (time[0] < 0 or bool((time[1:] < time[:-1]).any())):
        fault = "its times are not in order from 0 on"
    elif len(time) and time[-1] >= _LATEST_US:
        fault = f"its last time is {time[-1]} microseconds, 2^53 or more"
    elif len(unit) and not 0 <= unit.min() <= unit.max() < np.prod(shape, dtype=np.float64):
        fault = f"it has units outside {[*shape]}"
    elif not bool(np.isin(sign, (-1, 1)).all()):
        fault = "its signs are not all +1 or -1"
    if fault:
        raise DataError(f"{name} is no recording of events: {fault}; correct it")
