"""All files of a set, or none."""

import errno
import os
from pathlib import Path

import pytest

from clnf.living.files import why, write_whole


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_and_missing_folders_are_made(tmp_path: Path) -> None:
    files = [(tmp_path / "new" / "a", b"1"), (tmp_path / "b", b"2")]
    assert write_whole(files) == [path for path, _ in files]
    assert [path.read_bytes() for path, _ in files] == [b"1", b"2"]
    assert names(tmp_path) == ["b", "new/a"]


def test_a_disk_that_fills_up_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    real, calls = os.fsync, iter(range(10))

    def full(handle: int) -> None:
        if next(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_whole([(tmp_path / "a", b"new"), (tmp_path / "b", b"new")])
    assert error.value.filename == str(tmp_path / "b")
    assert why(error.value) == "the disk is full"
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_ctrl_c_between_two_files_leaves_nothing(tmp_path: Path) -> None:
    def files():  # type: ignore[no-untyped-def]
        yield tmp_path / "a", b"1"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(files())
    assert names(tmp_path) == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OSError, match="a/b") as error:
        write_whole([(tmp_path / "a" / "b", b"new")])
    assert why(error.value) != "the disk is full"


def test_a_folder_in_the_way_of_one_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError, match="a folder has that name") as error:
        write_whole([(tmp_path / "a", b"new"), (tmp_path / "b", b"new")])
    assert error.value.filename == str(tmp_path / "b")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
    with pytest.raises(OSError, match="too long"):
        write_whole([(tmp_path / ("x" * 300), b"new")])
