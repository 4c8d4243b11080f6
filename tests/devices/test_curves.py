"""Pictures of materials: every row gives one, and drawing leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from clnf.core.errors import ExportError
from clnf.devices import curves
from clnf.devices.families import cell
from clnf.devices.materials import material, materials


@pytest.mark.parametrize("name", materials())
def test_every_material_has_panels_or_lines(name: str) -> None:
    panels, lacking = curves._panels(cell(name), 0)
    assert len(panels) + len(lacking) == 5
    assert all(len(line) < 110 and line.endswith(".") for line in lacking)


def test_lines_name_what_is_missing() -> None:
    _, lacking = curves._panels(cell("hfo2_array"), 0)
    assert lacking == [
        "Not drawn: programming error; no published value of 'programming_noise_g'.",
        "Not drawn: drift; no law of drift was published.",
        "Not drawn: read noise; no published value of 'read_noise_scale'.",
        "Not drawn: endurance; no published value of 'endurance_cycles'.",
    ]
    own = material("hfo2_array").supply(programming_noise_g=(1e-7,))
    assert "conductance_max_s" in curves._panels(cell(own), 0)[1][0]


def test_a_picture_is_drawn_the_same_twice_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    for name in ("a.png", "b.png"):
        curves.draw("cmo_hfox", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    curves.draw("cmo_hfox", tmp_path / "b.png", seed=1)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    assert dict(matplotlib.rcParams) == before
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_no_window_system_is_touched(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom clnf.devices.curves import draw\n"
        f"draw('hfo2_1t1r', {str(tmp_path / 'a.png')!r})\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert done.stderr == ""


def test_a_supplied_row_is_drawn_with_all_five(tmp_path: Path) -> None:
    own = material("capacitor_3t1c").supply(
        conductance_max_s=1e-8, batch_s=0.01, endurance_cycles=1e6,
        programming_noise_g=(1e-10,), read_noise_scale=0.01,
    )  # fmt: skip
    panels, lacking = curves._panels(cell(own), 0)
    assert (len(panels), lacking) == (5, [])
    curves.draw(own, tmp_path / "own.png")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="end the name in .png"):
        curves.draw("gst_pcm", tmp_path / "a.svg")
    with pytest.raises(ExportError, match="no folder .*nowhere"):
        curves.draw("hfo2_1t1r", tmp_path / "nowhere" / "a.png")
