"""What rules, third factors and networks of events refuse."""

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
    ThreeFactor,
    Threshold,
    TripletSTDP,
    plastic_over_time,
    plastic_start,
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
THREE = ThreeFactor(rule=PairSTDP()).law(1e-3)


def lived(k: Any, third: Any = None, weight: Tensor | None = None, **more: Any) -> Tensor:
    weight = torch.zeros(4, 5) if weight is None else weight
    state = plastic_start(PRE[0], POST[0], weight, more.pop("begun", k))
    return plastic_over_time(PRE, POST, state, k, third, **more).weight


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
