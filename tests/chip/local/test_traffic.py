"""What travels is what the formulas say, and what stays in a group is not charged to the router."""

import pytest
import torch

from clnf.chip import ChipSpec, PulseRule
from clnf.chip.local import (
    Backpropagation,
    DirectFeedback,
    Equilibrium,
    ForwardForward,
    LocalLosses,
    Relaxation,
)
from clnf.chip.updates import Transfer

# Inputs, outputs of the layers for one sample: linear 16-12-9-5; convolutions 1x8x10, 4x3x4,
# 6x1x2, 5. The ledger counts a convolution's inputs once, whatever windows see them.
SIZES = {"mlp": (16, 12, 9, 5), "conv": (80, 48, 12, 5)}


@pytest.mark.parametrize("way", ["all", "feedback", "local", "forward", "equilibrium"])
def test_bytes_are_those_of_the_formula(hosted, batch, way) -> None:
    net, chip = hosted()
    x, y = batch()
    inputs, one, two, classes = SIZES["mlp"]
    up = inputs + one + two
    if way == "all":
        method = Backpropagation(net, chip)
        wanted = {"activations": up, "errors": one + two + classes}
    elif way == "feedback":
        method = DirectFeedback(net, chip, example=x, seed=1)
        wanted = {"activations": up, "errors": classes, "feedback": 2 * classes}
    elif way == "local":
        method = LocalLosses(net, chip, example=x, seed=1, similarity=0.3)
        wanted = {"activations": up, "labels": 2, "errors": classes}
    elif way == "forward":
        method = ForwardForward(net, chip, example=x, seed=1)
        wanted = {"activations": inputs + 3 * one + two, "labels": 2, "errors": classes}
    else:
        method = Equilibrium(net, chip, relaxation=Relaxation(free=4, nudged=3))
        # First pass; each step sends the first state up and its force down, nudged ones also the
        # second to the last array and back. Ends go up once more: both, and the mean of both.
        steps = 4 + 2 * 3
        relaxing = (inputs + one) + steps * (one + one) + 2 * 3 * (two + classes + two)
        wanted = {"relaxation": relaxing, "activations": 2 * one + two, "errors": classes}
    chip.ledger.lesson = "taught"
    method.optimizer(lr=0.1)
    method.teach(x, y)
    assert method.traffic.bytes_per_sample == pytest.approx(wanted)
    routed = chip.ledger.total(lesson="taught", op="routing")
    assert routed.count == 8 * len(x) * sum(wanted.values())
    assert method.traffic.energy_j == pytest.approx(routed.energy_j, rel=1e-5)
    # Twice the batch, as much for each.
    method.teach(torch.cat([x, x]), torch.cat([y, y]))
    assert method.traffic.bytes_per_sample == pytest.approx(wanted)


def test_convolutions_send_errors_of_all_positions_back(hosted, batch) -> None:
    x, y = batch("conv")
    inputs, one, two, classes = SIZES["conv"]
    net, chip = hosted("conv")
    through = Backpropagation(net, chip)
    through.optimizer(lr=0.1)
    through.teach(x, y)
    moved = through.traffic.bytes_per_sample
    assert moved == {"activations": inputs + one + two, "errors": one + two + classes}


def test_local_losses_need_fewer_bytes_and_no_read_of_the_stack_from_the_other_side(
    hosted, batch
) -> None:
    x, y = batch()

    def drives(way: str) -> int:
        net, chip = hosted()
        chip.ledger.lesson = "taught"
        method = (
            Backpropagation(net, chip)
            if way == "all"
            else LocalLosses(net, chip, example=x, seed=1)
            if way == "local"
            else DirectFeedback(net, chip, example=x, seed=1)
        )
        chip.ledger.lesson = "taught"
        method.optimizer(lr=0.1)
        chip.ledger.lesson = "now"
        method.teach(x, y)
        names = [tile.name for layer in chip.layers.values() for tile in layer.tiles]
        return sum(chip.ledger.total(lesson="now", op="dac", tile=name).count for name in names)

    forward = 8 * (16 + 12 + 9)
    assert drives("local") == drives("feedback") == forward
    assert drives("all") == forward + 8 * (9 + 5)  # the two upper arrays, from their columns


@pytest.mark.parametrize("gamma", [0.0, 0.2])
def test_heads_with_fast_cells_stay_in_their_group(hosted, batch, gamma) -> None:
    x, y = batch()
    net, chip = hosted(spec=ChipSpec(pairs=1))
    method = LocalLosses(net, chip, example=x, seed=1)
    rule = PulseRule(mode="agad", transfer=Transfer(every=2, gamma=gamma))
    optimizer = method.optimizer(lr=0.1, rule=rule)
    wear = method.head(0).tiles[0].wear.sum()
    for _ in range(20):
        optimizer.zero_grad()
        method.teach(x, y)
        optimizer.step()
    assert method.traffic.bytes_per_sample == {"activations": 37.0, "labels": 2.0, "errors": 5.0}
    fast = method.head(0).tiles[0].fast
    assert int(fast.wear.sum()) > 0
    assert method.head(0).tiles[0].wear.sum() >= wear
