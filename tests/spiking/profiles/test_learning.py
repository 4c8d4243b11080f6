"""Traces and weights of few bits while they learn."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from clnf.core.errors import ClnfError, ConfigError
from clnf.spiking.profiles import profile, trace_format, traced, traced_whole, written

LOIHI = trace_format(profile("loihi"))


def spikes(share: float = 0.05, seed: int = 0) -> torch.Tensor:
    return (torch.rand(200, 30, generator=torch.Generator().manual_seed(seed)) < share).float()


@pytest.mark.parametrize("random", [True, False])
def test_traces_in_whole_numbers_are_those_simulated(random: bool) -> None:
    how, x = LOIHI._replace(random=random), spikes(0.3)
    ways = {"tau_s": 20e-3, "dt_s": 1e-3, "impulse": 40.0, "seed": 3}
    found, whole = traced(x, how, **ways), traced_whole(x, how, **ways)  # type: ignore[arg-type]
    assert torch.equal((found * 2**how.fraction).long(), whole)
    assert int(whole.max()) == how.top
    other = traced_whole(x, how, **(ways | {"seed": 4}))  # type: ignore[arg-type]
    assert torch.equal(whole, other) is not random


def test_rounding_at_random_keeps_the_mean_and_rounding_to_the_nearest_does_not() -> None:
    x = torch.zeros(400, 4000)
    x[0] = 1
    ways = {"tau_s": 2000e-3, "dt_s": 1e-3, "impulse": 0.5}
    at_random = traced(x, LOIHI, **ways).mean(1)  # type: ignore[arg-type]
    nearest = traced(x, LOIHI._replace(random=False), **ways).mean(1)  # type: ignore[arg-type]
    wanted = 0.5 * torch.exp(-torch.arange(400) / 2000.0)
    assert float((at_random - wanted).abs().max()) < 0.03
    assert float(nearest[-1]) == 0.5


def test_a_gradient_goes_through_traces() -> None:
    tau = torch.tensor(20e-3, requires_grad=True)
    traced(spikes(), LOIHI, tau_s=tau, dt_s=1e-3, impulse=16.0).sum().backward()
    assert tau.grad is not None
    assert float(tau.grad) > 0


def test_chips_without_traces_and_impulses_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="no learning on the chip"):
        trace_format(profile("xylo"))
    for impulse in (0.0, 200.0):
        with pytest.raises(ConfigError, match="an impulse lies between"):
            traced(spikes(), LOIHI, tau_s=20e-3, dt_s=1e-3, impulse=impulse)
    nearest = trace_format(replace(profile("loihi"), trace_rounding="nearest"))
    assert not nearest.random


def test_weights_are_written_on_their_grid() -> None:
    weight, change = torch.zeros(4000, requires_grad=True), torch.full((4000,), 0.03)
    found = written(weight, change, 0.1, 127, seed=1, place=("lesson", 0))
    assert {round(float(one), 6) for one in found.detach().unique()} == {0.0, 0.1}
    assert abs(float(found.detach().mean()) - 0.03) < 3 * 0.1 * (0.3 * 0.7 / 4000) ** 0.5
    again = written(weight, change, 0.1, 127, seed=1, place=("lesson", 0))
    assert torch.equal(found, again)
    assert not torch.equal(found, written(weight, change, 0.1, 127, seed=1, place=("lesson", 1)))
    found.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones(4000))
    top = written(torch.zeros(3), torch.full((3,), 99.0), 0.1, 127, seed=1, place=(0,))
    assert torch.allclose(top, torch.full((3,), 12.7))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"change": torch.full((3, 4), float("nan"))}, r"changes on a grid are finite, got nan"),
        ({"weight": torch.full((3, 4), float("nan"))}, r"weights on a grid are finite, got nan"),
        ({"change": torch.zeros(4)}, r"the shape \[3, 4\] of the weights, got \[4\]"),
        ({"change": None}, "changes must be of class Tensor"),
        ({"step": 0.0}, "above 0"),
        ({"step": -1.0}, "above 0"),
        ({"step": float("nan")}, "step must be a number"),
        ({"step": "a"}, "step must be a number"),
        ({"top": 0}, "top must be a whole number"),
        ({"top": 1.5}, "top must be a whole number"),
    ],
)
def test_what_cannot_be_written_is_refused(more: dict[str, Any], words: str) -> None:
    given = {"weight": torch.zeros(3, 4), "change": torch.ones(3, 4), "step": 0.1, "top": 127}
    assert bool(written(**given, seed=1, place=(0,)).any())  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match=words):
        written(**{**given, **more}, seed=1, place=(0,))
