"""What recipes ask of the chip: off it leaves no trace, on it is resumed bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from clnf.chip.updates import PulseOptimizer
from clnf.core.errors import ConfigError
from clnf.core.records import Experience
from clnf.core.toml import dump_toml
from clnf.living import snapshots
from clnf.living.arm import Arm
from clnf.living.budget import Budgeted
from clnf.living.journal import Journal
from clnf.living.lessons import Lessons
from clnf.living.model import LivingModel
from clnf.living.recipe import LessonPart, Recipe, load_recipe
from clnf.living.report import render
from clnf.living.summary import summarise
from clnf.streams.stream import emoji_source
from faults.compare import final_state, finish, paused, same

ALWAYS = {
    "action", "after", "before", "concept", "energy_aj", "lesson", "memory_bytes", "pulses",
    "reason", "standing", "time_ps", "wear",
}  # fmt: skip


def small(**parts: dict[str, Any]) -> Recipe:
    """Without wires, with few tiles, one pair and rank 1, so that a run takes seconds."""
    recipe = Recipe(
        name="small",
        seed=3,
        snapshot_steps=2,
        compare=False,
        lesson=(
            LessonPart(name="people, poisoned", family="people", concept="people", poisoned=True),
            LessonPart(name="hands", family="hands", concept="hands"),
        ),
    )
    wide = {"tile_rows": 512, "tile_columns": 512, "plastic_tile_rows": 512}
    recipe = recipe.changed("chip", pairs=1, wire_ohm=0.0, **wide).changed("adapter", rank=1)
    recipe = recipe.changed("learn", steps=3, batch=4)
    loose = {"tolerance": 1.0, "mean_tolerance": 1.0, "kid_tolerance": 1e6}
    recipe = recipe.changed("probe", samples=2, steps=1, **loose)
    recipe = recipe.changed("guards", fisher_samples=1, rehearsed=2, memory_per_family=2)
    for name, values in parts.items():
        recipe = recipe.changed(name, **values)
    return recipe


def everything() -> Recipe:
    """All of it at once."""
    recipe = small(
        chip={"spare_columns": 1, "half_select": 1e-6},
        learn={"noise_weight": 0.02, "noise_read": 0.01, "noise_bits": 6, "write_budget": 20_000},
        levelling={"every": 1, "budget": 1.0, "life": True},
        mask={"kind": "fisher", "share": 0.2, "bits": 2, "samples": 2},
        heat={
            "on": True, "slope": 0.002, "package_k_w": 40.0, "limit_k": 325.0, "calibrate": 32,
            "ageing": True, "retention_hours": 1e4, "retention_k": 358.15, "retention_ev": 1.5,
        },
    )  # fmt: skip
    first, second = recipe.lesson
    second = second.model_copy(update={"mask": 0.5})
    return recipe.model_copy(update={"lesson": (first, second)})


def payloads(folder: Path, kind: str) -> list[dict[str, Any]]:
    with Journal(folder / "journal.db", read_only=True) as journal:
        return [event.payload for event in journal.events(kind)]


def taught(recipe: Recipe) -> tuple[LivingModel, Experience]:
    """A model that knows its core, and a lesson for it."""
    model = LivingModel(recipe)
    core = Lessons(recipe, Path("unused"), model.concepts).core()
    model.prepare(core)
    row = model.concepts.add("hands")
    return model, Experience(name="hands", concept="hands", data=emoji_source("hands", row))


def teach(model: LivingModel, lesson: Experience, steps: int = 2) -> None:
    model.begin(lesson.name, lesson.concept)
    for _ in model.learner.lesson(lesson, steps=steps, batch_size=4):
        pass


def cells(model: LivingModel) -> dict[str, torch.Tensor]:
    """What every plastic cell holds, [planes, M] by tile."""
    layers = (layer for layer in model.chip.layers.values() if layer.plastic)
    return {tile.name: tile.hidden.clone() for layer in layers for tile in layer.tiles}


def test_what_is_off_leaves_no_trace(tmp_path: Path) -> None:
    finish(tmp_path / "plain", small())
    assert all(verdict.keys() == ALWAYS for verdict in payloads(tmp_path / "plain", "verdict"))
    assert all("life" not in verdict["wear"] for verdict in payloads(tmp_path / "plain", "verdict"))
    assert payloads(tmp_path / "plain", "moves") == []
    assert "hardware" not in snapshots.load_latest(tmp_path / "plain" / "snapshots").parts
    model = LivingModel(small())
    assert type(model.learner.optimizer) is PulseOptimizer
    hooks = [m for m in model.engine.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == []


def test_all_of_it_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    finish(tmp_path / "whole", everything())
    paused(tmp_path / "paused", everything(), (2, 3, 4))
    # What compares equal below must be able to differ.
    assert not same(final_state(tmp_path / "whole"), final_state(tmp_path / "paused"))
    finish(tmp_path / "paused", everything())
    assert same(final_state(tmp_path / "whole"), final_state(tmp_path / "paused"))
    first, second = payloads(tmp_path / "whole", "verdict")
    told = [line.hardware for line in summarise(tmp_path / "whole").lessons]
    wanted = ("mask", "heat", "budget")
    assert told == [{key: one[key] for key in wanted} for one in (first, second)]
    assert second.keys() == ALWAYS | {"mask", "heat", "budget"}
    assert first["mask"]["bits"] == second["mask"]["bits"] > 0
    assert first["mask"]["measured_aj"] > first["mask"]["written_aj"] > 0
    assert first["heat"]["hottest_k"] <= 325.0
    assert first["heat"]["free_k"] >= first["heat"]["hottest_k"] > 318.15
    assert first["heat"]["calibrated"]["off_after"] < first["heat"]["calibrated"]["off_before"]
    assert second["wear"]["life"]["low"] <= second["wear"]["life"]["lessons"]
    (tmp_path / "whole" / "recipe.toml").write_bytes(dump_toml(everything().model_dump()).encode())
    page = render(tmp_path / "whole", None)
    for words in ("of weights shut; measuring took", "hottest cell 5", "of 20,000", "dies first"):
        assert words in page
    (moves,) = payloads(tmp_path / "whole", "moves")
    assert moves["lesson"] == second["lesson"]
    assert moves["pulses"] == sum(move["pulses"] for move in moves["moves"])
    assert first["heat"]["aged_s"] > 0


def test_tiles_that_moved_are_found_by_who_loads_a_snapshot() -> None:
    recipe = small(levelling={"every": 1, "budget": 1.0, "tiles": 1})
    model, lesson = taught(recipe)
    teach(model, lesson)
    assert model.hardware.moves(1) == {"pulses": 0, "moves": [], "homes": []}  # hardly worn yet
    levelling = model.hardware._levelling
    assert levelling is not None
    assert levelling.homes is not None
    name = next(iter(cells(model)))
    columns, rows = model.chip.tiles[name].shape
    assert levelling.homes.relocate(name, f"spare 0 of {rows} x {columns}").pulses > 0
    fresh = LivingModel(recipe, blank=True)
    fresh.load_state_dict(model.state_dict())
    for one in (model, fresh):
        teach(one, lesson, steps=1)
    assert same(cells(model), cells(fresh))
    assert same(model.state_dict(), fresh.state_dict())


def test_a_shut_cell_keeps_its_conductance_bit_for_bit() -> None:
    model, lesson = taught(small(mask={"kind": "fisher", "share": 0.3, "samples": 2}))
    before = cells(model)
    shares: dict[str, torch.Tensor] = {}
    for layer in model.chip.layers.values():
        shares |= {tile.name: tile.fence.clone() for tile in layer.tiles if layer.plastic}
    teach(model, lesson)
    moved = {name: now != before[name] for name, now in cells(model).items()}
    assert any(bool((share == 0).any()) for share in shares.values())
    assert not any(bool(moved[name][:, share == 0].any()) for name, share in shares.items())
    assert any(bool(moved[name][:, share == 1].any()) for name, share in shares.items())


def test_a_cell_gets_the_smaller_share_of_mask_and_fence() -> None:
    recipe = small(mask={"kind": "activity", "share": 0.3, "samples": 2})
    model, lesson = taught(recipe.changed("guards", fence_fraction=0.3))
    teach(model, lesson)
    model.consolidate(lesson, lesson)
    (fence,) = (guard for guard in model.learner.guards if type(guard).__name__ == "Fence")
    masks = model.hardware.masks
    assert masks is not None
    made = masks._made(masks.share)
    alone = [0, 0]
    for name, held in fence.masks.items():  # type: ignore[attr-defined]
        layer = model.chip.layers[name.removesuffix(".weight")]
        flat = layer.matrix(held)
        for tile in layer.tiles:
            own, other = made[tile.name], flat[tile.columns, tile.rows]
            assert torch.equal(tile.fence.view(tile.shape), torch.minimum(own, other))
            alone[0] += int((own > other).sum())
            alone[1] += int((own < other).sum())
    assert min(alone) > 0  # neither says what the other does


def test_a_lesson_gets_the_mask_it_asks_for() -> None:
    recipe = small(mask={"kind": "random", "share": 0.3})
    asking = LessonPart(name="hands", family="hands", concept="hands", mask=0.0)
    model, _ = taught(recipe.model_copy(update={"lesson": (asking,)}))

    def shut() -> float:
        tiles = [t for layer in model.chip.layers.values() if layer.plastic for t in layer.tiles]
        return sum(int((t.fence == 0).sum()) for t in tiles) / sum(t.size for t in tiles)

    assert shut() == pytest.approx(0.3, abs=0.01)
    model.begin("hands", "hands")
    assert shut() == 0.0
    model.begin("another", "hands")
    assert shut() == pytest.approx(0.3, abs=0.01)


def test_a_budget_of_pulses_is_followed() -> None:
    counts = []
    for budget in (0, 30_000):
        model, lesson = taught(small(learn={"write_budget": budget, "steps": 12}))
        before = model.chip.ledger.total(op="pulse").count
        teach(model, lesson, steps=12)
        counts.append(model.chip.ledger.total(op="pulse").count - before)
    assert isinstance(model.learner.optimizer, Budgeted)
    assert model.learner.optimizer.position()["spent"] == counts[1]
    assert 0.9 * 30_000 < counts[1] <= 30_000 < 0.7 * counts[0]


def test_noise_is_there_while_teaching_only() -> None:
    model, lesson = taught(small(learn={"noise_weight": 0.05}))
    noise = model.hardware._noise
    assert noise is not None
    batch = lesson.data.take(torch.arange(2))
    x, t = batch.x, torch.full((2,), 0.5)

    def passes() -> tuple[torch.Tensor, torch.Tensor]:
        model.chip.noise(False)
        model.chip.converters(False)  # the ranges of plastic ones follow what they see
        with torch.no_grad():
            return model.engine.net(x, t, batch.cond), model.engine.net(x, t, batch.cond)

    model.engine.train()
    first, second = passes()
    assert noise.step == 2
    assert not torch.equal(first, second)
    noise.step = 0
    again, _ = passes()
    assert torch.allclose(first, again, atol=1e-4)
    assert not torch.allclose(first, second, atol=1e-2)
    with noise.off():
        quiet, still = passes()
    assert torch.equal(quiet, still)
    model.engine.eval()
    assert torch.allclose(passes()[0], quiet)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[levelling]\nevery = 2", "levelling.every is 2, but there are no columns to move to"),
        ("[mask]\nkind = 'random'\nbits = 2", "random masks shut cells"),
        ("[mask]\nkind = 'fisher'\nbits = 2\nshare = 1.0", "graded masks need share and most"),
        ("[mask]\nkind = 'taste'", "mask.kind is 'taste'"),
        ("[heat]\nslope = 0.002", "set heat.on to true"),
        ("[heat]\non = true\nlimit_k = 300.0", "not above the coolant's"),
        ("[heat]\non = true\ncalibrate = 2", "supply a slope"),
        ("[learn]\nnoise_bits = 1", "one bit leaves"),
        ("[[lesson]]\nname='a'\nfamily='hands'\nconcept='hands'\nmask=0.1", "choose mask.kind"),
        ("[[lesson]]\nname='calibration'\nfamily='hands'\nconcept='hands'", "no other row has"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f"name = 'x'\n{text}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        load_recipe(path)


def test_a_lesson_writes_its_own_tiles_and_no_others() -> None:
    moved = {}
    for own in (7, 0):
        model, lesson = taught(small(adapter={"own": own}))
        before = cells(model)
        teach(model, lesson)
        moved[own] = {name for name, now in cells(model).items() if not same(now, before[name])}
        model.close()
        assert model.gates is None or model.gates.opened is None
    assert moved[7]
    assert all(".concept6." in name for name in moved[7])
    assert moved[0]
    assert not any(".concept6." in name for name in moved[0])  # shared ones have no such names


def test_tiles_of_their_own_are_resumed_bit_for_bit(tmp_path: Path) -> None:
    recipe = small(adapter={"own": 7})
    finish(tmp_path / "whole", recipe)
    arm = Arm(tmp_path / "paused", recipe)
    steps = (progress.done for progress in arm.run() if progress.phase == "teach")
    assert [next(steps), next(steps)] == [1, 2]  # a snapshot was made with one group open
    arm.close()
    assert not same(final_state(tmp_path / "whole"), final_state(tmp_path / "paused"))
    finish(tmp_path / "paused", recipe)
    assert same(final_state(tmp_path / "whole"), final_state(tmp_path / "paused"))
    assert (tmp_path / "whole" / "media" / "chip.png").stat().st_size > 10_000


def test_every_concept_needs_tiles_of_its_own_or_none_has_some() -> None:
    with pytest.raises(ValueError, match="for 0, or for 5 to 63 concepts, got 4"):
        small(adapter={"own": 4})
    with pytest.raises(ValueError, match=r"takes 6 concepts and has them"):
        small(adapter={"own": 6})
    assert small(adapter={"own": 7}).adapter.rows == 8
