"""The network driven by events is the dense one: the same spikes and weights, to the bit."""

import dataclasses
from itertools import pairwise

import pytest
import torch

from clnf.core.errors import ClnfError
from clnf.spiking.plasticity import PairSTDP, SoftBounds, TripletSTDP
from clnf.spiking.plasticity.network import (
    DiehlCook,
    Events,
    Membrane,
    NetworkState,
    Spikes,
    events_of,
    normalise,
    poisson,
    run,
    running,
    settle,
    started,
    trains_of,
)
from clnf.spiking.plasticity.rules import Coincident

INPUTS, CELLS, DT_S = 60, 16, 1e-3
SMALL = DiehlCook(inputs=INPUTS, cells=CELLS, gain_v=3e-3, total=6.0)
RULES: list[PairSTDP | TripletSTDP] = [
    SMALL.rule,
    PairSTDP(pairing="nearest", bounds=SoftBounds(up_power=1.0, down_power=1.0)),
    PairSTDP(pairing="nearest", up_alone=-4e-3, down_alone=1e-3, bounds=SoftBounds(most=0.4)),
    PairSTDP(pairing="nearest", coincident="neither"),
    TripletSTDP(up=1e-3, down=1e-3, up_triplet=5e-3, down_triplet=2e-3, pairing="nearest"),
]


def lesson(number: int, steps: int = 300) -> Events:
    rates = torch.linspace(5, 100, INPUTS).roll(20 * number)
    return poisson(rates, steps=steps, dt_s=DT_S, seed=1, place=(number,))


def taught(net: DiehlCook, *, compiled: bool) -> tuple[list[Spikes], NetworkState]:
    """Two lessons without a pause, and one after silence."""
    state, found = started(net, seed=0), []
    for number in range(3):
        if number == 2:
            settle(net, state)
        normalise(net, state)
        found.append(run(net, state, lesson(number), compiled=compiled))
    return found, state


def same(a: list[Spikes], b: list[Spikes]) -> bool:
    pairs = zip(a, b, strict=True)
    return all(
        torch.equal(x.excitatory.cells, y.excitatory.cells)
        and torch.equal(x.excitatory.starts, y.excitatory.starts)
        and x.inhibitory == y.inhibitory
        for x, y in pairs
    )


@pytest.mark.parametrize("rule", RULES)
def test_events_are_the_dense_network_to_the_bit(rule: PairSTDP | TripletSTDP) -> None:
    net = dataclasses.replace(SMALL, rule=rule)
    (fast, a), (plain, b) = (taught(net, compiled=c) for c in (True, False))
    assert sum(len(one.excitatory.cells) for one in fast) > 50
    assert sum(one.inhibitory for one in fast) > 50
    assert same(fast, plain)
    for name in ("weight", "theta", "v", "wait", "sent", "y"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert (a.weight - started(net, seed=0).weight).abs().max() > 0.05


WIDE: list[tuple[int, PairSTDP]] = [
    (16, PairSTDP(pairing="nearest", up_alone=-4e-3, down_alone=1e-3, bounds=SoftBounds())),
    (37, PairSTDP(pairing="nearest", coincident="both", bounds=SoftBounds(up_power=1.0))),
    (80, PairSTDP(pairing="nearest", coincident="neither")),
]


@pytest.mark.parametrize(("cells", "rule"), WIDE)
def test_sixteen_cells_at_once_are_the_dense_network(
    cells: int, rule: PairSTDP, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[bool] = []
    real = running.run_wide
    monkeypatch.setattr(running, "run_wide", lambda *its: (ways.append(real(*its)), ways[-1])[1])
    net = dataclasses.replace(SMALL, cells=cells, rule=rule)
    (fast, a), (plain, b) = (taught(net, compiled=c) for c in (True, False))
    assert ways == [True] * 3
    assert sum(len(one.excitatory.cells) for one in fast) > 50
    assert sum(one.inhibitory for one in fast) > 50
    assert same(fast, plain)
    for name in ("weight", "theta", "v", "wait", "sent", "y", "clock"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    # One wait more or a weight another is another life.
    for name in ("wait", "weight"):
        other = started(net, seed=0)
        getattr(other, name)[0, 0] += 1
        assert not same([run(net, other, lesson(0))], fast[:1])


def test_inhibitory_cells_that_spike_by_themselves_take_the_other_kernel() -> None:
    bare = dataclasses.replace(SMALL, inhibitory=Membrane(rest_v=-30e-3))
    lifted = started(SMALL, seed=0)
    lifted.v[1, 3] = 0.0
    for net, state in ((bare, started(bare, seed=0)), (SMALL, lifted)):
        copy = type(state)(*(one.clone() for one in state))
        found = run(net, state, lesson(0)), run(net, copy, lesson(0), compiled=False)
        assert found[0].inhibitory == found[1].inhibitory > 0
        assert torch.equal(state.weight, copy.weight)
        assert torch.equal(state.v, copy.v)


def test_all_pairs_give_the_same_spikes_and_weights_to_a_rounding() -> None:
    net = dataclasses.replace(SMALL, rule=PairSTDP(bounds=SoftBounds(up_power=0.3, down_power=0.3)))
    (fast, a), (plain, b) = (taught(net, compiled=c) for c in (True, False))
    assert same(fast, plain)
    assert torch.allclose(a.weight, b.weight, rtol=0, atol=2e-6)


def test_another_order_of_coincident_spikes_would_be_found() -> None:
    ends = []
    for coincident in ("both", "neither"):
        kind: Coincident = "both" if coincident == "both" else "neither"
        rule = PairSTDP(up=1e-2, down=5e-3, pairing="nearest", coincident=kind)
        net = dataclasses.replace(SMALL, rule=rule)
        ends.append(taught(net, compiled=coincident == "both"))
    assert not torch.equal(ends[0][1].weight, ends[1][1].weight)


def test_a_life_in_pieces_is_the_same_life() -> None:
    states = []
    for cuts in ((0, 300), (0, 1, 90, 91, 300)):
        state, whole = started(SMALL, seed=0), trains_of(lesson(0))
        for first, last in pairwise(cuts):
            run(SMALL, state, events_of(whole[first:last]))
        states.append(state)
    for name in ("weight", "theta", "v", "y", "clock"):
        assert torch.equal(getattr(states[0], name), getattr(states[1], name)), name


def test_nothing_is_learnt_where_nothing_shall_be() -> None:
    for compiled in (True, False):
        state = started(SMALL, seed=0)
        before = state.weight.clone()
        out = run(SMALL, state, lesson(0), learn=False, compiled=compiled)
        assert len(out.excitatory.cells) > 10
        assert torch.equal(state.weight, before)
        assert int(state.clock[0]) == 0


def test_one_wins_and_others_are_silenced() -> None:
    """Without inhibition many more spike; thresholds rise by a jump for each spike."""
    fierce, state = run(SMALL, begun := started(SMALL, seed=0), lesson(0)), begun
    mild = dataclasses.replace(SMALL, inhibit_v=0.0)
    free = run(mild, started(mild, seed=0), lesson(0))
    assert len(free.excitatory.cells) > 2 * len(fierce.excitatory.cells)
    counts = torch.bincount(fierce.excitatory.cells.long(), minlength=CELLS)
    assert torch.allclose(state.theta, counts.double() * 0.05e-3, rtol=1e-4)


def test_threads_and_lengths_do_not_change_draws() -> None:
    rates = torch.full((INPUTS,), 20.0)
    whole = poisson(rates, steps=200, dt_s=DT_S, seed=3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = poisson(rates, steps=120, dt_s=DT_S, seed=3)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(trains_of(whole)[:120], trains_of(again))
    other = poisson(rates, steps=120, dt_s=DT_S, seed=3, place=("other",))
    assert not torch.equal(trains_of(other), trains_of(again))


def test_inputs_spike_as_often_as_they_should() -> None:
    rates = torch.tensor([0.0, 5.0, 50.0, 1000.0])
    counts = trains_of(poisson(rates, steps=20_000, dt_s=DT_S, seed=0)).sum(0)
    assert counts[0] == 0
    assert counts[3] == 20_000
    for count, rate in ((counts[1], 5.0), (counts[2], 50.0)):
        expected, p = 20.0 * rate, rate * DT_S
        assert abs(float(count) - expected) < 5 * (expected * (1 - p)) ** 0.5


def test_weights_into_a_cell_add_up() -> None:
    state = started(SMALL, seed=0)
    state.weight[:, 0] = 0.0
    normalise(SMALL, state)
    assert torch.allclose(state.weight.sum(0)[1:], torch.full((CELLS - 1,), 6.0), rtol=1e-5)
    assert float(state.weight[:, 0].sum()) == 0.0


def test_events_and_trains_are_the_same_thing() -> None:
    trains = (torch.rand(30, 7, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    assert torch.equal(trains_of(events_of(trains)), trains)


def test_what_makes_no_sense_gets_a_sentence() -> None:
    with pytest.raises(ClnfError, match="coefficients of this network's rule are numbers"):
        DiehlCook(rule=PairSTDP(up=torch.tensor(0.1)))
    with pytest.raises(ClnfError, match="more than one spike a step"):
        poisson([2000.0], steps=3, dt_s=DT_S, seed=0)
    with pytest.raises(ClnfError, match="rates are"):
        poisson([-1.0], steps=3, dt_s=DT_S, seed=0)
    with pytest.raises(ClnfError, match="spikes are 0 and 1"):
        events_of(torch.full((2, 2), 0.5))
    with pytest.raises(ClnfError, match="make them fit"):
        run(SMALL, started(SMALL, seed=0), poisson([1.0], steps=3, dt_s=DT_S, seed=0))
    with pytest.raises(ClnfError, match="refractory time"):
        Membrane(refractory_s=-1.0)
