"""Pictures as files."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clnf.living.pictures import grid, safe_name, save_strips, to_bytes


def test_levels_round_trip_and_broken_pixels_are_black() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0, float("nan")]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_bytes(x)[0, :, :, 0].flatten().tolist() == [0, 128, 255, 0]


def test_a_grid_shows_every_picture_in_place() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 4, 4, 3), np.uint8)
    sheet = np.asarray(grid(images, 3, gap=1))
    assert sheet.shape == (9, 14, 3)
    assert [int(sheet[0, 0, 0]), int(sheet[0, 5, 0]), int(sheet[5, 5, 0])] == [0, 1, 4]
    assert int(sheet[5, 10, 0]) == 255
    assert grid(images, 5, scale=2).size == (2 * (5 * 6 - 2), 8)


def test_titles_become_plain_file_names(tmp_path: Path) -> None:
    assert safe_name("../../etc/passwd") == "etc_passwd"
    assert safe_name("") == "unnamed"
    save_strips(tmp_path, "a/b", {"x": torch.zeros(9, 3, 4, 4)})
    with Image.open(tmp_path / "a_b" / "x.png") as strip:
        assert strip.size == (4 * 6 - 2, 2 * 6 - 2)
