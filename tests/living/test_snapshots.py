import errno
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clnf.core.errors import RunError
from clnf.living import snapshots

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.uint8,
    torch.bool,
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**200), max_value=2**200)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
)
tensors = st.builds(
    lambda dtype, shape: torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3),
)
keys = st.text(max_size=4) | st.sampled_from(["$tensor", "a/b", "a", "b", "$items"])
values = st.recursive(
    scalars | tensors,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys | st.integers(), inner, max_size=4)
    ),
    max_leaves=10,
)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return struct.pack("d", a) == struct.pack("d", b) if isinstance(a, float) else a == b


def parts(number: int) -> dict[str, dict[str, Any]]:
    weights = torch.arange(64.0) + number
    return {"model": {"w": weights, "n": number}, "learner": {"mark": {"rows": number}}}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(keys, values, max_size=4))
def test_state_comes_back_exactly(tmp_path: Path, state: dict[str, Any]) -> None:
    first = snapshots.save(tmp_path / "s", 1, {"learner": state})
    back = snapshots.load_latest(tmp_path / "s")
    assert same(back.parts["learner"], state)
    assert snapshots.save(tmp_path / "s", 1, back.parts) == first == back.sha256


def test_awkward_values_come_back_exactly(tmp_path: Path) -> None:
    nan_bits = torch.tensor([0x7FC1, -0x3F], dtype=torch.int16).view(torch.bfloat16)
    state = {
        "big": 2**64 + 1,
        "tiny": 5e-324,
        "minus": -0.0,
        "inf": float("-inf"),
        "third": 1 / 3,
        "empty": torch.empty(0, 3),
        "also empty": torch.empty(2, 0, dtype=torch.int32),
        "scalar": torch.tensor(3),
        "turned": torch.arange(6).reshape(2, 3).T,
        "a": {"b": torch.zeros(1)},
        "a/b": torch.ones(1),
        "looks like a tag": {"$tensor": "model/turned"},
    }
    snapshots.save(tmp_path, 0, {"model": {**state, "nan": float("nan"), "bits": nan_bits}})
    back = snapshots.load_latest(tmp_path).parts["model"]
    assert repr(back.pop("nan")) == "nan"
    assert torch.equal(back.pop("bits").view(torch.int16), nan_bits.view(torch.int16))
    assert same(back, state)
    assert not same(back, {**state, "minus": 0.0})


def test_an_optimizer_and_shared_parameters_survive(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"optimizer": optimizer.state_dict(), "one": layer.weight, "two": layer.weight}
    snapshots.save(tmp_path, 0, {"learner": state})
    back = snapshots.load_latest(tmp_path).parts["learner"]
    assert same(back["optimizer"], optimizer.state_dict())
    assert torch.equal(back["one"], layer.weight)
    assert torch.equal(back["two"], layer.weight)
    back["one"].add_(1)  # the tensors loaded are one's own to change
    torch.optim.AdamW(layer.parameters()).load_state_dict(back["optimizer"])


def test_what_json_cannot_say_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="learner/bad/0 is a set"):
        snapshots.save(tmp_path / "s", 0, {"learner": {"bad": [{1, 2}]}})
    assert list(tmp_path.iterdir()) == []


def test_where_the_folder_is_a_snapshot_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"

    def full(*_: object) -> None:
        assert not folder.exists()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "_write", full)
        with pytest.raises(RunError, match="the disk is full"):
            snapshots.save(folder, 0, parts(0))
    assert list(tmp_path.iterdir()) == []
    # A kill between writing and renaming leaves this; nobody may take it for the run's state.
    snapshots.save(tmp_path / ".s.new", 7, parts(7))
    snapshots.save(folder, 0, parts(0))
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert snapshots.load_latest(folder).step == 0


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    for step in (0, 10, 20):
        snapshots.save(tmp_path, step, parts(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000010", "00000020"]
    found = snapshots.load_latest(tmp_path)
    assert (found.step, found.note) == (20, "")
    manifest = json.loads((tmp_path / "00000020/manifest.json").read_text())
    assert manifest["sha256"] == found.sha256
    assert manifest["manifest"]["versions"]["torch"] == str(torch.__version__)


@pytest.mark.parametrize("file", ["model.safetensors", "learner.safetensors", "manifest.json"])
def test_any_flipped_bit_is_found_and_the_previous_taken(tmp_path: Path, file: str) -> None:
    for step in (1, 2):
        snapshots.save(tmp_path, step, parts(step))
    path = tmp_path / "00000002" / file
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        found = snapshots.load_latest(tmp_path)
        assert found.step == 1, f"bit flip at byte {place} of {file} went unseen"
        assert "snapshot 00000002 is damaged" in found.note
        assert "went back to the snapshot of step 1" in found.note
    path.write_bytes(whole)
    assert snapshots.load_latest(tmp_path).step == 2


@pytest.mark.parametrize("file", ["model.safetensors", "manifest.json"])
@pytest.mark.parametrize("kept", [0, 0.5, None])
def test_a_truncated_or_missing_file_is_found(
    tmp_path: Path, file: str, kept: float | None
) -> None:
    for step in (1, 2):
        snapshots.save(tmp_path, step, parts(step))
    path = tmp_path / "00000002" / file
    if kept is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert snapshots.load_latest(tmp_path).step == 1
    snapshots.save(tmp_path, 2, parts(2))  # the replay writes it anew
    found = snapshots.load_latest(tmp_path)
    assert (found.step, found.note) == (2, "")


def test_nothing_whole_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no snapshot in"):
        snapshots.load_latest(tmp_path)
    for step in (1, 2):
        snapshots.save(tmp_path, step, parts(step))
        (tmp_path / f"{step:08d}/manifest.json").write_bytes(b"")
    with pytest.raises(RunError, match="no snapshot in .* is whole"):
        snapshots.load_latest(tmp_path)


@pytest.mark.parametrize("damaged", [False, True])
def test_what_did_not_change_is_taken_over_from_a_snapshot_that_goes(
    tmp_path: Path, damaged: bool
) -> None:
    core = {"cells": torch.arange(1000.0)}
    for step in (1, 2):
        snapshots.save(tmp_path, step, {"core": core, **parts(step)})
    first, second = (tmp_path / f"0000000{step}/core.safetensors" for step in (1, 2))
    inodes = first.stat().st_ino, second.stat().st_ino
    assert inodes[0] != inodes[1]  # one damaged file never costs both snapshots
    if damaged:
        whole = first.read_bytes()
        first.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    snapshots.save(tmp_path, 3, {"core": core, **parts(3)})
    third = (tmp_path / "00000003/core.safetensors").stat()
    assert third.st_nlink == second.stat().st_nlink == 1
    assert (third.st_ino == inodes[0]) is not damaged
    found = snapshots.load_latest(tmp_path)
    assert (found.step, found.note) == (3, "")
    assert same(found.parts["core"], core)
    changed = {"cells": core["cells"] + 1}
    snapshots.save(tmp_path, 4, {"core": changed, **parts(4)})
    assert same(snapshots.load_latest(tmp_path).parts["core"], changed)


def test_without_links_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2, 3):
        snapshots.save(tmp_path, step, {"core": {"cells": torch.ones(9)}, **parts(step)})
    found = snapshots.load_latest(tmp_path)
    assert (found.step, found.note) == (3, "")


def test_a_given_up_future_is_removed(tmp_path: Path) -> None:
    for step in (1, 2, 9):
        snapshots.save(tmp_path, step, parts(step), keep=3)
    snapshots.save(tmp_path, 3, parts(3), keep=3)
    assert snapshots.load_latest(tmp_path).step == 3
    assert not (tmp_path / "00000009").exists()


@pytest.mark.parametrize("failing", ["fsync", "rename"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("step", [2, 3])
def test_a_full_disk_at_any_moment_leaves_the_old_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, at: int, step: int
) -> None:
    for old in (1, 2):
        snapshots.save(tmp_path, old, parts(old))
    calls = 0
    real = {"fsync": os.fsync, "rename": Path.rename}[failing]

    def fail(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, fail)
    try:
        snapshots.save(tmp_path, step, parts(step))
    except RunError as error:
        assert "the disk is full" in str(error)
    else:
        assert calls < at
    monkeypatch.undo()
    assert snapshots.load_latest(tmp_path).step in (2, step)
    assert snapshots.load_latest(tmp_path).note == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"00000001", "00000002", "00000003"}
    assert (tmp_path / "00000001").exists() or (tmp_path / "00000002").exists()


def test_leftovers_of_a_killed_write_are_ignored_then_removed(tmp_path: Path) -> None:
    for step in (1, 2):
        snapshots.save(tmp_path, step, parts(step))
    (tmp_path / ".new-00000003").mkdir()
    (tmp_path / ".new-00000003/model.safetensors").write_bytes(b"half")
    (tmp_path / "00000002").rename(tmp_path / ".old-00000002")
    assert snapshots.load_latest(tmp_path).step == 2
    snapshots.save(tmp_path, 3, parts(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002", "00000003"]


@pytest.mark.parametrize(("kind", "step"), [(99, 0), (1, 1)])
def test_a_newer_snapshot_is_refused_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int, step: int
) -> None:
    """An older one is passed over with a sentence, as damage is."""
    snapshots.save(tmp_path, 1, {"model": {"w": torch.ones(3)}})
    with monkeypatch.context() as other:
        other.setattr("clnf.living.snapshots.FORMAT", kind)
        snapshots.save(tmp_path, 2, {"model": {"w": torch.ones(3)}})
    if step:
        found = snapshots.load_latest(tmp_path)
        assert (found.step, "is of another clnf" in found.note) == (1, True)
    else:
        with pytest.raises(RunError, match="go on with the clnf that wrote it"):
            snapshots.load_latest(tmp_path)
