"""A lesson for one concept leaves what all other concepts draw the same, bit for bit."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clnf.chip import ChipSpec, host
from clnf.chip.groups import answers, compared
from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Experience
from clnf.living import snapshots
from clnf.living.arm import Arm
from clnf.living.features import Features, feature_row, own_group
from clnf.living.lessons import Lessons
from clnf.living.model import LivingModel
from clnf.living.recipe import Recipe
from clnf.living.rows import OwnRow
from clnf.living.store import points
from clnf.media.flow import FlowModel, last, noise_for
from clnf.media.unet import UNet, UNetParams
from clnf.streams.stream import emoji_source
from faults.compare import final_state, finish, paused, same
from faults.small_arm import small_recipe, small_world


def generator() -> FlowModel:
    torch.manual_seed(0)
    net = UNet(UNetParams(width=8, embedding=16, concepts=8, multipliers=(1, 2)))
    for parameter in net.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return FlowModel(net).requires_grad_(False)


@pytest.mark.parametrize("gated", [True, False])
def test_other_concepts_draw_the_same(gated: bool) -> None:
    engine = generator()
    features = Features(engine, 3, rank=2, only=lambda name, leaf: "conv" in name)
    chip = host(
        engine,
        assign=lambda name, leaf: "plastic" if ".of." in name else "core",
        seed=1,
        spec=ChipSpec(pairs=1),
    )
    chip.program_core()
    engine.net.concept.requires_grad_(True)
    groups = features.gates(chip, engine)
    features.load_state_dict({"taught": [1, 2, 3], "open": 0, "ready": []})
    assert groups.names == ("concept1", "concept2", "concept3")

    def draw(row: int) -> Tensor:
        noise = noise_for([row], (3, 16, 16))
        at = torch.full((1,), row)
        return last(engine.sample(at, noise=noise, steps=2, guidance=2.0))

    ask = {str(row): partial(draw, row) for row in range(5)}
    for one in ask.values():
        one()
    before = answers(chip, ask)
    optimizer, own = chip.optimizer(engine.parameters(), lr=0.3), OwnRow(engine.net.concept)
    own._known = [0, 1, 3, 4]
    if gated:
        groups.open(features.group(2))
    batch = Batch.of(torch.randn(8, 3, 16, 16), torch.arange(8) % 4 + 1)
    own.mix(batch, torch.Generator())
    for step in range(3):  # a quarter is of the concept taught, the rest rehearses
        optimizer.zero_grad()
        engine.loss(batch, torch.Generator().manual_seed(step)).mean().backward()
        own.constrain(0.0)
        optimizer.step()
    groups.close()
    changes = compared(before, answers(chip, ask))
    assert changes["2"].largest > 1e-3
    assert all(changes[row].identical for row in "04")  # no adapters: stored tiles alone
    assert all(changes[row].identical is gated for row in "13")


def test_rows_and_groups() -> None:
    features = Features(generator(), 3, rank=1, only=lambda name, leaf: name.endswith("conv1"))
    assert feature_row(features.group(3)) == 3
    for row in (0, 4):
        with pytest.raises(ConfigError, match="no adapters of its own"):
            features.group(row)
    for rows in (0, 8):
        with pytest.raises(ConfigError, match="1 to 7 concepts"):
            Features(generator(), rows, rank=1)


@pytest.fixture
def world() -> Iterator[None]:
    with small_world():
        yield


def small(**adapter: Any) -> Recipe:
    """Two lessons of a few steps on a chip of a few tiles, each concept with some of its own."""
    recipe = small_recipe().model_copy(update={"snapshot_steps": 1}).changed("learn", steps=2)
    recipe = recipe.changed("guards", rehearsal=False, ewc=False, fence=False)
    return recipe.changed("adapter", **({"rank": 1, "own": 7} | adapter))


def prepared(recipe: Recipe) -> LivingModel:
    model = LivingModel(recipe)
    model.prepare(Lessons(recipe, Path("unused"), model.concepts).core())
    return model


def teach(model: LivingModel, name: str, *, kept: bool = True) -> dict[str, Any]:
    """A few steps of a lesson; returns what a roll-back goes back to."""
    model.chip.ledger.lesson = name
    model.make_ready(name)
    origin = model.capture()
    row = model.concepts.add(name)
    model.begin(name, name)
    lesson = Experience(name=name, concept=name, data=emoji_source(name, row))
    for _ in model.learner.lesson(lesson, steps=4, batch_size=4):
        pass
    model.close()
    if kept:
        model.consolidate(lesson, lesson)
    return origin


def drawn(model: LivingModel, row: int) -> Tensor:
    for layer in model.chip.layers.values():
        layer.reads = 0  # the same draws of noise at every call
    noise = noise_for([row], (3, 32, 32))
    at = torch.full((1,), row)
    return last(model.engine.sample(at, noise=noise, steps=1, guidance=2.0))


def blank(model: LivingModel) -> set[str | None]:
    return {own_group(name) for name, one in model.chip.layers.items() if one.blank}


def cells(model: LivingModel, group: str) -> Tensor:
    tiles = model.chip.tiles.items()
    return torch.cat([t.hidden.flatten() for name, t in tiles if f".of.{group}." in name])


def weights(model: LivingModel, group: str) -> Tensor:
    layers = model.chip.layers.items()
    return torch.cat(
        [one.weight.detach().flatten() for name, one in layers if own_group(name) == group]
    )


def off(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean().sqrt())


@pytest.mark.usefixtures("world")
def test_a_concept_costs_nothing_before_its_first_lesson() -> None:
    model = prepared(small())
    every = {f"concept{row}" for row in range(1, 8)}
    assert blank(model) == every
    assert not any(".of." in row[0] for row in model.chip.ledger.state())
    for row in range(8):
        drawn(model, row)
    own = {name: one for name, one in model.chip.layers.items() if own_group(name)}
    assert not any(one.reads for one in own.values())
    before, waiting = drawn(model, 2), drawn(model, 6)
    teach(model, "hands")
    assert blank(model) == every - {"concept6"}
    charged = {own_group(row[0].partition("[")[0]) for row in model.chip.ledger.state()}
    assert charged - {None} == {"concept6"}
    assert {row[1] for row in model.chip.ledger.state() if ".of." in row[0]} == {"hands"}
    assert torch.equal(drawn(model, 2), before)
    assert not torch.equal(drawn(model, 6), waiting)
    assert {own_group(name) for name, one in own.items() if one.reads} == {"concept6"}
    teach(model, "faces")  # a family of the core takes adapters with its first lesson
    assert blank(model) == every - {"concept6", "concept1"}


@pytest.mark.usefixtures("world")
def test_a_snapshot_holds_what_was_taught() -> None:
    model = prepared(small())
    sizes = []
    for name in ("", "hands", "faces", "hands"):
        if name:
            teach(model, name)
        sizes.append(len(model.state_dict()["chip"]))
    assert sizes[0] < sizes[1] < sizes[2] == sizes[3]


@pytest.mark.usefixtures("world")
def test_a_first_lesson_rolled_back_leaves_its_cells_as_freshly_written() -> None:
    model = prepared(small())
    model.make_ready("hands")
    fresh = weights(model, "concept6")
    origin = teach(model, "hands", kept=False)
    taught = weights(model, "concept6")
    assert model.apart is not None
    assert model.apart.state_dict() == {"taught": [], "open": 6, "ready": []}
    model.roll_back(origin)
    left = weights(model, "concept6")
    assert off(left, fresh) < 0.5 * off(taught, fresh)
    assert model.apart.state_dict() == {"taught": [], "open": 0, "ready": [6]}
    assert "concept6" not in blank(model)
    drawn(model, 6)
    assert not any(one.reads for name, one in model.chip.layers.items() if own_group(name))
    # Whatever takes the row next begins there.
    held = cells(model, "concept6")
    model.make_ready("people")
    assert torch.equal(cells(model, "concept6"), held)
    # A second lesson of a concept that was taught goes on from what it knows.
    teach(model, "people")
    held = cells(model, "concept6")
    model.make_ready("people")
    assert torch.equal(cells(model, "concept6"), held)


@pytest.mark.usefixtures("world")
def test_cells_that_hold_what_was_undone_are_written_anew() -> None:
    model = prepared(small())
    start, before = weights(model, "concept6"), model.state_dict()
    teach(model, "hands")
    fresh = weights(model, "concept6")
    for name, tile in model.chip.tiles.items():
        if ".of.concept6." in name:
            for _ in range(2):  # each of a pair's planes in turn
                tile.pulse(torch.full(tile.shape, 300))
    model.return_to(before)
    for name, layer in model.chip.layers.items():
        if own_group(name) == "concept6":
            layer.refresh()
    moved = weights(model, "concept6")
    assert off(moved, start) > 4 * off(fresh, start)
    model.make_ready("people")
    assert off(weights(model, "concept6"), start) < 0.5 * off(moved, start)


@pytest.mark.usefixtures("world")
def test_a_run_resumes_at_any_step_and_an_undone_lesson_is_untaught(tmp_path: Path) -> None:
    recipe = small()
    finish(tmp_path / "whole", recipe)
    paused(tmp_path / "paused", recipe, (1, 3, 5, 2))
    assert not same(final_state(tmp_path / "whole"), final_state(tmp_path / "paused"))
    finish(tmp_path / "paused", recipe)
    assert same(final_state(tmp_path / "whole"), final_state(tmp_path / "paused"))
    arm = Arm(tmp_path / "paused", recipe)
    assert arm.model.apart is not None
    assert arm.model.apart.state_dict() == {"taught": [6, 7], "open": 0, "ready": []}
    found = {p.after: p.step for p in points(arm.folder, recipe)}
    held = cells(arm.model, "concept7")
    for after, rows in (("people, poisoned", [6]), ("start", [])):
        for _ in arm.undo(found[after]):
            pass
        assert arm.model.apart.state_dict() == {"taught": rows, "open": 0, "ready": []}
    assert torch.equal(cells(arm.model, "concept7"), held)  # not read, so not written back
    arm.close()
    again = Arm(arm.folder, recipe)
    assert same(again.model.state_dict(), arm.model.state_dict())
    # Its row is free, and who is taught in it next starts from the beginning in either.
    for one in (again.model, arm.model):
        teach(one, "people")
    assert same(again.model.state_dict(), arm.model.state_dict())
    again.close()


@pytest.mark.usefixtures("world")
def test_a_snapshot_of_a_lesson_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    recipe = small()
    model, again = prepared(recipe), LivingModel(recipe, blank=True)
    teach(model, "hands")
    teach(model, "people", kept=False)
    snapshots.save(tmp_path, 1, model.state_dict())
    again.load_state_dict(snapshots.load(tmp_path / "00000001").parts)
    assert blank(model) == blank(again)
    for one in (model, again):
        teach(one, "faces")
    assert same(model.state_dict(), again.state_dict())
    assert torch.equal(drawn(model, 7), drawn(again, 7))
    # Without knowing what was taught, that draws from stored cells alone.
    assert again.apart is not None
    again.apart.load_state_dict({"taught": [], "open": 0, "ready": []})
    assert not torch.equal(drawn(model, 7), drawn(again, 7))
