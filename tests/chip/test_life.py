"""A projected life holds what really comes, as often as it says."""

import math

import pytest
import torch

from clnf.chip import ChipSpec
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.life import project, project_levelled
from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.devices.cell import Unknown
from clnf.devices.draws import hash_key
from clnf.devices.materials import material

CYCLES, SHARE, LESSONS = 1e5, 0.02, 8


def tile(seed: int, cycles: float | None = CYCLES) -> Crossbar:
    row = material("hfo2_array").supply(endurance_cycles=cycles) if cycles else "hfo2_array"
    make = ChipSpec(plastic=row, pairs=1, relatives=cycles is not None).make(plastic=True)
    return Crossbar("t", slice(0, 40), slice(0, 30), seed, make)


def worn(one: Crossbar, seed: int) -> tuple[list[float], torch.Tensor]:
    """Lessons of uneven cells and uneven size, without the pulses' work; pulses a cell's mean."""
    rng = torch.Generator().manual_seed(seed)
    rates = torch.exp(torch.randn(one.wear.shape, generator=rng)) * 20
    sizes = 1.0 + 0.3 * torch.randn(LESSONS, generator=rng)
    one.wear += (rates * float(sizes.sum())).round().int()
    return sizes.tolist(), rates


def truth(one: Crossbar, rates: torch.Tensor) -> float:
    """Lessons of mean size until the share is really dead, by each cell's own life."""
    endurance = one.cell.endurance
    assert not isinstance(endurance, Unknown)
    key = hash_key(one.seed, "life")
    life = torch.cat([endurance.life(one.size, key, p * one.size) for p in range(one.planes)])
    left = (life - one.wear.flatten()).clamp(min=0) / rates.flatten()
    return float(left.sort().values[math.ceil(SHARE * left.numel()) - 1])


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = []
    for seed in range(120):
        one = tile(seed)
        before = one.wear.clone()
        sizes, rates = worn(one, seed)
        life = project(one, before, sizes, share=SHARE, rate=0.9)
        assert life.low <= life.lessons <= life.high
        held.append(life.low <= truth(one, rates) <= life.high)
    assert 0.82 <= sum(held) / len(held) <= 0.97


def test_twice_the_wear_is_about_half_the_life_and_a_wrong_rate_misses() -> None:
    one = tile(1)
    before = one.wear.clone()
    sizes, rates = worn(one, 1)
    life = project(one, before, sizes, share=SHARE)
    fewer = project(one, before, sizes[: LESSONS // 2], share=SHARE)
    assert fewer.lessons == pytest.approx(life.lessons / 2, rel=0.01)
    assert not fewer.low <= truth(one, rates) <= fewer.high


def test_what_nothing_wears_lives_for_ever_and_what_is_spent_has_no_lesson_left() -> None:
    one = tile(1)
    still = project(one, one.wear.clone(), [0.0, 0.0])
    assert still.lessons == math.inf
    before = one.wear.clone()
    one.wear += int(2 * CYCLES)
    assert project(one, before, [1.0]).lessons == 0.0


def lines_truth(one: Crossbar, rates: torch.Tensor, share: float) -> float:
    """Lessons until the first line has lost its share, by each cell's own life."""
    endurance = one.cell.endurance
    assert not isinstance(endurance, Unknown)
    key = hash_key(one.seed, "life")
    life = torch.cat([endurance.life(one.size, key, p * one.size) for p in range(one.planes)])
    left = (life - one.wear.flatten()).clamp(min=0) / rates.flatten()
    lines = left.view(one.planes, *one.shape).transpose(0, 1).flatten(1)
    return float(lines.sort(1).values[:, math.ceil(share * lines.shape[1]) - 1].min())


def test_the_interval_of_the_first_line_holds_the_truth_too() -> None:
    held, of_one = [], []
    for seed in range(120):
        one = tile(seed)
        before = one.wear.clone()
        sizes, rates = worn(one, seed)
        life = project(one, before, sizes, share=0.25, rate=0.9, of="line")
        truth_ = lines_truth(one, rates, 0.25)
        held.append(life.low <= truth_ <= life.high)
        # What the mean line would do says too late an end for the first of thirty.
        of_one.append(project(one, before, sizes, share=0.25, rate=0.9).low <= truth_)
    assert 0.80 <= sum(held) / len(held) <= 0.99
    assert sum(of_one) / len(of_one) < 0.2


def test_levelled_writes_give_a_longer_life_where_they_were_uneven() -> None:
    one = tile(3)
    before = one.wear.clone()
    busy = torch.full((2, *one.shape), 20)
    busy[:, :3] = 200
    one.wear += busy.view(2, -1).int()
    lesson = [float(busy.sum()) / 2] * 2
    now = project(one, before, lesson, share=0.25, of="line")
    later = project_levelled(one, lesson, extra=0.05, share=0.25, of="line")
    # 200 pulses on a hot cell, 38 on the mean one and 5 % more; of thirty lines that wear alike one
    # ends sooner than of three.
    assert 0.8 < later.lessons / now.lessons / (200 / (38 * 1.05)) < 1.0
    one = tile(3)  # one plane alone is written: moves change nothing about that
    before = one.wear.clone()
    one.wear[0] += busy[0].flatten().int()
    lesson = [float(busy[0].sum())]
    now = project(one, before, lesson, share=0.25, of="line")
    later = project_levelled(one, lesson, extra=0.05, share=0.25, of="line")
    assert 0.8 < later.lessons / now.lessons / (200 / (38 * 1.05)) < 1.0
    even = tile(4)
    before = even.wear.clone()
    even.wear += 50
    lesson = [50.0 * even.wear.numel()]
    same = project(even, before, lesson, share=0.25, of="line")
    alike = project_levelled(even, lesson, extra=0.0, share=0.25, of="line")
    assert alike.lessons == pytest.approx(same.lessons, rel=1e-6)
    with pytest.raises(ConfigError, match="at least 0 of the pulses"):
        project_levelled(even, lesson, extra=-0.1)
    with pytest.raises(ConfigError, match="of cells or of a line"):
        project(even, before, lesson, of="tile")  # type: ignore[arg-type]


def test_bad_input_gets_a_sentence() -> None:
    one = tile(1)
    for before, lessons, share in (
        (one.wear, [], 0.1),
        (one.wear, [1.0], 0.0),
        (one.wear + 1, [1.0], 0.1),
        (one.wear[:, :7], [1.0], 0.1),
    ):
        with pytest.raises(ConfigError, match="got"):
            project(one, before, lessons, share=share)
    bare = tile(1, None)
    with pytest.raises(DeviceLimitError, match="endurance"):
        project(bare, bare.wear, [1.0])
