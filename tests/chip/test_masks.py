"""Masks of cells: importance equals brute force, shut cells stay, controls do not."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip import Chip, ChipSpec, PulseRule, host, ideal_chip
from clnf.chip.masks import Importance, gradual, protect, random_like, shut
from clnf.core.errors import ConfigError

X = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 4, (12,), generator=torch.Generator().manual_seed(2))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))


def hosted(spec: ChipSpec | None = None) -> tuple[nn.Sequential, Chip]:
    model = net()
    chip = host(model, assign=lambda name, leaf: "plastic", seed=3, spec=spec or ideal_chip())
    return model, chip


def measured(model: nn.Module, chip: Chip, kind: str) -> dict[str, Tensor]:
    with Importance(chip, kind) as probe:  # type: ignore[arg-type]
        for part in range(0, 12, 4):
            F.cross_entropy(
                model(X[part : part + 4]), Y[part : part + 4], reduction="sum"
            ).backward()
            probe.take()
    return probe.result()


def test_importance_is_that_of_each_sample_by_itself() -> None:
    model, chip = hosted()
    same = net()
    for (_, layer), (_, leaf) in zip(chip.layers.items(), same[::3].named_children(), strict=True):
        leaf.weight.data.copy_(layer.weight.data)  # type: ignore[operator]
    brute: dict[str, list[Tensor]] = {}
    for x, y in zip(X, Y, strict=True):
        same.zero_grad()
        F.cross_entropy(same(x[None]), y[None]).backward()
        for name, leaf in zip(chip.layers, (same[0], same[3]), strict=True):
            assert isinstance(leaf, nn.Conv2d | nn.Linear)
            assert leaf.weight.grad is not None
            brute.setdefault(name, []).append(leaf.weight.grad.flatten(1).clone())
    for kind, what in (("fisher", torch.square), ("sensitivity", torch.abs)):
        found = measured(model, chip, kind)
        for name, gradients in brute.items():
            (tile,) = chip.layers[name].tiles
            mean = what(torch.stack(gradients)).mean(0)
            assert torch.allclose(found[tile.name], mean, rtol=1e-3, atol=1e-7), (kind, name)


def test_activity_is_the_rows_mean_square() -> None:
    model, chip = hosted()
    found = measured(model, chip, "activity")
    (tile,) = chip.layers["0"].tiles
    patches = F.unfold(X, 3).transpose(1, 2).reshape(-1, 9)
    assert torch.allclose(found[tile.name], patches.square().mean(0).expand(3, 9), rtol=1e-4)


def test_a_probe_leaves_the_optimizers_vectors_alone() -> None:
    model, chip = hosted()
    chip.optimizer(model.parameters(), lr=0.1, rule=PulseRule(mode="stochastic"))
    before = [layer.capture for layer in chip.layers.values()]
    measured(model, chip, "fisher")
    assert all(
        a is b for a, b in zip(before, (v.capture for v in chip.layers.values()), strict=True)
    )
    assert before == [[], []]


@pytest.mark.parametrize("mode", ["mixed", "stochastic", "tiki_taka_2"])
@pytest.mark.parametrize("half", [0.0, 0.02])
def test_shut_cells_stay_bit_for_bit_where_nothing_disturbs_them(mode: str, half: float) -> None:
    model, chip = hosted(ChipSpec(half_select=half, dac_bits=0, adc_bits=0))
    optimizer = chip.optimizer(model.parameters(), lr=2.0, rule=PulseRule(mode=mode))  # type: ignore[arg-type]
    # The most important weights get nearly all pulses here; a random mask leaves some to see.
    masks = random_like(shut(measured(model, chip, "fisher"), 0.4), 1)
    protect(chip, masks)
    tiles = {t.name: t for layer in chip.layers.values() for t in layer.tiles}
    start = {name: tile.hidden.clone() for name, tile in tiles.items()}
    for _ in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
    still, moved = [], []
    for name, tile in tiles.items():
        same = (tile.hidden == start[name]).all(0).view(tile.shape)
        still.append(bool(same[masks[name] == 0].all()))
        moved.append(not bool(same[masks[name] == 1].all()))
    assert all(still) is (half == 0.0)
    assert any(moved)


def test_masks_are_saved_with_the_chip() -> None:
    model, chip = hosted()
    protect(chip, shut(measured(model, chip, "fisher"), 0.5))
    state = chip.state_dict()
    _again, other = hosted()
    other.load_state_dict(state)
    for mine, theirs in zip(chip.tiles.values(), other.tiles.values(), strict=True):
        assert torch.equal(mine.fence, theirs.fence)
        assert theirs.fenced


def test_a_random_mask_has_the_same_values_elsewhere() -> None:
    model, chip = hosted()
    masks = shut(measured(model, chip, "fisher"), 0.3)
    mixed = random_like(masks, 1)
    for name, mask in masks.items():
        assert torch.equal(mask.flatten().sort().values, mixed[name].flatten().sort().values)
    assert not all(torch.equal(mask, mixed[name]) for name, mask in masks.items())


def test_gradual_scales_fall_with_importance_on_their_grid() -> None:
    found = {"t": torch.logspace(-3, 3, 64).view(8, 8)}
    scale = gradual(found, 0.25, bits=3)["t"].flatten()
    assert bool((scale.diff() <= 0).all())
    assert set((scale * 7).round().int().tolist()) <= set(range(8))
    assert float((scale < 0.5).float().mean()) == pytest.approx(0.25, abs=0.05)


def test_masks_cost_area_and_energy() -> None:
    model, chip = hosted()
    found = measured(model, chip, "fisher")
    cost = protect(chip, shut(found, 0.5))
    weights = 3 * 9 + 4 * 48
    assert cost.bits == weights
    assert cost.area_m2 == pytest.approx(weights * 8.3e-8 / (256 * 2048))
    assert chip.ledger.total(op="mask").energy_j == pytest.approx(cost.energy_j)
    assert chip.ledger.total(op="importance").count > weights
    assert cost.shut == pytest.approx(0.5, abs=0.01)


def test_bad_input_gets_a_sentence() -> None:
    model, chip = hosted()
    found = measured(model, chip, "fisher")
    name = next(iter(found))
    for call in (
        lambda: shut(found, 1.5),
        lambda: gradual(found, 0.5, bits=9),
        lambda: protect(chip, {"none": found[name]}),
        lambda: protect(chip, {name: torch.ones(1, 1)}),
        lambda: protect(chip, {name: 2 * torch.ones_like(found[name])}),
        lambda: Importance(chip, "luck"),  # type: ignore[arg-type]
        lambda: Importance(chip).result(),
    ):
        with pytest.raises(ConfigError):
            call()
