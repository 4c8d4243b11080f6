"""What rules, third factors and networks of events refuse."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ClnfError, ConfigError, DataError, ShapeError
from clnf.spiking.plasticity import (
    PairSTDP,
    Scaling,
    SoftBounds,
    ThreeFactor,
    Threshold,
    TripletSTDP,
    plastic_over_time,
    plastic_start,
    plastic_step,
)
from clnf.spiking.plasticity.network import (
    DiehlCook,
    Events,
    Membrane,
    events_of,
    poisson,
    run,
    started,
    trains_of,
)

NAN, INF = float("nan"), float("inf")
GENERATOR = torch.Generator().manual_seed(1)
PRE = (torch.rand(20, 2, 5, generator=GENERATOR) < 0.3).float()
POST = (torch.rand(20, 2, 4, generator=GENERATOR) < 0.3).float()
PAIR = PairSTDP(up=0.3).law(1e-3)
W = torch.full((4, 5), 0.5)
THREE = ThreeFactor(rule=PairSTDP()).law(1e-3)


def lived(k: Any, third: Any = None, weight: Tensor | None = None, **more: Any) -> Tensor:
    weight = torch.zeros(4, 5) if weight is None else weight
    state = plastic_start(PRE[0], POST[0], weight, more.pop("begun", k))
    return plastic_over_time(PRE, POST, state, k, third, **more).weight


ON_PRE = {"down", "down_triplet", "down_alone", "pre_tau_s", "pre_slow_tau_s"}
RULES: list[tuple[type[PairSTDP] | type[TripletSTDP], str]] = [
    *((PairSTDP, name) for name in ("up", "down", "up_alone", "down_alone")),
    *((PairSTDP, name) for name in ("pre_tau_s", "post_tau_s")),
    *((TripletSTDP, name) for name in ("up", "down", "up_triplet", "down_triplet")),
    *((TripletSTDP, name) for name in ("pre_slow_tau_s", "post_slow_tau_s")),
]
DRAWN = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(2)) + 0.1


@pytest.mark.parametrize(("rule", "name"), RULES)
def test_coefficients_have_the_shape_of_their_cells(rule: Any, name: str) -> None:
    # 2 samples, 5 pre and 4 post cells.
    own, other = (5, 4) if name in ON_PRE else (4, 5)
    for bare in ((other,), (own, 1), (own, own), (3, own), (2, other), (1, 1, own), (2, 2, own)):
        value = torch.full(bare, 0.1)
        k = rule(**{name: value}).law(1e-3)
        k3 = ThreeFactor(rule=rule(**{name: value})).law(1e-3)
        words = rf"{name} must be a number, \[{own}\] .* or \[2, {own}\] .*, got \[{bare[0]}"
        for kernels in (True, False):
            with pytest.raises(ShapeError, match=words):
                lived(k, kernels=kernels)
            with pytest.raises(ShapeError, match=words):
                lived(k3, torch.ones(20, 2, 4), kernels=kernels)
        with pytest.raises(ShapeError, match=words):
            plastic_step(PRE[0], POST[0], plastic_start(PRE[0], POST[0], W, k), k)
    for bare in ((), (1,), (own,), (1, own), (2, own), (2, 1)):
        value = DRAWN.flatten()[: math.prod(bare)].reshape(bare)
        for k, third in (
            (rule(**{name: value}).law(1e-3), None),
            (ThreeFactor(rule=rule(**{name: value})).law(1e-3), torch.ones(20, 2, 4)),
        ):
            ends = [lived(k, third, kernels=way) for way in (True, False)]
            torch.testing.assert_close(*ends)
            full = rule(**{name: value.expand(2, own)}).law(1e-3)
            full = (
                full if third is None else full._replace(eligibility=k.eligibility, share=k.share)
            )
            torch.testing.assert_close(ends[0], lived(full, third))


def test_each_cell_has_its_own_coefficient() -> None:
    up = torch.tensor([0.0, 0.1, 0.2, 0.3])
    one, more = (lived(PairSTDP(up=u, down=0.0).law(1e-3)) for u in (0.1, up))
    torch.testing.assert_close(more, one * up[:, None] * 10)
    assert not torch.allclose(more, one)


@pytest.mark.parametrize("bad", [(4,), (5, 1), (4, 4), (2, 4, 5)])
def test_powers_and_eligibilities_spread_to_synapses(bad: tuple[int, ...]) -> None:
    def bent(shape: tuple[int, ...]) -> Any:
        return PairSTDP(bounds=SoftBounds(up_power=torch.full(shape, 0.5))).law(1e-3)

    def faded(shape: tuple[int, ...]) -> Any:
        return ThreeFactor(rule=PairSTDP(), eligibility_tau_s=torch.full(shape, 0.5)).law(1e-3)

    for kernels in (True, False):
        with pytest.raises(ShapeError, match="up_power must be a number or what spreads to"):
            lived(bent(bad), weight=W, kernels=kernels)
        if len(bad) < 3:
            with pytest.raises(ShapeError, match="eligibility_tau_s must be a number or what"):
                lived(faded(bad), torch.ones(20), kernels=kernels)
        ones = torch.ones(20)
        for good in ((), (1,), (1, 1), (5,), (4, 1), (4, 5)):
            found = lived(bent(good), weight=W, kernels=kernels)
            torch.testing.assert_close(found, lived(bent(()), weight=W))
            found = lived(faded(good), ones, kernels=kernels)
            torch.testing.assert_close(found, lived(faded(()), ones))


def test_a_power_of_any_shape_has_a_gradient() -> None:
    found = []
    for shape in ((), (1,), (1, 1)):
        power = torch.full(shape, 0.5, requires_grad=True)
        bounds = SoftBounds(up_power=power)
        lived(PairSTDP(bounds=bounds).law(1e-3), weight=W).sum().backward()
        found.append(float(power.grad.sum()))  # type: ignore[union-attr]
    assert found[0] == found[1] == found[2] != 0


def test_states_and_third_factors_of_other_spikes_are_refused() -> None:
    for sizes, words in (((1, 5, 4), "pre .* shape"), ((2, 6, 4), "a weight"), ((3, 5, 4), "pre ")):
        samples, pre, post = sizes
        begun = plastic_start(
            torch.zeros(samples, pre), torch.zeros(samples, post), torch.zeros(post, pre), PAIR
        )
        for kernels in (True, False):
            with pytest.raises(ShapeError, match=words):
                plastic_over_time(PRE, POST, begun, PAIR, kernels=kernels)
        with pytest.raises(ShapeError, match=words):
            plastic_step(PRE[0], POST[0], begun, PAIR)
    begun = plastic_start(PRE[0], POST[0], W, THREE)
    for kernels in (True, False):
        with pytest.raises(ShapeError, match="eligibility of this state has shape"):
            odd = begun._replace(eligibility=torch.zeros(1, 4, 5))
            plastic_over_time(PRE, POST, odd, THREE, torch.ones(20), kernels=kernels)
    for third in (torch.ones(5), torch.ones(3, 4), torch.ones(2, 4, 4), torch.ones(1, 2, 4, 5)):
        with pytest.raises(ShapeError, match="third factor of a step"):
            plastic_step(PRE[0], POST[0], begun, THREE, third)
        with pytest.raises(ShapeError, match="third factor of a step"):
            plastic_over_time(PRE, POST, begun, THREE, lambda t, w, m=third: m)
    for good in (1.0, torch.ones(()), torch.ones(4), torch.ones(2, 4), torch.ones(2, 1, 5)):
        assert plastic_step(PRE[0], POST[0], begun, THREE, good).weight.shape == (4, 5)


def test_no_steps_change_nothing() -> None:
    for k, third in ((PAIR, None), (THREE, torch.zeros(0))):
        begun = plastic_start(PRE[0], POST[0], W, k)
        for kernels in (True, False):
            end = plastic_over_time(PRE[:0], POST[:0], begun, k, third, kernels=kernels)
            assert torch.equal(end.weight, W)
            with pytest.raises(ShapeError):
                plastic_over_time(PRE[:0, :1], POST[:0], begun, k, third, kernels=kernels)


@pytest.mark.parametrize("kind", [torch.bool, torch.int32, torch.float64])
def test_numbers_of_any_kind_stand_for_spikes(kind: torch.dtype) -> None:
    k = PairSTDP(up=torch.full((4,), 0.3, dtype=torch.float64), pairing="nearest").law(1e-3)
    for kernels in (True, False):
        begun = plastic_start(PRE[0], POST[0], W, k)
        end = plastic_over_time(PRE.to(kind), POST.to(kind), begun, k, kernels=kernels)
        assert end.weight.dtype == torch.float32
        torch.testing.assert_close(end.weight, lived(k, weight=W))


@pytest.mark.parametrize("kernels", [True, False])
def test_a_state_of_another_law_is_refused(kernels: bool) -> None:
    with pytest.raises(ConfigError, match="lacks the eligibility"):
        lived(THREE, torch.zeros(20), begun=PAIR, kernels=kernels)
    with pytest.raises(ConfigError, match="has the eligibility"):
        lived(PAIR, begun=THREE, kernels=kernels)
    assert not lived(THREE, torch.zeros(20), kernels=kernels).any()
    assert lived(PAIR, kernels=kernels).any()
    with pytest.raises(ConfigError, match=r"give rule.law\(dt_s\)"):
        lived(PairSTDP(), begun=PAIR)
    with pytest.raises(ConfigError, match="plastic_start"):
        plastic_over_time(PRE, POST, "a", PAIR, kernels=kernels)  # type: ignore[arg-type]


@pytest.mark.parametrize("kernels", [True, False])
def test_weights_of_whole_numbers_are_refused(kernels: bool) -> None:
    whole = torch.zeros(4, 5, dtype=torch.int64)
    with pytest.raises(ShapeError, match="small steps, got torch.int64"):
        lived(PAIR, weight=whole)
    state = plastic_start(PRE[0], POST[0], whole.float(), PAIR)._replace(weight=whole)
    with pytest.raises(ShapeError, match="small steps, got torch.int64"):
        plastic_over_time(PRE, POST, state, PAIR, kernels=kernels)


@pytest.mark.parametrize(
    "third",
    [NAN, INF, "a", torch.ones(19), torch.ones(1), torch.ones(20, 2), torch.ones(20, 3, 4),
     torch.ones(20, 2, 4, 4), torch.ones(20, 2, 4, 5, 1)],
)  # fmt: skip
def test_third_factors_that_fit_no_spikes_are_refused(third: Any) -> None:
    for kernels in (True, False):
        with pytest.raises(ClnfError, match="third factor"):
            lived(THREE, third, kernels=kernels)


@pytest.mark.parametrize("shape", [(), (20,), (20, 4), (20, 1), (20, 2, 4), (20, 1, 4), (20, 2, 1)])
def test_third_factors_that_fit_do_the_same_both_ways(shape: tuple[int, ...]) -> None:
    third = torch.rand(shape, generator=GENERATOR)
    ends = [lived(THREE, one, kernels=way) for way in (True, False) for one in (third,)]
    torch.testing.assert_close(*ends)
    torch.testing.assert_close(ends[0], lived(THREE, third.numpy()))


@pytest.mark.parametrize("bad", [NAN, INF])
def test_rules_are_of_finite_numbers(bad: float) -> None:
    for make in (
        lambda: PairSTDP(up=bad),
        lambda: PairSTDP(down=torch.tensor([1.0, bad])),
        lambda: TripletSTDP(up_triplet=bad),
        lambda: Threshold(jump_v=bad),
        lambda: Scaling(speed=bad),
        lambda: Scaling(goal_hz=bad),
        lambda: Membrane(rest_v=bad),
        lambda: DiehlCook(gain_v=bad),
        lambda: DiehlCook(total=bad),
        lambda: DiehlCook(dt_s=bad),
        lambda: started(DiehlCook(inputs=3, cells=2), seed=0, largest=bad),
        lambda: PairSTDP().law(bad),
        lambda: poisson([10.0], steps=3, dt_s=bad, seed=0),
    ):
        with pytest.raises(ConfigError):
            make()
    with pytest.raises(DataError, match="rates"):
        poisson([], steps=3, dt_s=1e-3, seed=0)


@pytest.mark.parametrize("bad", [-1.0, NAN, INF])
def test_rates_outside_are_named_with_their_place(bad: float) -> None:
    with pytest.raises(DataError, match=rf"0 Hz or more, got {bad:g} at \[1\]"):
        poisson([1.0, bad], steps=3, dt_s=1e-3, seed=0)
    with pytest.raises(DataError, match=r"\[inputs\], got \[1, 2\]"):
        poisson([[1.0, 2.0]], steps=3, dt_s=1e-3, seed=0)
    with pytest.raises(ConfigError, match="place must be of class tuple, got 3"):
        poisson([1.0], steps=3, dt_s=1e-3, seed=0, place=3)  # type: ignore[arg-type]


STARTS = torch.tensor([0, 1, 2])


def cells(*which: int) -> Tensor:
    return torch.tensor(which, dtype=torch.int32)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (Events(STARTS, cells(2_000_000_000, 99), 20), "cells from 99 to 2000000000 among 20"),
        (Events(STARTS, cells(0, 20), 20), "cells from 0 to 20 among 20"),
        (Events(STARTS, cells(-1, 3), 20), "cells from -1 to 3 among 20"),
        (Events(torch.tensor([0, 9, 2]), cells(0, 1), 20), "do not go up"),
        (Events(torch.tensor([0, 1, 9]), cells(0, 1), 20), "do not go up"),
        (Events(torch.tensor([1, 1, 2]), cells(0, 1), 20), "do not go up"),
        (Events(STARTS, cells(0, 1).long(), 20), "not int64 and int32"),
        (Events(STARTS.int(), cells(0, 1), 20), "not int64 and int32"),
        (Events(STARTS, cells(0, 1)[None], 20), "not two rows"),
        (Events(STARTS[:0], cells(), 20), "not two rows"),
        (torch.zeros(10, 20), "must be Events"),
    ],
)
def test_events_outside_a_network_are_refused(events: Any, words: str) -> None:
    net = DiehlCook(inputs=20, cells=4)
    for compiled in (True, False):
        with pytest.raises(DataError, match=words):
            run(net, started(net, seed=0), events, compiled=compiled)
    with pytest.raises(DataError, match=words):
        trains_of(events)
    good = Events(STARTS, cells(0, 19), 20)
    assert run(net, started(net, seed=0), good).excitatory.steps == 2
    assert torch.equal(events_of(trains_of(good)).cells, good.cells)


@pytest.mark.slow
def test_events_far_outside_end_no_process() -> None:
    code = (
        "import torch\nfrom clnf.spiking.plasticity.network import *\n"
        "net = DiehlCook(inputs=20, cells=4)\n"
        "far = torch.tensor([2000000000, 99], dtype=torch.int32)\n"
        "run(net, started(net, seed=0), Events(torch.tensor([0, 1, 2]), far, 20))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == 1
    assert b"DataError" in ended.stderr
