"""Sums of low-rank changes are the matrices they stand for, in as little room as either takes."""

import pytest
import torch
from torch import nn

from clnf.continual.adapters import CLoRA, CLoRAParams, attach, factors_of, settle
from clnf.continual.adapters.sums import LowRankSum, moved_on, sum_of

ROWS, COLUMNS, RANK = 24, 40, 2
PAIR = RANK * (ROWS + COLUMNS)  # numbers of one adapter's factors


def drawn(seed, rank=RANK):
    rng = torch.Generator().manual_seed(seed)
    left, right = torch.randn(ROWS, rank, generator=rng), torch.randn(rank, COLUMNS, generator=rng)
    return LowRankSum(left, right)


def room(one):
    return one.left.numel() + (0 if one.right is None else one.right.numel())


def exact(*signed):
    """Of (sign, sum) pairs in double precision."""
    return sum(sign * part.left.double() @ part.right.double() for sign, part in signed)


def near(one, wanted):
    torch.testing.assert_close(one.dense().double(), wanted, rtol=1e-5, atol=1e-5)


def test_one_that_goes_on_never_takes_more_than_two():
    total = None
    for number in range(1, 40):
        total = moved_on(total, drawn(number - 1), drawn(number))
        assert room(total) == 2 * PAIR
        near(total, exact((1, drawn(number)), (-1, drawn(0))))


def test_from_zero_it_takes_one():
    total = moved_on(None, None, drawn(1))
    total = moved_on(total, drawn(1), drawn(2))
    assert room(total) == PAIR
    assert torch.equal(total.dense(), drawn(2).dense())


def test_a_gap_between_lessons_is_counted():
    """What came between is not what a lesson changed."""
    total = moved_on(None, None, drawn(1))
    total = moved_on(total, drawn(2), drawn(3))
    assert room(total) == 3 * PAIR
    near(total, exact((1, drawn(1)), (-1, drawn(2)), (1, drawn(3))))
    # One bit is a gap: the end of the sum is not the start then.
    start = LowRankSum(drawn(1).left.clone(), drawn(1).right)
    start.left[0, 0] = torch.nextafter(start.left[0, 0], torch.tensor(9.0))
    assert room(moved_on(moved_on(None, None, drawn(1)), start, drawn(3))) == 3 * PAIR


def test_a_lesson_that_changed_nothing_leaves_the_sum():
    nothing = LowRankSum(torch.zeros(ROWS, RANK), drawn(1).right)
    assert moved_on(None, None, nothing) is None
    assert moved_on(None, drawn(1), drawn(1)) is None
    total = sum_of([drawn(1)])
    assert moved_on(total, drawn(2), drawn(2)) is total


def test_many_become_the_matrix():
    total = None
    for number in range(12):
        total = moved_on(total, None, drawn(number))
        most = ROWS * COLUMNS
        assert room(total) == min((number + 1) * PAIR, most)
        near(total, exact(*((1, drawn(n)) for n in range(number + 1))))
    whole = LowRankSum(drawn(3).dense(), None)  # a start that an older file holds as a matrix
    near(moved_on(drawn(1), whole, drawn(4)), exact((1, drawn(1)), (-1, drawn(3)), (1, drawn(4))))


class Dense:
    """The same bookkeeping with matrices, as the equation reads; layers and lessons in plain."""

    def __init__(self, model, strength):
        self.model, self.strength = model, strength
        self.before, self.start = {}, {}

    def product(self):
        found = factors_of(self.model)
        return {n: f.scale * f.up.flatten(1) @ f.down.flatten(1) for n, f in found.items()}

    def begin(self):
        self.start = self.product()

    def consolidate(self):
        for name, now in self.product().items():
            self.before[name] = self.before.get(name, 0.0) + now - self.start[name]

    def penalty(self):
        parts = self.product().items()
        return self.strength * sum(
            float((self.before[n] * (now - self.start[n])).double().square().sum())
            for n, now in parts
        )


@pytest.mark.parametrize("between", ["nothing", "settled", "written back"])
def test_the_penalty_is_that_of_matrices(stir, lesson, between):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 20, 3), nn.Flatten(), nn.Linear(40, 30))
    attach(model, rank=2, scale=0.5)
    stir(model, seed=99)
    mine, dense = CLoRA(model, CLoRAParams(strength=3.0)), Dense(model, 3.0)
    kept = []
    for number in range(9):
        mine.begin(lesson())
        dense.begin()
        stir(model, seed=number)
        if number:
            assert mine.energy() == pytest.approx(dense.penalty(), rel=1e-6)
        mine.consolidate(lesson())
        dense.consolidate()
        kept.append(sum(value.numel() for value in mine.state_dict().values()))
        if between == "settled":
            settle(model, seed=number)
        elif between == "written back":
            stir(model, seed=50 + number)
    pairs, matrices = 2 * (20 + 54 + 30 + 40), 20 * 54 + 30 * 40
    assert kept[0] == 2 * pairs
    assert kept[-1] == (2 * pairs if between == "nothing" else matrices)


def test_a_state_of_matrices_goes_on(stir, lesson):
    """Files of earlier versions hold them."""
    model = nn.Sequential(nn.Linear(40, 30))
    attach(model, rank=2)
    guard, again = CLoRA(model), CLoRA(model)
    for seed in (1, 2):
        guard.begin(lesson())
        stir(model, seed=seed)
        if seed == 1:
            guard.consolidate(lesson())
    factors = guard.state_dict()
    old = {
        f"{kind}.0": factors[f"{kind}.0"] @ factors[f"{kind}_right.0"]
        for kind in ("before", "start")
    }
    again.load_state_dict(old)
    assert again.energy() == guard.energy() > 0
    again.consolidate(lesson())
    guard.consolidate(lesson())
    ends = [one.state_dict() for one in (guard, again)]
    torch.testing.assert_close(ends[0]["before.0"] @ ends[0]["before_right.0"], ends[1]["before.0"])
