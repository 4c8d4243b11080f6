"""Cutting layers into tiles, and what one tile of each kind does by itself."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.outer import TRAIN_BITS, How
from clnf.chip.crossbar.partition import partition
from clnf.chip.spec import ChipSpec
from clnf.devices.materials import material

SPEC = ChipSpec(pairs=2)


@given(st.integers(1, 300), st.sampled_from([1, 9, 25, 700]), st.integers(1, 600))
def test_a_partition_covers_all_lines_once_within_the_limit(
    size: int, unit: int, limit: int
) -> None:
    parts = list(partition(size, unit, limit))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(size))
    assert all((p.stop - p.start) * unit <= max(limit, unit) for p in parts)


def plastic(**spec: object) -> Crossbar:
    make = ChipSpec(pairs=2, **spec).make(plastic=True)  # type: ignore[arg-type]
    return Crossbar("t", slice(0, 30), slice(0, 20), 4, make)


def test_pulses_go_round_the_planes_with_alternating_sign() -> None:
    tile = plastic(spreads=False)
    before, _ = tile.view(0.0)
    hidden = tile.hidden.clone()
    for turn in range(4):
        count, _, longest = tile.pulse(torch.ones(20, 30))
        moved = tile.hidden - hidden
        hidden = tile.hidden.clone()
        assert (count, longest) == (600, 1)
        assert [plane for plane in range(4) if bool(moved[plane].any())] == [turn]
        assert bool((moved[turn] * (-1) ** turn > 0).all())
    after, _ = tile.view(0.0)
    assert torch.allclose(after - before, torch.tensor(4 * tile.weight_step), rtol=1e-4)
    assert int(tile.wear.min()) == int(tile.wear.max()) == 1


def test_kernel_and_torch_tiles_pulse_to_the_same_bits() -> None:
    a, b = plastic(), plastic(kernels=False)
    train = torch.randint(-3, 4, (20, 30), generator=torch.Generator().manual_seed(1))
    for _ in range(5):
        assert a.pulse(train) == b.pulse(train)
    assert torch.equal(a.seen, b.seen)
    assert torch.equal(a.view(0.0)[0], b.view(0.0)[0])


@pytest.mark.parametrize("kernels", [True, False])
def test_outer_product_moves_weights_down_the_gradient(kernels: bool) -> None:
    tile = plastic(spreads=False, kernels=kernels)
    rng = torch.Generator().manual_seed(2)
    x, d = torch.randn(16, 30, generator=rng), torch.randn(16, 20, generator=rng)
    before, _ = tile.view(0.0)
    # A rate at which no train saturates; four planes in turn.
    for _ in range(120):
        tile.pulse_outer(x, d, 1e-4)
    moved = (tile.view(0.0)[0] - before).reshape(-1).double()
    wanted = (-120e-4 * d.T @ x).reshape(-1).double()
    slope = float((moved * wanted).sum() / wanted.square().sum())
    correlation = float(torch.corrcoef(torch.stack([moved, wanted]))[0, 1])
    assert slope == pytest.approx(1.0, abs=0.15)
    assert correlation > 0.5
    assert tile.pulse_outer(x, 0 * d, 1e-4) == (0, 0, 0)


def test_stored_tile_starts_empty() -> None:
    tile = Crossbar("t", slice(0, 3), slice(0, 2), 4, SPEC.make(plastic=False))
    assert not tile.is_programmed
    assert float(tile.view(0.0)[0].abs().sum()) == 0.0


def test_outer_products_have_the_mean_and_spread_of_random_trains() -> None:
    """E = -lr d x and Var = s^2 BL q (1 - q + c^2), q = lr |x d| / (s BL), far from the bounds."""
    steps = {"step": 0.001, "slope_up": 0.0, "slope_down": 0.0, "step_spread": 0.0}
    row = material("ecram_li").supply(**steps)
    tile = Crossbar("t", slice(0, 48), slice(0, 8), 4, ChipSpec(plastic=row).make(plastic=True))
    torch.manual_seed(1)
    x, d = torch.rand(1, 48) * 2 - 1, torch.rand(1, 8) * 2 - 1
    rate, rounds = 6.0 * tile.weight_step, 600
    wanted = -rate * d.T * x
    moves = []
    for _ in range(rounds):
        tile.hidden.zero_()
        tile.seen.zero_()
        tile.pulse_outer(x, d, rate, how=How(together=True))
        moves.append(tile.view(0.0)[0])
    found = torch.stack(moves)
    size = tile.weight_step
    q = wanted.abs() / (size * TRAIN_BITS)
    cycle = tile.cell.need(tile.cell.response).cycle_spread
    variance = size**2 * TRAIN_BITS * q * (1 - q + cycle**2)
    off = (found.mean(0) - wanted) / (variance / rounds).sqrt()
    assert float(off.square().mean()) == pytest.approx(1.0, abs=0.25)
    ratio = found.var(0).sum() / variance.sum()
    assert float(ratio) == pytest.approx(1.0, abs=0.04)
    # Negative control: a rate a tenth away is seen by both.
    away = (found.mean(0) - 1.1 * wanted) / (variance / rounds).sqrt()
    assert float(away.square().mean()) > 1.5
    assert abs(float(ratio) / 1.1 - 1.0) > 0.05


@pytest.mark.parametrize("name", ["ecram_li", "hfo2_array_optimised"])
@pytest.mark.parametrize("pairs", [1, 2])
def test_arrays_kept_of_a_plane_give_the_same_bits_and_follow_new_tensors(
    name: str, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ChipSpec(plastic=material(name), pairs=pairs).make(plastic=True)
    torch.manual_seed(1)
    x, d = torch.rand(8, 40), torch.randn(8, 6)
    half = (torch.rand(6, 40) > 0.5).float()

    def pulsed(*, kept: bool) -> tuple[list[tuple[int, int, int]], list[torch.Tensor]]:
        tile = Crossbar("t", slice(0, 40), slice(0, 6), 4, spec)
        found: list[tuple[int, int, int]] = []
        with monkeypatch.context() as patch:
            if not kept:
                patch.setattr(Crossbar, "_at_hand", lambda *_: None)
            for turn in range(6):
                if turn == 2:
                    tile.set_fence(half)
                if turn == 3:  # a copy looks at its own cells, not at those of the first
                    tile = copy.deepcopy(tile)
                if turn == 4:  # other tensors than those of which arrays are kept
                    tile.load_state({k: v.clone() if isinstance(v, torch.Tensor) else v
                                     for k, v in tile.state().items()})  # fmt: skip
                    tile.tables = [table * 0.5 for table in tile.tables]
                    tile.scale.mul_(2.0)
                found.append(tile.pulse_outer(x, d, 0.5, how=How(together=True)))
                found.append(tile.pulse_outer(x, 0.0 * d, 0.5, how=How(together=True)))
            assert bool(tile._hands) == kept
        return found, [tile.hidden, tile.seen, tile.wear]

    one, other = pulsed(kept=True), pulsed(kept=False)
    assert one[0] == other[0]
    assert all(map(torch.equal, one[1], other[1]))
    assert one[0][1::2] == [(0, 0, 0)] * 6
    # Negative control: the fence does stop pulses, so arrays that missed it would be seen.
    assert one[0][4][0] < 0.8 * one[0][0][0]
