"""What online rules refuse, and what frozen parameters keep."""

from typing import Any

import pytest
import torch

from clnf.core.errors import ConfigError, ShapeError
from clnf.spiking.cells import LI, LIF
from clnf.spiking.layers import Readout
from clnf.spiking.learning import EProp, LocalLosses
from clnf.spiking.synapses import EventLinear, SpikingLinear

X = torch.ones(6, 2, 4)


def layer(inputs: int = 4, cells: int = 3, dt_s: float = 1e-3, **more: Any) -> SpikingLinear:
    return SpikingLinear((inputs, cells), LIF(), dt_s=dt_s, **more)


def eprop(**more: Any) -> EProp:
    return EProp(layer(recurrent=True), EventLinear(3, 2), Readout(LI(), dt_s=1e-3), **more)


def local() -> LocalLosses:
    return LocalLosses([layer(), layer(3, 5)], outputs=2)


def error(y: torch.Tensor, t: int) -> torch.Tensor:
    return y - 1.0


def test_frozen_parameters_get_no_gradient() -> None:
    rule = eprop()
    every = [rule.layer.weight, rule.layer.recurrent, rule.out.weight]
    for frozen in every:
        for one in every:
            assert one is not None
            one.requires_grad_(one is not frozen)
            one.grad = None
        rule.lesson(X, error)
        assert [one.grad is None for one in every if one is not None] == [
            one is frozen for one in every
        ]
    stack = local()
    stack.layers[0].weight.requires_grad_(False)
    stack.lesson(X, error)
    assert stack.layers[0].weight.grad is None
    assert stack.layers[1].weight.grad is not None


def test_parts_in_steps_of_other_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="steps of one length"):
        EProp(layer(), EventLinear(3, 2), Readout(LI(), dt_s=2e-3))
    with pytest.raises(ConfigError, match="takes what the one before it gives"):
        LocalLosses([layer(), layer(3, 5, dt_s=2e-3)], outputs=2)


def test_layers_that_do_not_follow_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 cells .* before 5 inputs"):
        LocalLosses([layer(), layer(5, 3)], outputs=2)


@pytest.mark.parametrize(
    "x",
    [X[0], X[:0], X[..., :3], X.double(), X.long(), X.half()],
    ids=["two axes", "no steps", "inputs", "double", "whole", "half"],
)
def test_inputs_that_weights_cannot_take_are_refused(x: torch.Tensor) -> None:
    for rule in (eprop(), local()):
        with pytest.raises(ShapeError, match="inputs of a lesson"):
            rule.lesson(x, error)
    with pytest.raises(ConfigError, match="inputs must be"):
        eprop().lesson(x.tolist(), error)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 1.0, torch.ones(2), torch.ones(2, 3)])
def test_errors_have_the_shape_of_outputs(wrong: Any) -> None:
    for rule in (eprop(), local()):
        with pytest.raises(ShapeError, match="errors of outputs"):
            rule.lesson(X, lambda y, t: wrong)


def test_feedback_may_be_a_list() -> None:
    rule, same = eprop(feedback=[[1.0] * 3] * 2), eprop(feedback=torch.ones(2, 3))
    for one in (rule, same):
        one.lesson(X, error)
    assert rule.layer.weight.grad is not None
    assert torch.equal(rule.layer.weight.grad, same.layer.weight.grad)  # type: ignore[arg-type]
