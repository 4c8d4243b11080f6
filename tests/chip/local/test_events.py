"""Fewer events, fewer pulses; a budget is kept; what is withheld is on the bill."""

import pytest
import torch

from clnf.chip import PulseRule
from clnf.chip.local import (
    Backpropagation,
    DirectFeedback,
    Equilibrium,
    EventRule,
    Events,
    LocalLosses,
    Relaxation,
)
from clnf.core.errors import ConfigError
from clnf.devices.worth import Offer


def blobs():
    rng = torch.Generator().manual_seed(4)
    y = torch.randint(0, 5, (256,), generator=rng)
    return torch.rand(5, 16, generator=rng)[y] + 0.1 * torch.randn(256, 16, generator=rng), y


def taught(hosted, rule, *, mode="stochastic", steps=24, lessons=1, way="all"):
    net, chip = hosted()
    x, y = blobs()
    if way == "all":
        method = Backpropagation(net, chip)
    elif way == "local":
        method = LocalLosses(net, chip, example=x, seed=9)
    else:
        method = DirectFeedback(net, chip, example=x, seed=9)
    pulses = PulseRule(mode=mode, precondition="none", digital_lr=0.01)
    optimizer = method.optimizer(lr=0.3, rule=pulses)
    events = Events(optimizer, rule)
    spent = []
    for lesson in range(lessons):
        chip.ledger.lesson = f"lesson {lesson}"
        events.lesson()
        for step in range(steps):
            picked = slice(step % 8 * 32, step % 8 * 32 + 32)
            optimizer.zero_grad()
            method.teach(x[picked], y[picked])
            events.step()
        spent.append(chip.ledger.total(lesson=chip.ledger.lesson, op="pulse").count)
    return events, spent, chip


@pytest.mark.parametrize("way", ["all", "local", "feedback"])
def test_pulses_fall_as_the_threshold_on_samples_rises(hosted, way) -> None:
    counts = []
    for threshold in (0.0, 1.5, 2.0, 1e9):  # one step, so that all see the same errors
        events, (pulses,), chip = taught(hosted, EventRule(threshold=threshold), way=way, steps=1)
        counts.append(pulses)
        passed, seen = sum(events.passed.values()), sum(events.seen.values())
        withheld = chip.ledger.total(lesson="lesson 0", op="withheld").count
        assert (passed == seen) == (withheld == 0 and pulses > 0)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > counts[3] == 0
    # Over many steps too, where what was left out comes back as larger errors.
    spent = [taught(hosted, EventRule(threshold=t), way=way)[1][0] for t in (0.0, 2.0)]
    assert spent[1] < 0.9 * spent[0]


def test_nothing_changes_without_a_threshold(hosted) -> None:
    _, (guarded,), chip = taught(hosted, EventRule(threshold=0.0))
    net, plain = hosted()
    x, y = blobs()
    optimizer = plain.optimizer(
        net.parameters(), lr=0.3, rule=PulseRule(mode="stochastic", digital_lr=0.01)
    )
    plain.ledger.lesson = "lesson 0"
    for step in range(24):
        picked = slice(step % 8 * 32, step % 8 * 32 + 32)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[picked]), y[picked]).backward()
        optimizer.step()
    assert guarded == plain.ledger.total(lesson="lesson 0", op="pulse").count
    mine, theirs = (c.layers["1"].weight for c in (chip, plain))
    assert torch.equal(mine, theirs)


def test_errors_below_the_threshold_move_nothing(hosted) -> None:
    net, chip = hosted()
    x, y = blobs()
    method = Backpropagation(net, chip)
    optimizer = method.optimizer(lr=0.3, rule=PulseRule(mode="stochastic"))
    events = Events(optimizer, EventRule(threshold=1.0, on="errors"))
    method.teach(x, y)
    ((_, error),) = net[5].capture
    moved = error[error != 0].abs()
    scale = events._scale[net[5].tiles[0].name]
    assert 0 < len(moved) < error.numel()
    assert float(moved.min()) >= scale
    events.remove()
    optimizer.zero_grad()
    method.teach(x, y)
    assert bool((net[5].capture[0][1] != 0).all())  # negative control


@pytest.mark.parametrize(("mode", "on"), [("stochastic", "samples"), ("mixed", "cells")])
def test_a_budget_is_kept_lesson_after_lesson(hosted, mode, on) -> None:
    start = 1.0 if on == "cells" else 0.01
    free, whole, _ = taught(hosted, EventRule(threshold=start, on=on), mode=mode, lessons=2)
    budget = whole[0] // 3
    rule = EventRule(threshold=start, on=on, budget=budget, steps=24)
    events, spent, _ = taught(hosted, rule, mode=mode, lessons=2)
    assert free.threshold == start  # negative control: nobody asked for less
    assert whole[1] > 0
    assert events.threshold > start
    one_step = max(whole) / 4
    assert all(0 < pulses <= budget + one_step for pulses in spent)
    # Spent over the lesson, not at once: the second one had its share too.
    assert spent[1] > budget / 4


def test_a_budget_on_worth_is_never_exceeded(hosted) -> None:
    free, (whole,), _ = taught(hosted, EventRule(threshold=0.0, on="worth"), mode="mixed")
    assert free.threshold == 0.0
    for budget in (whole // 3, 25, 0):
        for falling in (False, True):
            rule = EventRule(threshold=0.0, on="worth", budget=budget, steps=24, falling=falling)
            _, spent, _ = taught(hosted, rule, mode="mixed", lessons=2)
            assert all(pulses <= budget for pulses in spent)
            assert budget < 100 or min(spent) > 0.5 * budget, (budget, spent)


@pytest.mark.parametrize(
    ("budget", "given"), [(None, [3, -2, 1, 5]), (11, [3, -2, 1, 5]), (5, [3, -2, 0, 0]),
                          (9, [3, -2, 0, 0]), (4, [0, -2, 0, 0]), (1, [0, 0, 0, 0])]
)  # fmt: skip
def test_the_best_pulses_come_first(hosted, budget, given) -> None:
    net, chip = hosted()
    optimizer = chip.optimizer(net.parameters(), lr=0.1, rule=PulseRule(mode="mixed"))
    Events(optimizer, EventRule(threshold=0.0, on="worth", budget=budget, steps=1))
    due, worth = torch.tensor([3.0, -2.0, 1.0, 5.0]), torch.tensor([0.5, 0.9, 0.1, 0.2])
    least = optimizer.least_worth([Offer(due[:3], worth[:3]), Offer(due[3:], worth[3:])])
    assert (due * (worth >= least)).tolist() == given


def test_what_is_not_given_stays_owed(hosted) -> None:
    owed = {}
    for least in (float("-inf"), 1e-5, float("inf")):
        net, chip = hosted()
        x, y = blobs()
        method = Backpropagation(net, chip)
        optimizer = method.optimizer(lr=3.0, rule=PulseRule(mode="mixed", precondition="none"))
        optimizer.least_worth = lambda _, least=least: least
        method.teach(x, y)
        wear = [tile.wear.clone() for layer in chip.layers.values() for tile in layer.tiles]
        optimizer.step()
        tiles = [tile for layer in chip.layers.values() for tile in layer.tiles]
        given = sum(int((t.wear - old).sum()) for t, old in zip(tiles, wear, strict=True))
        held = [optimizer.state[layer.weight]["chi"] for layer in chip.layers.values()]
        owed[least] = (given, sum(float(one.abs().sum()) for one in held))
    all_, some, none = owed.values()
    assert all_[0] > some[0] > none[0] == 0
    assert all_[1] < some[1] < none[1]


def test_relaxing_states_are_left_alone(hosted, batch) -> None:
    x, y = batch()
    losses, captured = [], []
    for threshold in (None, 0.0, 1e9):
        net, chip = hosted()
        method = Equilibrium(net, chip, relaxation=Relaxation(beta=1.0, free=3, nudged=3))
        optimizer = method.optimizer(lr=0.3, rule=PulseRule(mode="stochastic"))
        if threshold is not None:
            Events(optimizer, EventRule(threshold=threshold))
        losses.append(float(method.teach(x, y)))
        captured.append(net[3].capture[0][1])
    assert losses[0] == losses[1] == losses[2]
    assert torch.equal(captured[0], captured[1])
    assert bool(captured[0].any()) > bool(captured[2].any())


def test_cells_are_owed_pulses_in_the_mixed_mode_only(hosted) -> None:
    net, chip = hosted()
    optimizer = chip.optimizer(net.parameters(), lr=0.1, rule=PulseRule(mode="stochastic"))
    with pytest.raises(ConfigError, match="mixed mode only"):
        Events(optimizer, EventRule(threshold=2.0, on="cells"))
    with pytest.raises(ConfigError, match="at least 1"):
        EventRule(threshold=0.5, on="cells")
    with pytest.raises(ConfigError, match="budget"):
        EventRule(threshold=0.5, steps=0)
