"""A look at a model's chip leaves no trace; the report shows it, where somebody looked."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from clnf.chip.groups.picture import draw_floor
from clnf.core.errors import ExportError
from clnf.core.toml import dump_toml
from clnf.living.arm import Arm
from clnf.living.floor import Floor, group_of, keep_floor, look
from clnf.living.model import LivingModel
from clnf.living.recipe import Recipe
from clnf.living.report import render

SMALL = {"tile_rows": 512, "tile_columns": 512, "plastic_tile_rows": 512, "wire_ohm": 0.0}


def recipe() -> Recipe:
    one = Recipe(name="tiny", seed=3, compare=False, lesson=())
    return one.changed("chip", pairs=1, **SMALL).changed("guards", fisher_samples=1)


@pytest.fixture(scope="module")
def model() -> LivingModel:
    one = LivingModel(recipe())
    one.chip.program_core()
    return one


@pytest.fixture(scope="module")
def floor(model: LivingModel) -> Floor:
    return look(model)


def flat(state: Any) -> dict[str, Any]:
    return {f"{part}/{key}": value for part, own in state.items() for key, value in own.items()}


def test_a_look_leaves_no_trace(model: LivingModel) -> None:
    before = flat(model.state_dict())
    model.engine.train()
    look(model)
    assert model.engine.training
    after = flat(model.state_dict())
    for key, value in before.items():
        same = torch.equal(value, after[key]) if isinstance(value, Tensor) else value == after[key]
        assert same, key
    with torch.no_grad():  # a read that nobody undoes does leave one
        model.engine.net(torch.zeros(1, 3, 32, 32), torch.zeros(1), torch.tensor([1]))
    assert flat(model.state_dict())["chip/ledger"] != before["chip/ledger"]


def test_lines_add_up(model: LivingModel, floor: Floor) -> None:
    assert {line.tile for line in floor.tiles} == set(model.chip.tiles)
    assert len({(line.row, line.column) for line in floor.tiles}) == len(floor.tiles)
    for key in ("tiles", "cells", "area_m2", "work_j", "routing_j"):
        by_group = sum(getattr(line, key) for line in floor.groups)
        by_tile = sum(1 if key == "tiles" else getattr(line, key) for line in floor.tiles)
        assert by_group == pytest.approx(by_tile)
    names = {line.group for line in floor.groups}
    assert {"embed", "enter", "down 0", "middle1", "up 2", "leave"} <= names
    for line in floor.groups:
        assert 0 < line.used <= 1
        assert line.most_worn == max(t.most_worn for t in floor.tiles if t.group == line.group)
        assert 318.15 < line.hottest_k <= floor.seen.state.peak_k
    assert all(line.learns == line.tile.split("[")[0].endswith((".down", ".up"))
               for line in floor.tiles)  # fmt: skip


def test_placing_by_groups_beats_chance(floor: Floor) -> None:
    assert floor.routing.energy_j < 0.6 * floor.random_j
    sent = sum(line.routing_j for line in floor.tiles)
    assert sent == pytest.approx(floor.routing.energy_j - floor.routing.by_tile_j["port"])


def test_the_report_shows_the_chip_where_somebody_looked(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    one = recipe()
    arm = Arm(folder, one)
    for _ in arm.run():
        pass
    (folder / "recipe.toml").write_bytes(dump_toml(one.model_dump()).encode())
    words = "temperature, wear and activity of the chip"
    assert words in render(folder, None)  # the run's end looked
    for name in ("chip.png", "chip.json"):
        (folder / "media" / name).unlink()
    assert words not in render(folder, None)
    kept = keep_floor(arm.model, folder)
    arm.close()
    page = render(folder, None)
    assert words in page
    assert "<td>middle1</td>" in page
    found = json.loads((folder / "media" / "chip.json").read_text())
    assert found == json.loads(json.dumps(kept.to_json()))
    with Image.open(folder / "media" / "chip.png") as picture:
        assert picture.width > 2 * picture.height


def test_a_picture_is_a_png(floor: Floor, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="end the name in .png"):
        draw_floor(floor.network, floor.seen, floor.tiles, tmp_path / "a.jpg")
    with pytest.raises(ExportError, match="in a folder of yours"):
        draw_floor(floor.network, floor.seen, floor.tiles, tmp_path / "none" / "a.png")


def test_groups_are_features_or_stages() -> None:
    assert group_of("net.middle1.conv1.base") == "middle1"
    assert group_of("net.down.2.modulate.down") == "down 2"
    assert group_of("net.down.2.modulate.of.food.up") == "food"
