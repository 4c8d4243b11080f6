"""What is deployed is what was simulated, to the bit."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clnf.spiking import IF, LIF, CubaLIF, Neurons, RecurrentNeurons, SpikingLinear
from clnf.spiking.profiles import ChipProfile, Constrained, Course, Deployed, deploy, profile

DT_S = 1e-3


def differences(one: list[Course], other: list[Course]) -> int:
    """Numbers of all spikes, potentials and currents at all steps that are not the same."""
    assert len(one) == len(other)
    wrong = 0
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a[:3], b[:3], strict=True):
            assert (x is None) == (y is None)
            if x is not None and y is not None:
                wrong += int((x.detach().to(torch.int64) != y.detach().to(torch.int64)).sum())
    return wrong


def compare(chip: Constrained, x: Tensor) -> list[Course]:
    """Simulated, compiled and plain agree on everything; gives what happened."""
    whole = deploy(chip)
    simulated, ends = chip.run(x)
    compiled, whole_ends = whole.run(x)
    plain, plain_ends = whole.run(x, kernels=False)
    assert differences(simulated, compiled) == differences(compiled, plain) == 0
    for a, b, c in zip(ends, whole_ends, plain_ends, strict=True):
        assert torch.equal(a.potential.long(), b.potential)
        assert torch.equal(b.potential, c.potential)
        assert a.step == b.step == c.step == len(x)
    return compiled


RANDOM = replace(profile("loihi"), decay_rounding="stochastic")
CHIPS: list[tuple[ChipProfile, list[str], float | None, str]] = [
    (profile("loihi"), ["CubaLIF", "LIF", "IF"], 0.0, "LI"),
    (RANDOM, ["CubaLIF", "LIF"], 0.0, "CubaLI"),
    (profile("xylo"), ["CubaLIF", "LIF"], None, ""),
    (profile("memristive:cmo_hfox"), ["LIF", "CubaLIF", "IF"], None, "CubaLI"),
]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chip", CHIPS, ids=["loihi", "loihi at random", "xylo", "memristive"])
def test_whole_numbers_are_what_was_simulated(
    nets: Any, chip: tuple[ChipProfile, list[str], float | None, str], seed: int
) -> None:
    by, kinds, reset_v, readout = chip
    net = nets.matrices(kinds, seed, reset_v, readout)
    made = Constrained(net, by, seed=seed)
    made.die = seed if seed % 2 else None
    x = nets.events(25, 3, nets.inputs_of(net), seed=seed, most=3 if by.name == "xylo" else 1)
    seen = compare(made, x)
    assert all(one.spikes is None or bool(one.spikes.any()) for one in seen)


@pytest.mark.parametrize("seed", range(6))
def test_convolutions_too(nets: Any, seed: int) -> None:
    made = Constrained(nets.pictures(seed), profile("speck"), (2, 12, 6))
    assert compare(made, nets.events(12, 2, 2, 12, 6, seed=seed))[0].spikes is not None


NARROW = replace(
    profile("loihi"), current_bits=9, potential_bits=9, input_bits=5, input_shift=3,
    threshold_bits=8, threshold_shift=0, weight_bits=4, resets=("zero", "subtract"),
)  # fmt: skip
WAYS = list(
    product(("wrap", "saturate"), ("wrap", "saturate"), ("zero", "down"), ("above", "reached"))
)


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_the_ends_of_all_ranges(nets: Any, way: tuple[str, str, str, str]) -> None:
    """So few bits that states run into their ends, in all ways a profile can say."""
    changes = dict(zip(
        ("current_overflow", "potential_overflow", "decay_rounding", "spikes_at"), way, strict=True
    ))  # fmt: skip
    by = replace(NARROW, spikes_per_step=3, **changes)
    net = nets.matrices(["CubaLIF", "CubaLIF"], 2, None)
    net[0].weight.data *= 3  # type: ignore[index,union-attr]
    x = nets.events(40, 3, nets.inputs_of(net), seed=1)
    seen = compare(Constrained(net, by), x)
    assert seen[0].current is not None
    assert int(seen[0].current.abs().max()) >= 240
    free = replace(by, current_bits=30, potential_bits=None, input_bits=None)
    assert differences(seen, deploy(Constrained(net, free)).run(x)[0]) > 0


def test_a_rule_that_is_not_the_chips_is_found(nets: Any) -> None:
    """Negative control: another rounding, another reset and one weight off are all seen."""
    net, by = nets.matrices(["CubaLIF", "LIF"], 3, 0.0), profile("loihi")
    x = nets.events(30, 4, nets.inputs_of(net), seed=5)
    simulated = Constrained(net, by).run(x)[0]
    for other in (
        replace(by, decay_rounding="down"),
        replace(by, spikes_at="reached", decay_bits=11),
    ):
        assert differences(simulated, deploy(Constrained(net, other)).run(x)[0]) > 0
    whole = deploy(Constrained(net, by))
    assert differences(simulated, whole.run(x)[0]) == 0
    whole.weights()[0][0, 0] += 1
    assert differences(simulated, whole.run(x)[0]) > 0


def test_steps_in_two_goes_are_those_in_one(nets: Any) -> None:
    net = nets.matrices(["CubaLIF", "LIF"], 2, 0.0, "LI")
    made = Constrained(net, RANDOM, seed=4)
    x = nets.events(20, 2, nets.inputs_of(net), seed=6)
    whole = deploy(made)
    for chip in (made, whole):
        first, states = chip.run(x[:7])
        second, _ = chip.run(x[7:], states)
        joined = [
            Course(
                *(None if a is None else torch.cat([a, q[n]]) for n, a in enumerate(p[:3])), p[3]
            )
            for p, q in zip(first, second, strict=True)
        ]
        assert differences(joined, chip.run(x)[0]) == 0


def lava_steps(pushes: list[int], du: int, dv: int, vth: int) -> list[tuple[int, int, int]]:
    """A cell of Loihi in plain whole numbers, from the equations that Lava publishes."""
    u = v = 0
    found = []
    for push in pushes:
        sign = -1 if u < 0 else 1
        u = sign * ((abs(u) * (4096 - du - 1)) >> 12) + (push << 6)
        sign = -1 if v < 0 else 1
        v = sign * ((abs(v) * (4096 - dv)) >> 12) + u
        v = max(min(v, 2**23 - 1), -(2**23) + 1)
        spike = int(v > (vth << 6))
        v = 0 if spike else v
        found.append((u, v, spike))
    return found


def test_loihi_counts_as_lava_says(nets: Any) -> None:
    """One cell by the published equations, written anew: currents, potentials and spikes."""
    cell = CubaLIF(tau_s=10e-3, synapse_tau_s=4e-3, gain=12.0, reset_v=0.0)
    net = SpikingLinear((5, 1), cell, dt_s=DT_S, seed=2)
    made = Constrained(net, profile("loihi"))
    by, x = made.numbers()[0], nets.events(200, 1, 5, seed=7)
    assert by.fading is not None
    assert by.threshold is not None
    du, dv = 4096 - 1 - int(by.fading), 4096 - int(by.keep)
    mantissas = (by.weight[0] / 64).long()  # steps of 2, as weights of mixed signs have
    assert bool((mantissas % 2 == 0).all())
    pushes = [int((mantissas * row[0]).sum()) for row in x.long()]
    wanted = lava_steps(pushes, du, dv, int(by.threshold) >> 6)
    course = deploy(made).run(x)[0][0]
    assert course.current is not None
    assert course.spikes is not None
    rows = (course.current, course.potential, course.spikes)
    assert list(zip(*(one.flatten().tolist() for one in rows), strict=True)) == wanted
    assert sum(spike for *_, spike in wanted) > 5


def test_a_shift_is_a_shift() -> None:
    """Xylo: v - (v >> dash) for a cell that got one push up and another one down."""
    net = nn.Sequential(SpikingLinear((1, 2), LIF(tau_s=8e-3), dt_s=DT_S))
    net[0].weight.data = torch.tensor([[0.9], [-0.9]])  # type: ignore[union-attr]
    x = torch.zeros(30, 1, 1)
    x[0] = 1
    course = deploy(Constrained(net, profile("xylo"))).run(x)[0][0]
    for n in range(2):
        v = int(course.potential[0, 0, n])
        for t in range(1, 30):
            v -= v >> 3
            assert int(course.potential[t, 0, n]) == v
    # What a profile lists as a gap: a small positive state stays, a negative one does not.
    assert int(course.potential[-1, 0, 1]) == 0 < int(course.potential[-1, 0, 0]) < 8


def test_only_whole_numbers_are_in_it(nets: Any) -> None:
    whole = deploy(Constrained(nets.matrices(["LIF"], 1, 0.0), profile("loihi")))
    assert isinstance(whole, Deployed)
    course = whole.run(nets.events(5, 2, whole.inputs[0], seed=1))[0][0]
    assert all(one.dtype == torch.int64 for one in (*whole.weights(), course.potential))


def test_cells_without_weights_of_their_own_and_rings(nets: Any) -> None:
    """Inputs that reach cells one by one, and recurrent weights around such cells."""
    net = nn.Sequential(
        RecurrentNeurons(LIF(tau_s=10e-3, threshold_v=0.8, reset_v=0.0), 6, dt_s=DT_S, seed=3),
        SpikingLinear((6, 4), LIF(reset_v=0.0), dt_s=DT_S, seed=1),
        Neurons(IF(threshold_v=1.5, reset_v=0.0), dt_s=DT_S),
    )
    net[1].weight.data *= 4
    made = Constrained(net, profile("loihi"), (6,))
    seen = compare(made, nets.events(40, 3, 6, seed=2))
    assert all(one.spikes is not None and bool(one.spikes.any()) for one in seen)
