"""Files that people name: refused early, written all together or not at all."""

import os
import stat
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from clnf.core.errors import ExportError
from clnf.core.files import check_file, png_of, write_files


def test_a_file_that_can_be_written_passes(tmp_path: Path) -> None:
    assert check_file(str(tmp_path / "a.PNG"), ".png") == tmp_path / "a.PNG"
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    for path, words in (
        (None, "a file is named by its path, got None"),
        ("a\0b.png", "a file is named by its path"),
        (tmp_path / "a.jpg", "pictures are PNG files, got '.*a.jpg'; end the name in .png"),
        (tmp_path / "none" / "a.png", "no folder .*none.; give a file in a folder of yours"),
    ):
        with pytest.raises(ExportError, match=words):
            check_file(path, ".png")  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="it is a folder"):
        check_file(tmp_path)
    with pytest.raises(ExportError, match=r"must end in .toml, got '.*x'; end the name in .toml"):
        check_file(tmp_path / "x", ".toml")


def test_files_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(b"before")
    bad.mkdir()
    with pytest.raises(ExportError, match=r"bad cannot be written \(it is a folder\)"):
        write_files([(good, b"after"), (bad, b"x")])
    assert good.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "good"]
    with pytest.raises(ExportError, match="named for two results"):
        write_files([(good, b"1"), (tmp_path / "good", b"2")])
    write_files([(good, b"after"), (tmp_path / "more", b"x")])  # the control
    assert good.read_bytes() == b"after"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "good", "more"]


def test_equal_figures_give_equal_bytes() -> None:
    def drawn(height: float) -> bytes:
        figure = Figure(figsize=(2, 1), dpi=50)
        figure.subplots().plot([0.0, height])
        return png_of(figure)

    assert drawn(1.0) == drawn(1.0) != drawn(2.0)
    assert b"Software" not in drawn(1.0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(ExportError, match=r"cannot be written \(it is no plain file"):
            check_file(path)
        with pytest.raises(ExportError, match="it is no plain file"):
            write_files([(path, b"x")])
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "file", tmp_path / "link"
    file.write_bytes(b"before")
    link.symlink_to(file)
    write_files([(link, b"after")])
    assert link.is_symlink()
    assert file.read_bytes() == b"after"
    file.unlink()
    write_files([(link, b"new")])  # a link to what is not there makes it, as open() does
    assert (link.is_symlink(), file.read_bytes()) == (True, b"new")
    with pytest.raises(ExportError, match="named for two results"):
        write_files([(link, b"1"), (file, b"2")])
    assert sorted(p.name for p in file.parent.iterdir()) == ["file"]
    ring = tmp_path / "ring"
    ring.symlink_to(ring)
    with pytest.raises(ExportError, match="its links lead nowhere"):
        check_file(ring)


def test_a_file_that_may_not_be_written_to_stays_and_modes_stay(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    file.chmod(0o444)
    with pytest.raises(ExportError, match=r"file cannot be written \(it may not be written to\)"):
        write_files([(file, b"after")])
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"before", 0o444)
    file.chmod(0o600)  # the control; and a mode that no mask makes
    write_files([(file, b"after")])
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"after", 0o600)
