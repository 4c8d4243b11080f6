"""A living model on another device than the CPU: the same cells, the same draws."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.living import snapshots
from clnf.living.generate import Wish, draw
from clnf.living.model import LivingModel
from clnf.living.recipe import Recipe
from faults.compare import same


class Pictures:
    """Three pictures of one concept."""

    def __len__(self) -> int:
        return 3

    def take(self, index: Tensor) -> Batch:
        x = torch.randn(3, 3, 32, 32, generator=torch_rng(1, "pictures")).clamp(-1, 1)
        return Batch.of(x[index], 1)


LESSON = Experience(name="three", concept="faces", data=Pictures())


def made(device: torch.device | str, *, blank: bool = False) -> LivingModel:
    # Without wires, which take seconds to solve, and with few tiles.
    small = {"tile_rows": 512, "tile_columns": 512, "plastic_tile_rows": 512, "wire_ohm": 0.0}
    recipe = Recipe(name="tiny", seed=3).changed("chip", pairs=1, **small)
    recipe = recipe.changed("adapter", rank=1)
    return LivingModel(
        recipe.changed("guards", fisher_samples=1, rehearsed=1, rehearsed_core=1),
        device,
        blank=blank,
    )


def gradients(model: LivingModel) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients with converters and read noise off: nothing amplifies a last bit."""
    model.chip.noise(False)
    model.chip.converters(False)
    loss = model.engine.loss(Pictures().take(torch.arange(2)), torch_rng(1, "loss")).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    model.chip.noise(True)
    model.chip.converters(True)
    named = model.engine.named_parameters()
    return loss.detach().cpu(), {n: p.grad.cpu() for n, p in named if p.grad is not None}


def test_a_model_lives_on_another_device(far: torch.device, tmp_path: Path) -> None:
    model, twin = made(far), made("cpu")
    assert {p.device for p in model.engine.parameters()} == {far}
    for one in (model, twin):
        one.prepare(LESSON)
    mine, theirs = model.chip.state_dict(), twin.chip.state_dict()
    for key, value in theirs.items():  # programmed alike, cell by cell
        assert torch.equal(value, mine[key]) if isinstance(value, Tensor) else True, key
    (loss, grads), (loss2, grads2) = gradients(model), gradients(twin)
    assert float(loss) == pytest.approx(float(loss2), rel=1e-5)
    assert grads.keys() == grads2.keys()
    assert all(torch.allclose(grads[n], g, rtol=1e-3, atol=1e-5) for n, g in grads2.items())
    del twin, theirs
    goes_on_from_files(model, tmp_path, far)
    roll_back(model)


def test_a_blank_model_takes_a_snapshot_to_the_same_bits(tmp_path: Path) -> None:
    model, blank = made("cpu"), made("cpu", blank=True)
    model.prepare(LESSON)
    teach(model)
    snapshots.save(tmp_path, 1, model.state_dict())
    assert not any(bool(tile.wear.any()) for tile in blank.chip.tiles.values())  # nothing written
    blank.load_state_dict(snapshots.load(tmp_path / "00000001").parts)
    steps = [teach(one) for one in (model, blank)]
    assert steps[0] == steps[1]
    states = []
    for number, one in enumerate((model, blank), 2):
        snapshots.save(tmp_path, number, one.state_dict(), keep=3)
        states.append(snapshots.load(tmp_path / f"{number:08d}").parts)
    assert same(*states)


def teach(model: LivingModel) -> Any:
    (info,) = model.learner.lesson(LESSON, steps=1, batch_size=2)
    return info


def goes_on_from_files(model: LivingModel, folder: Path, device: torch.device) -> None:
    """A snapshot comes back bit for bit, and the next step with all guards is the same."""
    again = made(device)
    snapshots.save(folder, 1, model.state_dict())
    again.load_state_dict(snapshots.load(folder / "00000001").parts)
    steps = []
    for number, one in enumerate((model, again), 2):
        (info,) = one.learner.lesson(LESSON, steps=1, batch_size=2)
        assert not info.refused
        snapshots.save(folder, number, one.state_dict(), keep=3)
        steps.append((info, snapshots.load(folder / f"{number:08d}").parts))
    assert same(steps[0], steps[1])
    assert not same(steps[0][1], snapshots.load(folder / "00000001").parts)


def roll_back(model: LivingModel) -> None:
    """Pulses go out to the cells and come back; pictures come home."""
    pulses = model.chip.ledger.total(op="pulse").count
    before = model.capture()
    model.learner.step(Pictures().take(torch.arange(1)))
    taught = model.chip.ledger.total(op="pulse").count
    assert taught > pulses
    model.roll_back(before)
    assert model.chip.ledger.total(op="pulse").count > taught
    assert draw(model, Wish(concept="faces", n=1, steps=1)).device == torch.device("cpu")
