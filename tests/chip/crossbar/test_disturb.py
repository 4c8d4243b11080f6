"""Half-selected cells move as counted, and only where nothing keeps them still."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from clnf.chip import ChipSpec, host
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.disturb import half_selected, moved_at_once
from clnf.core.errors import ConfigError
from clnf.devices import material

C, R = 5, 7


def tile(share: float, material: str = "hfo2_array_optimised") -> Crossbar:
    make = ChipSpec(plastic=material, pairs=1, half_select=share).make(plastic=True)
    return Crossbar("t", slice(0, R), slice(0, C), 3, make)


def one_pulse() -> Tensor:
    train = torch.zeros(C, R)
    train[2, 4] = 3
    return train


def test_counts_are_those_of_rows_and_columns_by_hand() -> None:
    own = torch.randint(0, 4, (C, R), generator=torch.Generator().manual_seed(1))
    brute = torch.zeros(C, R, dtype=torch.int64)
    for c in range(C):
        for r in range(R):
            brute[c, r] = own[:, r].max() - own[c, r] + own[c].sum() - own[c, r]
    assert torch.equal(half_selected(own), brute)


@pytest.mark.parametrize("material", ["hfo2_array_optimised", "ecram_li", "gst_pcm_training"])
def test_cells_of_the_line_move_by_their_share_and_no_others(material: str) -> None:
    still, moved = tile(0.0, material), tile(0.01, material)
    start = still.hidden.clone()
    for one in (still, moved):
        one.pulse(one_pulse())
    gone = (moved.hidden - still.hidden).view(-1, C, R)
    lines = torch.zeros(C, R, dtype=torch.bool)
    lines[2], lines[:, 4] = True, True
    lines[2, 4] = False
    alive = (still.tables[0][0].expand(C * R) > 0).view(C, R)
    assert torch.equal(gone[0] != 0, lines & alive)
    assert torch.equal(moved.hidden[1], start[1])
    # Three half pulses, each of a hundredth of the step that one pulse makes from here.
    whole = tile(0.0, material)
    quiet = replace(whole.cell.need(whole.cell.response), cycle_spread=0.0, write_noise=0.0)
    bare = Crossbar(
        "t", slice(0, R), slice(0, C), 3,
        replace(whole.make, cell=replace(whole.cell, response=quiet)),
    )  # fmt: skip
    bare.hidden.copy_(start)
    bare.pulse(torch.ones(C, R))
    asked = 0.03 * (bare.hidden[0] - start[0]).view(C, R)
    assert torch.allclose(gone[0][lines], asked[lines], rtol=0.02, atol=1e-7)


def test_a_shut_mask_keeps_cells_bit_for_bit_without_disturb_and_not_with_it() -> None:
    mask = torch.zeros(C, R)
    mask[:, ::2] = 1.0
    shut = (mask == 0).view(-1)
    for share, same in ((0.0, True), (0.02, False)):
        one = tile(share)
        one.set_fence(mask)
        start = one.hidden.clone()
        rng = torch.Generator().manual_seed(2)
        for _ in range(4):
            one.pulse_outer(torch.randn(8, R, generator=rng), torch.randn(8, C, generator=rng), 0.1)
        assert torch.equal(one.hidden[:, shut], start[:, shut]) is same
        assert not torch.equal(one.hidden, start)


def one_by_one(w: Tensor, times: tuple[Tensor, Tensor], share: float, one: Crossbar) -> Tensor:
    """Half-selected steps one after the other in float64, both directions spread evenly."""
    law, table = one.law.double(), one.tables[0].double().expand(4, len(w))
    w, most = w.double(), int(max(map(torch.max, times)))
    for k in range(most):
        for way in (0, 1):
            step, bound, slope = table[way], table[2 + way], law[15 + way]
            step = torch.minimum(step, bound.abs() / slope) * (1 - slope * w / bound)
            now = torch.floor((k + 1) * times[way] / most) > torch.floor(k * times[way] / most)
            w = torch.where(now, w + (share, -share)[way] * step, w)
            w = torch.minimum(torch.maximum(w, table[3]), table[2])
    return w


@pytest.mark.parametrize("material", ["hfo2_array_optimised", "ecram_li"])
@pytest.mark.parametrize("share", [1e-4, 1e-2, 1.0])
def test_the_closed_form_of_a_linear_law_is_the_sum_of_its_steps(
    material: str, share: float
) -> None:
    one, rng = tile(share, material), torch.Generator().manual_seed(4)
    table = one.tables[0].expand(4, C * R)
    w = table[3] + torch.rand(C * R, generator=rng) * (table[2] - table[3])
    up, none = torch.randint(0, 60, (C * R,), generator=rng).float(), torch.zeros(C * R)
    for times in ((up, none), (none, up)):
        found = moved_at_once(w, times, (table[0], table[1], table[2], table[3]), one.law, share)
        assert (found - one_by_one(w, times, share, one)).abs().max() < 1e-6
    # Both directions: the order is not known, and an even mixture is near where steps are small.
    if share < 1:
        found = moved_at_once(w, (up, up), (table[0], table[1], table[2], table[3]), one.law, share)
        wanted = one_by_one(w, (up, up), share, one)
        assert (found - wanted).abs().max() < 0.01 * float((wanted - w).abs().max())
        # The control: one direction left out is seen.
        half = one_by_one(w, (up, none), share, one)
        assert (found - half).abs().max() > 0.1 * float((wanted - w).abs().max())


def test_half_selected_cells_cost_energy_and_no_wear() -> None:
    still, moved = tile(0.0), tile(0.01)
    plain, more = still.pulse(one_pulse()), moved.pulse(one_pulse())
    assert more[0] == plain[0] == 3
    assert more[1] == pytest.approx(plain[1] * (1 + (C - 1 + R - 1) / 4), rel=1e-6)
    assert torch.equal(still.wear, moved.wear)


def test_many_disturbs_end_at_the_bound() -> None:
    one = tile(1.0)
    for _ in range(200):
        one.pulse(one_pulse(), plane=0)
    table = one.tables[0].expand(4, C * R)
    assert bool((one.hidden[0] <= table[2]).all() & (one.hidden[0] >= table[3]).all())
    alive = (table[0] > 0).view(C, R)[:, 4]
    top = table[2].view(C, R)[:, 4]
    assert torch.allclose(one.hidden[0].view(C, R)[:, 4][alive], top[alive], atol=0.05)


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"0 to 1, got 1\.5"):
        ChipSpec(half_select=1.5)


def test_a_roll_back_also_finds_cells_that_neighbours_moved() -> None:
    net = nn.Sequential(nn.Linear(R, C, bias=False))
    row = material("ecram_li").supply(dead_fraction=0.0)  # fine steps, so that a write can end
    chip = host(
        net, assign=lambda name, leaf: "plastic", seed=1,
        spec=ChipSpec(plastic=row, pairs=1, half_select=0.01),
    )  # fmt: skip
    (cells,) = chip.tiles.values()
    before, kept = cells.view(0.0)[0].clone(), chip.state_dict()
    for _ in range(40):
        cells.pulse(300 * one_pulse(), plane=0)
    line = torch.zeros(C, R, dtype=torch.bool)
    line[2], line[:, 4], line[2, 4] = True, True, False
    moved = (cells.view(0.0)[0] - before)[line].abs().mean()
    chip.restore_plastic(kept)
    assert (cells.view(0.0)[0] - before)[line].abs().mean() < 0.3 * moved
