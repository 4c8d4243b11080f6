"""Texts of an HDF5 file, read without the HDF5 library, which damaged ones can crash.

Texts lie in global heaps, rows of objects that each say how long they are; who refers to one says
it again. The library (2.0) believes both. Here both are held against the file.

    a heap       "GCOL", version 1, size; then objects: index 2 bytes, count 2, 0 4, size 8, values
    a reference  length 4 bytes, place of the heap 8, index 4

Source: HDF5 File Format Specification 3.0, III.E "Global Heap" and VIII.B "Global Heap ID".
"""

import mmap
import struct
from pathlib import Path
from types import TracebackType
from typing import Self, final

from clnf.core.errors import DataError

__all__ = ["Texts"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01\x00\x00\x00"
_HEAD = 16  # bytes before the first object, and before each object's values


@final
class Texts:
    """The texts of a file, while it is open.

    Args:
        path: of the file.

    Raises:
        DataError: it does not begin as HDF5 of h5py does, or its heaps are damaged.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        if path.stat().st_size < 64:
            raise DataError("it is too short")
        with path.open("rb") as file:
            self._raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        raw = self._raw
        lengths = raw[13:15] if raw[8] < 2 else raw[9:11]
        if raw[:8] != _SIGNATURE or raw[8] > 3 or lengths != b"\x08\x08":
            raise DataError("it does not begin as HDF5 does, or not as h5py writes it")
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        place = raw.find(_HEAP)
        while place >= 0:
            self._heaps[place] = self._walked(place)
            place = raw.find(_HEAP, place + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._raw.close()

    def at(self, place: int | None, count: int) -> list[str]:
        """So many texts that are referred to from a place on.

        Args:
            place: in the file; None where the references lie in pieces.
            count: of texts.

        Raises:
            DataError: a reference leads nowhere.
        """
        if place is None or place < 0 or place + 16 * count > len(self._raw):
            raise DataError("its texts lie in pieces or outside of it")
        found = []
        for number in range(count):
            length, heap, index = struct.unpack_from("<IQI", self._raw, place + 16 * number)
            start, size = self._heaps.get(heap, {}).get(index, (0, 0))
            if length > size:
                raise DataError("a text leads nowhere")
            found.append(self._raw[start : start + length].decode("utf8", "replace"))
        return found

    def _walked(self, start: int) -> dict[int, tuple[int, int]]:
        """Where each object of a heap lies, and its size."""
        raw, objects = self._raw, {}
        size = struct.unpack_from("<Q", raw, start + 8)[0] if start + _HEAD <= len(raw) else 0
        end, place = start + size, start + _HEAD
        if size < _HEAD or end > len(raw):
            raise DataError("its texts are cut")
        while place + _HEAD <= end:
            index, _, _, held = struct.unpack_from("<HHIQ", raw, place)
            # Free space counts its own head, objects do not, and are padded to 8 bytes.
            step = held if index == 0 else _HEAD + (held + 7) // 8 * 8
            if step < _HEAD or place + step > end:
                raise DataError("its texts are damaged")
            objects[index] = (place + _HEAD, held)
            place += step
        objects.pop(0, None)
        return objects
