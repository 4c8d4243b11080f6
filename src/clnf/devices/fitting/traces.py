"""Measured pulse trains: read from CSV, checked line by line, gaps filled with unread pulses."""

import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import DataError
from clnf.core.inputs import shown

__all__ = ["Traces", "join", "read_traces"]

_COLUMNS = {
    "device": ("device", "device_id", "cell", "cell_id", "sample", "dut"),
    "pulse": ("pulse", "pulse_number", "pulse_no", "pulse_index", "number", "n", "index"),
    "direction": ("direction", "dir", "polarity", "type", "sign"),
}
_SCALES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "ps": 1e-12}
_UP = {"up", "+1", "1", "1.0", "+", "ltp", "set", "potentiation", "p", "pot", "increase"}
_DOWN = {"down", "-1", "-1.0", "-", "ltd", "reset", "depression", "d", "dep", "decrease"}
_LONGEST = 1_000_000  # pulses of one gap
_FEWEST, _SHORTEST = 30, 8  # readings in all, readings of one device
_MOST_S = 1.0  # no memory cell conducts as well as that; the unit of the column is wrong


@final
@dataclass(frozen=True, kw_only=True)
class Traces:
    """Pulse trains of devices, one after the other, each pulse one row.

    Attributes:
        names: of the devices [N].
        ends: index behind the last row of each device [N].
        pulses: direction [T] int8: 1 up, -1 down, 0 where the weight before is not known.
        numbers: pulse number [T].
        conductance_s: conductance after the pulse in siemens [T], NaN where it was not read.
        sha256: of the file, empty without one.
        warnings: sentences about what was mended.
    """

    names: tuple[str, ...]
    ends: NDArray[np.int64]
    pulses: NDArray[np.int8]
    numbers: NDArray[np.int64]
    conductance_s: NDArray[np.float64]
    sha256: str = ""
    warnings: tuple[str, ...] = field(default=())

    def parts(self) -> Iterator[tuple[str, slice]]:
        """Each device's name and rows."""
        for name, (a, b) in zip(self.names, pairwise([0, *self.ends.tolist()]), strict=True):
            yield name, slice(a, b)

    @property
    def read(self) -> NDArray[np.bool_]:
        """Which rows hold a reading [T]."""
        return np.isfinite(self.conductance_s)

    def only(self, devices: Sequence[int]) -> "Traces":
        """The traces of some devices, by their index."""
        rows = [part for _, part in self.parts()]
        take = np.concatenate([np.arange(rows[i].start, rows[i].stop) for i in devices])
        lengths = [rows[i].stop - rows[i].start for i in devices]
        return Traces(
            names=tuple(self.names[i] for i in devices),
            ends=np.cumsum(lengths),
            pulses=self.pulses[take],
            numbers=self.numbers[take],
            conductance_s=self.conductance_s[take],
            sha256=self.sha256,
        )


def join(
    names: Sequence[str],
    pulses: Sequence[NDArray[np.int8]],
    conductances: Sequence[NDArray[np.float64]],
) -> Traces:
    """Put the trains of devices, with all their pulses, behind one another.

    Args:
        names: of the devices.
        pulses: directions of each device's pulses; its first is where the trace begins.
        conductances: siemens after each pulse, NaN where it was not read.
    """
    begun = []
    for row in pulses:
        row = row.copy()
        row[0] = 0
        begun.append(row)
    return Traces(
        names=tuple(names),
        ends=np.cumsum([len(row) for row in begun]),
        pulses=np.concatenate(begun),
        numbers=np.concatenate([np.arange(1, len(row) + 1) for row in begun]),
        conductance_s=np.concatenate(conductances),
    )


def read_traces(path: Path | str) -> Traces:
    """Read measured pulse trains from a CSV file.

    Columns by name, in any order: ``device`` (may be absent: one device), ``pulse`` (its number,
    rising within a device), ``direction`` (up or down, +1 or -1, ltp or ltd, set or reset) and
    ``conductance_s``, or ``conductance_us`` and so on. A row is a reading after a pulse. A pulse
    number that is missing, or an empty conductance, is a pulse that was given but not read.

    Raises:
        DataError: the file is not such a table; names the line, the value and what to do.
    """
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise DataError(f"traces are read from a CSV file, got {shown(path)}; give its path")
    path = Path(path)
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"no file at {path}; give the path of a CSV file") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; give the path of a CSV file in it") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text file; save the table as CSV in UTF-8") from None
    table = _table(path, text.splitlines())
    if len(table) < 2:
        raise DataError(f"{path} holds no table; it needs a line of names and lines of readings")
    places, scale = _header(path, table[0][1])
    return _checked(path, _rows(path, table, places, scale), hashlib.sha256(raw).hexdigest())


def _table(path: Path, lines: list[str]) -> list[tuple[int, list[str]]]:
    """Lines that hold something, with their numbers; the header is the first."""
    head = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    reader = csv.reader(lines, delimiter=max(",;\t", key=head.count))
    try:
        return [
            (reader.line_num, [cell.strip() for cell in row])
            for row in reader
            if any(cell.strip() for cell in row) and not row[0].startswith("#")
        ]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num} is no line of a table ({error}); mend it"
        ) from None


def _header(path: Path, cells: list[str]) -> tuple[dict[str, int], float]:
    """Which column is where, and what a conductance is multiplied by."""
    heads = [cell.lower().replace(" ", "_").replace("[", "").replace("]", "") for cell in cells]
    heads = [head.replace("(", "").replace(")", "") for head in heads]
    places: dict[str, int] = {}
    scale = 1.0
    for place, head in enumerate(heads):
        stem, _, unit = head.rpartition("_")
        key = next((key for key, words in _COLUMNS.items() if head in words), "")
        if stem in ("conductance", "g") and unit in _SCALES:
            key, scale = "conductance", _SCALES[unit]
        if key in places:
            raise DataError(
                f"{path} has two columns for {key}, {cells[places[key]]!r} and {cells[place]!r}; "
                "keep one of them"
            )
        if key:
            places[key] = place
    missing = [key for key in ("pulse", "direction", "conductance") if key not in places]
    if missing:
        what = {"conductance": "conductance with its unit, for example conductance_us"}
        raise DataError(
            f"{path} has no column for {what.get(missing[0], missing[0])}; its columns are "
            f"{', '.join(cells)}; name them device, pulse, direction, conductance_s"
        )
    return places, scale


Row = tuple[int, int, int, float]  # line, pulse number, direction, conductance or NaN


def _rows(
    path: Path, table: list[tuple[int, list[str]]], places: dict[str, int], scale: float
) -> dict[str, list[Row]]:
    """Rows by device, each value checked; the first line is the header."""
    found: dict[str, list[Row]] = {}
    heads = table[0][1]
    for line, cells in table[1:]:
        where = f"{path}, line {line}"
        if cells == heads:
            raise DataError(f"{where}: the header comes a second time; keep the first one only")
        if len(cells) <= max(places.values()):
            raise DataError(f"{where}: {len(cells)} cells, fewer than the header names; mend it")
        if any(cells[len(heads) :]):
            raise DataError(
                f"{where}: {len(cells)} cells, more than the {len(heads)} of the header; write "
                "decimals with a point, or put ; between cells"
            )
        name = cells[places["device"]] if "device" in places else "1"
        number = _whole(where, cells[places["pulse"]])
        word = cells[places["direction"]].lower()
        if word not in _UP | _DOWN:
            raise DataError(f"{where}: direction {word!r} is neither up nor down; write up or down")
        g = _conductance(where, cells[places["conductance"]]) * scale
        rows = found.setdefault(name, [])
        if rows and number <= rows[-1][1]:
            what = "comes twice" if number == rows[-1][1] else f"comes after pulse {rows[-1][1]}"
            raise DataError(
                f"{where}: pulse {number} of device {name!r} {what}; number the pulses of a "
                "device upwards, once each"
            )
        if rows and number - rows[-1][1] > _LONGEST:
            raise DataError(
                f"{where}: {number - rows[-1][1]} pulses after the last one of device {name!r}; "
                f"a gap may hold {_LONGEST}: give the rest another device name"
            )
        rows.append((line, number, 1 if word in _UP else -1, g))
    return found


def _float(word: str) -> float:
    """A number as tables write it; Python also takes 1_04 for 104."""
    if "_" in word:
        raise ValueError(word)
    return float(word)


def _whole(where: str, word: str) -> int:
    try:
        value = _float(word)
    except ValueError:
        value = math.nan
    if not value.is_integer() or not 0 <= value < 2**53:
        raise DataError(f"{where}: pulse number {word!r} is no whole number; count pulses 1, 2, 3")
    return int(value)


def _conductance(where: str, word: str) -> float:
    if word.lower() in ("", "nan", "na", "-"):
        return math.nan
    try:
        value = _float(word)
    except ValueError:
        what = "write a decimal point" if "," in word else "leave it empty where nothing was read"
        raise DataError(f"{where}: conductance {word!r} is no number; {what}") from None
    if not math.isfinite(value) or value < 0:
        raise DataError(
            f"{where}: conductance {word} is not possible; give siemens >= 0, or leave it empty "
            "where the reading failed"
        )
    return value


def _checked(path: Path, found: dict[str, list[Row]], sha256: str) -> Traces:
    """Enough of it, in both directions, and moving."""
    warnings = []
    short = [n for n, rows in found.items() if sum(np.isfinite(r[3]) for r in rows) < _SHORTEST]
    kept = {name: rows for name, rows in found.items() if name not in short}
    readings = [row for rows in kept.values() for row in rows if np.isfinite(row[3])]
    if len(readings) < _FEWEST:
        raise DataError(
            f"{path} holds {len(readings)} readings of devices with {_SHORTEST} or more; "
            f"a fit needs {_FEWEST}: measure more pulses"
        )
    if short:
        warnings.append(
            f"left out {len(short)} devices with fewer than {_SHORTEST} readings: "
            + ", ".join(short[:5]) + (" ..." if len(short) > 5 else "")
        )  # fmt: skip
    ways = {row[2] for row in readings}
    if len(ways) == 1:
        word, other = ("up", "down") if ways == {1} else ("down", "up")
        raise DataError(
            f"all {len(readings)} pulses of {path} go {word}; a cell's law needs both directions: "
            f"add trains of {other} pulses"
        )
    values = {row[3] for row in readings}
    if len(values) == 1:
        raise DataError(
            f"the conductance in {path} is {values.pop():.4g} S in all {len(readings)} readings; "
            "nothing moves: check the column and the device"
        )
    usual = float(np.median([row[3] for row in readings]))
    if usual > _MOST_S:
        raise DataError(
            f"the usual conductance in {path} is {usual:.4g} S, more than a memory cell has; name "
            "the column by its unit, for example conductance_us"
        )
    return _filled(kept, sha256, warnings)


def _filled(kept: dict[str, list[Row]], sha256: str, warnings: list[str]) -> Traces:
    """Rows for pulses that were not read; their direction from neighbours or other devices."""
    ways: dict[int, set[int]] = {}
    for rows in kept.values():
        for _, number, way, _ in rows:
            ways.setdefault(number, set()).add(way)
    numbers, pulses, readings, ends, cut, total = [], [], [], [], 0, 0
    for rows in kept.values():
        rows = rows[next(i for i, row in enumerate(rows) if np.isfinite(row[3])) :]
        for before, row in pairwise([None, *rows]):
            if before is not None and row is not None:
                span = range(before[1] + 1, row[1])
                fill = [_way(n, ways, before[2], row[2]) for n in span]
                lost = 0 in fill
                cut += lost
                numbers += [*span]
                pulses += fill
                readings += [math.nan] * len(span)
            if row is not None:
                numbers.append(row[1])
                pulses.append(0 if before is None else row[2])
                readings.append(row[3])
        total = len(numbers)
        ends.append(total)
    if cut:
        warnings.append(
            f"{cut} {'gap hides' if cut == 1 else 'gaps hide'} where the direction turned; a trace "
            "begins anew behind each"
        )
    return Traces(
        names=tuple(kept),
        ends=np.array(ends),
        pulses=np.array(pulses, dtype=np.int8),
        numbers=np.array(numbers),
        conductance_s=np.array(readings),
        sha256=sha256,
        warnings=tuple(warnings),
    )


def _way(number: int, ways: dict[int, set[int]], before: int, after: int) -> int:
    """Direction of a pulse without a row; 0 where nothing tells it."""
    known = ways.get(number, set())
    if len(known) == 1:
        return next(iter(known))
    return before if before == after else 0
