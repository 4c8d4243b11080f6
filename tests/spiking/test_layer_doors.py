"""What layers refuse, in one sentence each, on either path."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clnf.core.errors import ClnfError, ConfigError, ShapeError
from clnf.spiking.cells import LI, LIF
from clnf.spiking.chain import Chain
from clnf.spiking.layers import Neurons, Readout, RecurrentNeurons
from clnf.spiking.over_time import leak_over_time, spike_over_time
from clnf.spiking.steps import State
from clnf.spiking.surrogates import Triangle
from clnf.spiking.synapses import EventConv2d, EventLinear, SpikingConv2d, SpikingLinear

DT = 1e-3
X = torch.rand(5, 2, 3)
BAD = {
    "list": [[[1.0]]], "array": np.ones((5, 2, 3)), "none": None, "sparse": X.to_sparse(),
    "whole": torch.ones(5, 2, 3, dtype=torch.int64), "truth": X > 0.5,
    "complex": X.to(torch.complex64), "no steps": X[:0], "no samples": X[:, :0],
    "flat": X[0],
}  # fmt: skip
OTHER = {"half": X.half(), "bfloat16": X.bfloat16(), "double": X.double()}


def layers() -> list[Any]:
    return [
        SpikingLinear((3, 4), LIF(), dt_s=DT, recurrent=True),
        SpikingLinear((3, 4), LIF(), dt_s=DT),
        EventLinear(3, 4),
        EventLinear(3, 4, kernels=False),
    ]


@pytest.mark.parametrize("name", BAD)
def test_no_layer_takes_these_inputs(name: str) -> None:
    own = [Neurons(LIF(), dt_s=DT), Neurons(LIF(), dt_s=DT, kernels=False), Readout(LI(), dt_s=DT)]
    tensors = [Neurons(LIF(tau_s=torch.full((3,), 0.02)), dt_s=DT)]
    for layer in (*layers(), *own, *tensors):
        with pytest.raises(ShapeError):
            layer(BAD[name])
    with pytest.raises(ShapeError):
        spike_over_time(BAD[name], LIF().coefficients(DT), Triangle())  # type: ignore[arg-type]
    with pytest.raises(ShapeError):
        leak_over_time(BAD[name], LI().coefficients(DT))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OTHER)
def test_weights_take_inputs_of_their_type(name: str) -> None:
    for layer in layers():
        with pytest.raises(ShapeError, match="inputs are of the weights' type"):
            layer(OTHER[name])
        layer.to(OTHER[name].dtype)
        if name == "double":
            assert layer(OTHER[name]).dtype == torch.float64
    pictures = OTHER[name][..., None, None].expand(5, 2, 3, 4, 4)
    for conv in (EventConv2d((3, 2), 3), SpikingConv2d((3, 2), 3, LIF(), dt_s=DT)):
        with pytest.raises(ShapeError, match="inputs are of the weights' type"):
            conv(pictures)
        assert conv(pictures.float()).shape == (5, 2, 2, 2, 2)


def test_types_are_torch_s_own_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert EventLinear(3, 4, kernels=False)(X.bfloat16()).shape == (5, 2, 4)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 1, 3), (0,)])
@pytest.mark.parametrize("kind", [torch.Tensor, nn.Parameter])
def test_parameters_have_the_shape_of_their_population(shape: tuple[int, ...], kind: Any) -> None:
    tau = torch.full(shape, 0.02)
    cell = LIF(tau_s=nn.Parameter(tau) if kind is nn.Parameter else tau)
    with pytest.raises(ShapeError, match="tau_s has the shape"):
        Neurons(cell, dt_s=DT)(X)
    with pytest.raises(ShapeError, match="tau_s has the shape"):
        SpikingLinear((4, 3), cell, dt_s=DT)
    with pytest.raises(ShapeError, match="tau_s has the shape"):
        RecurrentNeurons(cell, 3, dt_s=DT)


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_parameters_that_spread_to_their_population_are_taken(shape: tuple[int, ...]) -> None:
    cell, plain = LIF(tau_s=torch.full(shape, 0.01)), LIF(tau_s=0.01)
    assert torch.equal(Neurons(cell, dt_s=DT)(X), Neurons(plain, dt_s=DT)(X))
    assert SpikingLinear((3, 3), cell, dt_s=DT)(X).shape == X.shape
    each = LIF(tau_s=torch.full((2, 1, 1), 0.01))
    conv = SpikingConv2d((1, 2), 2, each, dt_s=DT)
    assert conv(torch.ones(2, 1, 1, 3, 3)).shape == (2, 1, 2, 2, 2)


@pytest.mark.parametrize("surrogate", ["tri", Triangle, 0.5])
def test_surrogates_are_objects(surrogate: Any) -> None:
    for make in (
        lambda: Neurons(LIF(), dt_s=DT, surrogate=surrogate),
        lambda: RecurrentNeurons(LIF(), 3, dt_s=DT, surrogate=surrogate),
        lambda: SpikingLinear((3, 4), LIF(), dt_s=DT, surrogate=surrogate),
    ):
        with pytest.raises(ConfigError, match="surrogate must be"):
            make()


def test_states_are_those_that_run_gave() -> None:
    neurons = Neurons(LIF(), dt_s=DT)
    _, state = neurons.run(X)
    for bad in ("a", (state.v,), 3.0):
        with pytest.raises(ClnfError, match="state"):
            neurons.run(X, bad)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="the state is of other cells"):
        neurons.run(X, State(state.v))
    chain = Chain(Neurons(LIF(), dt_s=DT), Readout(LI(), dt_s=DT))
    _, states = chain.run(X)
    chain.run(X, states)
    for wrong in (states[:1], (*states, None), "ab", 3):
        with pytest.raises(ClnfError, match="state"):
            chain.run(X, wrong)  # type: ignore[arg-type]
