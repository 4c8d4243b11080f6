"""Every method teaches every kind of stack, or says in a sentence why it cannot."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from clnf.chip import ChipSpec, PulseRule, host, ideal_chip
from clnf.chip.hosting import Chip
from clnf.chip.local import METHODS, AbstractMethod, Backpropagation, Relaxation, make_method
from clnf.core.errors import ConfigError
from clnf.devices.materials import material

STACKS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = {
    "three linear": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(36, 12), nn.Hardtanh(), nn.Linear(12, 8), nn.ReLU(),
            nn.Linear(8, 4),
        ),
        (6, 6),
    ),
    "nested, pooled convolutions": (
        lambda: nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2)),
            nn.Sequential(nn.Conv2d(4, 6, 2), nn.ReLU(), nn.Flatten()), nn.Linear(6, 4),
        ),
        (1, 6, 6),
    ),
    "a sequence": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 5, 3, padding=1), nn.Tanh(), nn.AvgPool1d(2), nn.Flatten(),
            nn.Linear(15, 4),
        ),
        (2, 6),
    ),
    "greatest of pools": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4)
        ),
        (1, 6, 6),
    ),
    "normalised": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(36, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 4)
        ),
        (6, 6),
    ),
    "a stored layer between": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(),
            nn.Linear(10, 4),
        ),
        (6, 6),
    ),
}  # fmt: skip
REFUSED = {
    "greatest of pools": "MaxPool2d",
    "normalised": "LayerNorm",
    "a stored layer between": "",
}


def hosted_stack(kind: str, **changes: Any) -> tuple[Any, Any, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(2)
    net, shape = STACKS[kind][0](), STACKS[kind][1]
    cells = material("ecram_li").supply(step=2e-3, slope_up=0.0, slope_down=0.0)
    spec = replace(ideal_chip(), plastic=cells, pairs=1, **changes)
    stored = {"3"} if kind == "a stored layer between" else set()
    chip = host(
        net, assign=lambda name, leaf: "core" if name in stored else "plastic", seed=5, spec=spec
    )
    if stored:
        chip.program_core()
    rng = torch.Generator().manual_seed(4)
    y = torch.randint(0, 4, (64,), generator=rng)
    x = torch.rand(4, *shape, generator=rng)[y] + 0.05 * torch.randn(64, *shape, generator=rng)
    return net, chip, (x, y)


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("way", METHODS)
def test_it_teaches_or_says_why_not(kind, way) -> None:
    net, chip, (x, y) = hosted_stack(kind)
    relaxation = Relaxation(beta=0.3, free=8, nudged=5)
    if way == "equilibrium" and kind in REFUSED:
        with pytest.raises(ConfigError, match=f"a block of equilibrium.*{REFUSED[kind]}"):
            make_method(way, net, chip, example=x, seed=1, relaxation=relaxation)
        return
    method = make_method(way, net, chip, example=x, seed=1, relaxation=relaxation)
    optimizer = method.optimizer(
        lr=0.5, rule=PulseRule(mode="mixed", precondition="none", digital_lr=0.01)
    )
    worn = {name: int(tile.wear.sum()) for name, tile in chip.tiles.items()}
    plastic = [name for layer in method.taught for name in (tile.name for tile in layer.tiles)]
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(float(method.teach(x, y)))
        optimizer.step()
    assert min(losses[-5:]) < 0.9 * losses[0]
    assert float((method(x).argmax(1) == y).float().mean()) > 0.4  # by chance 0.25
    for name, tile in chip.tiles.items():
        # Every layer that learns was pulsed, and no other.
        assert (int(tile.wear.sum()) > worn[name]) == (name in plastic)


def noisy_method(way: str) -> tuple[AbstractMethod, Chip, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(2)
    net = STACKS["three linear"][0]()
    spec = ChipSpec(pairs=1)
    chip = host(net, assign=lambda name, leaf: "plastic", seed=5, spec=spec)
    rng = torch.Generator().manual_seed(4)
    x, y = torch.rand(16, 6, 6, generator=rng), torch.randint(0, 4, (16,), generator=rng)
    relaxation = Relaxation(free=3, nudged=2)
    return make_method(way, net, chip, example=x, seed=1, relaxation=relaxation), chip, (x, y)


@pytest.mark.parametrize("way", METHODS)
def test_a_course_goes_on_to_the_same_bits(way) -> None:
    def taught(method: AbstractMethod, split: Any, steps: int) -> list[torch.Tensor]:
        optimizer = method.optimizer(lr=0.3, rule=PulseRule(mode="stochastic"))
        for _ in range(steps):
            optimizer.zero_grad()
            method.teach(*split)
            # Digital parameters have a memory in their optimizer, which is not the method's.
            for group in optimizer.param_groups:
                group["lr"] = 0.0 if group["kind"] == "digital" else 0.3
            optimizer.step()
        return [layer.weight.detach().clone() for layer in method.taught]

    method, chip, split = noisy_method(way)
    taught(method, split, 3)
    kept = method.saved()
    wanted, moved = taught(method, split, 3), dict(method.traffic.bytes_per_sample)
    method.restore(kept)
    again = taught(method, split, 3)
    assert all(torch.equal(a, b) for a, b in zip(wanted, again, strict=True))
    other, chip, _ = noisy_method(way)  # as after a new start of the program
    fresh = taught(other, split, 3)
    other.restore(kept)
    assert method.traffic.bytes_per_sample == moved
    from_file = taught(other, split, 3)
    assert all(torch.equal(a, b) for a, b in zip(wanted, from_file, strict=True))
    # Negative control: three steps from elsewhere end elsewhere.
    assert not all(torch.equal(a, b) for a, b in zip(wanted, fresh, strict=True))
    assert all(one.clock_s == chip.clock_s for one in other.chips)


def test_time_passes_for_all_chips_and_another_state_is_refused() -> None:
    method, _, _ = noisy_method("layerwise")
    method.advance(60.0)
    assert [chip.clock_s for chip in method.chips] == [60.0, 60.0]
    with pytest.raises(ConfigError, match="not one of ForwardForward"):
        noisy_method("forward-forward")[0].restore(method.saved())


@pytest.mark.parametrize("way", METHODS)
def test_what_is_no_stack_is_refused(way) -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(x) + self.two(x)

    net = Branch()
    chip = host(net, assign=lambda name, leaf: "plastic", seed=5, spec=ideal_chip())
    with pytest.raises(ConfigError, match=r"plain stack.*Branch"):
        make_method(way, net, chip, example=torch.rand(2, 6), seed=1)


def test_an_unknown_way_is_refused() -> None:
    net, chip, (x, _) = hosted_stack("three linear")
    with pytest.raises(ConfigError, match=r"backpropagation, feedback.*'osmosis'"):
        make_method("osmosis", net, chip, example=x, seed=1)


def test_errors_come_down_after_pooling() -> None:
    net, chip, (x, y) = hosted_stack("nested, pooled convolutions")
    method = Backpropagation(net, chip)
    method.optimizer(lr=0.1)
    method.teach(x, y)
    # 36 pixels; 4 x 4 x 4 pooled to 4 x 2 x 2; 6; 4 classes. Errors are as many as what went up.
    assert method.traffic.bytes_per_sample == {"activations": 36 + 16 + 6, "errors": 16 + 6 + 4}


def test_a_stored_layer_hands_errors_on() -> None:
    net, chip, (x, y) = hosted_stack("a stored layer between")
    method = Backpropagation(net, chip)
    method.optimizer(lr=0.1)
    method.teach(x, y)
    moved = {"activations": 36 + 12 + 10, "errors": 12 + 10 + 4}
    assert method.traffic.bytes_per_sample == moved


@pytest.mark.parametrize("way", ["forward-forward", "equilibrium"])
def test_partial_sums_travel_though_inputs_are_held(way) -> None:
    """A layer of two runs of rows adds 16 bits of its second one at each read."""
    found = []
    for rows in (36, 18):
        net, chip, (x, y) = hosted_stack("three linear", plastic_tile_rows=rows)
        relaxation = Relaxation(free=3, nudged=2)
        method = make_method(way, net, chip, example=x, seed=1, relaxation=relaxation)
        method.optimizer(lr=0.1)
        method.teach(x, y)
        found.append(sum(method.traffic.bytes_per_sample.values()))
    # Forward-forward reads the first layer three times; equilibrium once, whatever its steps.
    assert found[1] - found[0] == 2 * 12 * (3 if way == "forward-forward" else 1)


def test_what_is_only_collected_is_no_read() -> None:
    """Equilibrium propagation reads each array as often as states and forces need, not more."""
    net, chip, (x, y) = hosted_stack("three linear")
    method = make_method(
        "equilibrium", net, chip, example=x, seed=1, relaxation=Relaxation(free=4, nudged=3)
    )
    method.optimizer(lr=0.1)
    chip.ledger.lesson = "now"
    method.teach(x, y)

    def drives(place: int) -> int:
        names = [tile.name for tile in net[place].tiles]
        return sum(chip.ledger.total(lesson="now", op="dac", tile=n).count for n in names) // len(x)

    steps = 4 + 2 * 3
    assert drives(1) == 36  # inputs are sensed once
    assert drives(3) == 12 + steps * (12 + 8)  # first pass; then from both sides
    assert drives(5) == 2 * 3 * (8 + 4) + 8  # nudged steps, and the output that is learned from


def test_this_spec_is_ideal() -> None:
    """The stacks above differ by their method alone: cells have neither noise nor converters."""
    spec: ChipSpec = hosted_stack("three linear")[1].spec
    assert (spec.read_noise, spec.dac_bits, spec.adc_bits) == ("off", 0, 0)
