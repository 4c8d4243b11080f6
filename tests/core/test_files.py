"""Files that people name: refused early, written all together or not at all."""

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
