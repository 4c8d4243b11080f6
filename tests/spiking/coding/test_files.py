"""Files of events come back as they were written; damaged ones get a sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from clnf.core.errors import ConfigError, DataError, ExportError
from clnf.spiking.coding import Recording, read_events, write_events


def recording(shape: tuple[int, ...] = (128, 128), events: int = 500) -> Recording:
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 10**6, events))
    sign = rng.choice(np.array([-1, 1], np.int8), events)
    return Recording(time, rng.integers(0, int(np.prod(shape)), events), sign, shape)


def same(one: Recording, other: Recording) -> bool:
    arrays = zip(one[:3], other[:3], strict=True)
    return one.shape == other.shape and all(np.array_equal(a, b) for a, b in arrays)


@pytest.mark.parametrize("ending", [".npz", ".aedat"])
def test_a_file_gives_what_was_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"events{ending}"
    write_events(path, recording())
    assert same(read_events(path), recording())
    first = path.read_bytes()
    write_events(path, recording())
    assert path.read_bytes() == first
    write_events(path, recording(events=0))
    assert same(read_events(path), recording(events=0))


def test_a_camera_file_is_what_its_makers_say(tmp_path: Path) -> None:
    path = tmp_path / "camera.aedat"
    lines = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
    events = [(5 << 8 | 7 << 1 | 1, 10), (0x8000, 11), (127 << 8 | 0 << 1, 12)]
    path.write_bytes(lines + np.array(events, ">i4").tobytes())
    found = read_events(path)
    assert found.time_us.tolist() == [10, 12]
    assert [divmod(unit, 128) for unit in found.unit.tolist()] == [(5, 7), (127, 0)]
    assert found.sign.tolist() == [1, -1]


def test_steps_become_events_and_steps_again() -> None:
    events = torch.randint(-1, 2, (40, 3, 4), generator=torch.Generator().manual_seed(0)).float()
    events[-1, 0, 0] = 1
    for dt_s in (1e-3, 1 / 3000, 7e-5):
        found = Recording.of(events, dt_s=dt_s)
        assert torch.equal(found.steps(dt_s=dt_s), events)
        both = found.steps(dt_s=dt_s, signs=True)
        assert torch.equal(both[..., 0] - both[..., 1], events)
    assert torch.equal(Recording.of(events, dt_s=1e-3).steps(dt_s=1e-3, steps=9), events[:9])
    assert Recording.of(events, dt_s=1e-3).steps(dt_s=2e-3).shape == (20, 3, 4)
    with pytest.raises(ConfigError, match="dt_s"):
        found.steps(dt_s=0.0)


@settings(max_examples=60, deadline=None)
@given(some.binary(max_size=200), some.sampled_from([".npz", ".aedat"]), some.booleans())
def test_any_bytes_give_events_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str, headed: bool
) -> None:
    path = tmp_path_factory.mktemp("events") / f"any{ending}"
    path.write_bytes(b"#!AER-DAT2.0\r\n" * headed + content)
    try:
        read_events(path)
    except DataError as error:
        assert str(path) in str(error)


def test_a_cut_file_gets_a_sentence(tmp_path: Path) -> None:
    for ending in (".npz", ".aedat"):
        path = tmp_path / f"cut{ending}"
        write_events(path, recording())
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(DataError, match="cut"):
            read_events(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time_us": np.array([2, 1])}, "not in order"),
        ({"time_us": np.array([-1, 1])}, "not in order"),
        ({"unit": np.array([0, 6])}, "units outside"),
        ({"unit": np.array([-1, 0])}, "units outside"),
        ({"sign": np.array([1, 0], np.int8)}, "signs"),
        ({"sign": np.array([1], np.int8)}, "one length"),
        ({"shape": (2, 0)}, "axes"),
    ],
)
def test_a_damaged_recording_is_not_written(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    good = Recording(np.array([1, 2]), np.array([0, 5]), np.array([1, -1], np.int8), (2, 3))
    write_events(tmp_path / "good.npz", good)
    with pytest.raises(DataError, match=words):
        write_events(tmp_path / "bad.npz", good._replace(**change))  # type: ignore[arg-type]
    assert not (tmp_path / "bad.npz").exists()


def test_objects_and_other_files_are_refused(tmp_path: Path) -> None:
    arrays = dict(zip(("time_us", "unit", "sign"), recording()[:3], strict=True))
    np.savez(tmp_path / "new.npz", version=9, shape=np.array([128, 128]), **arrays)
    with pytest.raises(DataError, match="version 9"):
        read_events(tmp_path / "new.npz")
    objects = np.array([{}], object)
    np.savez(tmp_path / "objects.npz", version=1, time_us=objects)
    with pytest.raises(DataError, match="no file of events"):
        read_events(tmp_path / "objects.npz")
    with pytest.raises(DataError, match="cannot be read"):
        read_events(tmp_path / "none.npz")
    (tmp_path / "events.txt").touch()
    with pytest.raises(DataError, match=r"\.npz or \.aedat"):
        read_events(tmp_path / "events.txt")
    with pytest.raises(ExportError, match=r"\.npz"):
        write_events(tmp_path / "events.txt", recording())
    with pytest.raises(DataError, match="128 x 128"):
        write_events(tmp_path / "small.aedat", recording((4, 4)))
