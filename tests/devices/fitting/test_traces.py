"""CSV files of pulse trains: what is understood, what is mended, what is refused and how."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clnf.core.errors import DataError
from clnf.devices.fitting import CellLaw, Schedule, measured, read_traces, write_csv

HEAD = "device,pulse,direction,conductance_us"


def table(tmp_path: Path, rows: Sequence[str], head: str = HEAD) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def good(device: str = "a", count: int = 40) -> list[str]:
    way = ["up"] * (count // 2) + ["down"] * (count - count // 2)
    return [f"{device},{i + 1},{way[i]},{100 + min(i, count - i)}" for i in range(count)]


def test_a_plain_table_is_read(tmp_path: Path) -> None:
    traces = read_traces(table(tmp_path, good("a") + good("b")))
    assert traces.names == ("a", "b")
    assert traces.ends.tolist() == [40, 80]
    assert traces.conductance_s[1] == pytest.approx(101e-6)
    assert traces.pulses[[0, 1, 39, 40]].tolist() == [0, 1, -1, 0]
    assert len(traces.sha256) == 64


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("Device;Pulse number;Polarity;G [nS]", "a;{n};{d};{g}"),
        ("cell\tn\tdir\tConductance (nS)", "a\t{n}\t{d}\t{g}"),
        ("conductance_ns,direction,pulse", "{g},{d},{n}"),
    ],
)
@pytest.mark.parametrize("ways", [("+1", "-1"), ("LTP", "LTD"), ("set", "reset"), ("Up", "Down")])
def test_names_units_and_words_people_use(
    tmp_path: Path, head: str, row: str, ways: tuple[str, str]
) -> None:
    rows = [row.format(n=i + 1, d=ways[i >= 20], g=50 + i) for i in range(40)]
    traces = read_traces(table(tmp_path, rows, head))
    assert traces.conductance_s[3] == pytest.approx(53e-9)
    assert traces.pulses[19:21].tolist() == [1, -1]


def test_missing_pulses_are_pulses_that_were_not_read(tmp_path: Path) -> None:
    rows = good()
    rows[5] = "a,6,up,"
    del rows[9:12]
    traces = read_traces(table(tmp_path, rows))
    assert len(traces.pulses) == 40
    assert np.flatnonzero(~traces.read).tolist() == [5, 9, 10, 11]
    assert traces.pulses[9:12].tolist() == [1, 1, 1]


def test_a_gap_over_a_turn_takes_it_from_other_devices_or_begins_anew(tmp_path: Path) -> None:
    rows = good()
    del rows[17:23]
    alone = read_traces(table(tmp_path, rows))
    assert alone.pulses[17:23].tolist() == [0] * 6
    assert "turned" in alone.warnings[0]
    both = read_traces(table(tmp_path, rows + good("b")))
    assert both.pulses[17:23].tolist() == [1, 1, 1, -1, -1, -1]
    assert both.warnings == ()


def broken(change: str) -> tuple[str, list[str]]:
    """A head and rows with one fault."""
    rows, head = good(), HEAD
    places = {
        "text": (4, "a,5,up,high"), "negative": (4, "a,5,up,-3"), "infinite": (4, "a,5,up,inf"),
        "sideways": (4, "a,5,left,104"), "twice": (4, "a,4,up,104"), "back": (4, "a,2,up,104"),
        "comma": (4, "a,5,up,1,04"), "quoted": (4, 'a,5,up,"1,04"'), "line": (4, "a,5,up,1_04"),
        "again": (4, HEAD), "half": (4, "a,4.5,up,104"), "short": (4, "a,5,up"),
        "far": (39, "a,9999999,down,100"),
    }  # fmt: skip
    if change in places:
        at, row = places[change]
        rows[at] = row
    if change == "siemens":
        head = head.replace("_us", "_s")
    if change == "column":
        head = "device,pulse,direction,current"
    if change in ("units", "names"):
        head += ",conductance_s" if change == "units" else ",Pulse number"
        rows = [f"{row},1" for row in rows]
    if change == "zero":
        rows[4] = "a,5,up,\0"
    if change == "long":
        rows[4] = "a,5,up," + "9" * 200_000
    if change == "few":
        rows = rows[:12]
    if change == "one way":
        rows = [row.replace("down", "up") for row in rows]
    if change == "constant":
        rows = [row.rsplit(",", 1)[0] + ",100" for row in rows]
    return head, rows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("text", "line 6: conductance 'high' is no number; leave it empty"),
        ("negative", "line 6: conductance -3 is not possible; give siemens"),
        ("infinite", "line 6: conductance inf is not possible"),
        ("sideways", "line 6: direction 'left' is neither up nor down; write up or down"),
        ("twice", "line 6: pulse 4 of device 'a' comes twice; number"),
        ("back", "line 6: pulse 2 of device 'a' comes after pulse 4; number"),
        ("half", "line 6: pulse number '4.5' is no whole number"),
        ("short", "line 6: 3 cells, fewer than the header names"),
        ("comma", "line 6: 5 cells, more than the 4 of the header; write decimals with a point"),
        ("quoted", "line 6: conductance '1,04' is no number; write a decimal point"),
        ("line", "line 6: conductance '1_04' is no number"),
        ("again", "line 6: the header comes a second time; keep the first one only"),
        ("units", "two columns for conductance, 'conductance_us' and 'conductance_s'; keep one"),
        ("names", "two columns for pulse, 'pulse' and 'Pulse number'; keep one"),
        ("zero", "line 6"),
        ("long", "line 6 is no line of a table .field larger than"),
        ("far", "line 41: 9999960 pulses after the last one of device 'a'"),
        ("column", "has no column for conductance with its unit"),
        ("few", "holds 12 readings of devices with 8 or more; a fit needs 30"),
        ("one way", "all 40 pulses of .* go up; a cell's law needs both directions: add trains of"),
        ("constant", "is 0.0001 S in all 40 readings; nothing moves"),
        ("siemens", "the usual conductance in .* S, more than a memory cell has; name the column"),
    ],
)
def test_garbage_is_refused_with_one_sentence(tmp_path: Path, change: str, says: str) -> None:
    head, rows = broken(change)
    with pytest.raises(DataError, match=says) as error:
        read_traces(table(tmp_path, rows, head))
    assert "\n" not in str(error.value)


def test_what_is_no_table_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(DataError, match="no file at"):
        read_traces(path)
    for none in (None, 3, "a\0b"):
        with pytest.raises(DataError, match="traces are read from a CSV file, got"):
            read_traces(none)  # type: ignore[arg-type]
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="not a text file"):
        read_traces(path)
    path.write_text("")
    with pytest.raises(DataError, match="holds no table"):
        read_traces(path)


def test_empty_cells_behind_a_line_are_no_readings(tmp_path: Path) -> None:
    """The control: tables from spreadsheets end in commas."""
    plain = read_traces(table(tmp_path, good()))
    trailing = read_traces(table(tmp_path, [f"{row},," for row in good()]))
    assert trailing.conductance_s.tolist() == plain.conductance_s.tolist()


def test_devices_with_few_readings_are_left_out_and_named(tmp_path: Path) -> None:
    traces = read_traces(table(tmp_path, good() + good("b")[:5]))
    assert traces.names == ("a",)
    assert "1 devices" in traces.warnings[0]
    assert "b" in traces.warnings[0]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    cell = CellLaw(
        law="soft_bounds",
        conductance_min_s=1e-4,
        conductance_max_s=2e-4,
        step_up=0.1,
        step_down=0.1,
    )
    wanted = measured(cell, Schedule(devices=3, train=20, cycles=2, missing=0.1), 0)
    write_csv(wanted, tmp_path / "t.csv")
    traces = read_traces(tmp_path / "t.csv")
    read = np.flatnonzero(wanted.read)
    assert np.allclose(traces.conductance_s[traces.read], wanted.conductance_s[read], rtol=1e-5)
    assert np.array_equal(traces.pulses[traces.read], wanted.pulses[read])
