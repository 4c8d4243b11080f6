"""What a budget of writes pays for: the best pulses, never more than it has."""

import math

import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.core.rng import torch_rng
from clnf.devices.worth import Offer, check_budget, least_paid, offer, part, turn


def drawn(n: int, levels: int) -> list[Offer]:
    rng = torch_rng(n, "offers")
    due = torch.randint(-3, 4, (60,), generator=rng).float()
    worth = torch.randint(-levels // 4, levels, (60,), generator=rng) / levels
    return [Offer(due[:20].view(4, 5), worth[:20].view(4, 5)), Offer(due[20:], worth[20:])]


def given(offered: list[Offer], least: float) -> tuple[int, float]:
    """Pulses, and what they are worth together."""
    pulses = [one.due.abs() * (one.worth >= least) for one in offered]
    total = sum(float((p * one.worth).sum()) for p, one in zip(pulses, offered, strict=True))
    return int(sum(p.sum() for p in pulses)), total


@pytest.mark.parametrize("levels", [4, 1000])  # many alike, or hardly any
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_the_best_are_given_and_no_more_than_allowed(levels: int, start: float) -> None:
    for n in range(20):
        offered = drawn(n, levels)
        every = sorted({float(v) for one in offered for v in one.worth[one.due != 0]} | {start})
        for allowed in (0, 1, 7, 30, 1000):
            count, total = given(offered, least_paid(offered, allowed, start))
            # By trying every threshold there is.
            tried = [given(offered, least) for least in [*every, math.inf] if least >= start]
            best = max((both for both in tried if both[0] <= allowed), key=lambda both: both[0])
            assert count <= allowed
            assert (count, total) == pytest.approx(best)
        # Negative control: the threshold alone does not keep to it.
        assert given(offered, start)[0] > 7


def test_without_pulses_the_threshold_stays() -> None:
    assert least_paid([Offer(torch.zeros(3), torch.ones(3))], 0, 0.25) == 0.25


def test_worth_is_what_the_loss_loses() -> None:
    weight = torch.tensor([0.3, -0.2, 0.5], requires_grad=True)
    target = torch.tensor([0.9, -0.7, 0.5])
    loss = (weight - target).square().sum()
    loss.backward()
    assert weight.grad is not None
    found = offer(torch.tensor([2.0, -4.0, 1.0]), weight.grad, 1e-4).worth
    for k, sign in enumerate((1, -1, 1)):
        moved = weight.detach().clone()
        moved[k] += sign * 1e-4
        fall = loss.detach() - (moved - target).square().sum()
        torch.testing.assert_close(found[k], fall, rtol=1e-2, atol=1e-7)
    assert offer(torch.tensor([-2.0]), weight.grad[:1], 1e-4).worth < 0  # the wrong way


@pytest.mark.parametrize("falling", [False, True])
def test_parts_spend_all_of_it(falling: bool) -> None:
    left, parts = 1.0, []
    for step in range(10):
        parts.append(left * part(10 - step, falling=falling))
        left -= parts[-1]
    assert left == pytest.approx(0.0, abs=1e-12)
    wanted = [(10 - k) / 55 if falling else 0.1 for k in range(10)]
    assert parts == pytest.approx(wanted)
    assert part(-3) == part(1) == 1.0


def test_a_turn_is_bounded_and_rises_with_what_was_used() -> None:
    turns = [turn(used, 10.0, 0.25) for used in (0, 5, 10, 20, 10_000)]
    assert turns == sorted(turns)
    assert (turns[0], turns[2], turns[-1]) == (0.5, 1.0, 2.0)


def test_budgets_that_make_no_sense_are_refused() -> None:
    check_budget(0, 1, 1.0)
    check_budget(None, 1, 0.5)
    for wrong in ((-1, 1, 0.5), (1, 0, 0.5), (1, 1, 0.0), (1, 1, 1.5)):
        with pytest.raises(ConfigError, match="a budget is at least 0"):
            check_budget(*wrong)
