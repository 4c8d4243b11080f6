"""Modules hold parameters and do what the pure functions do."""

import pytest
import torch
from torch import nn

from clnf.core.errors import ConfigError
from clnf.spiking import IF, LI, LIF, Neurons, Readout, RecurrentNeurons, Triangle, spike_over_time


def test_modules_stand_in_a_row() -> None:
    net = nn.Sequential(
        nn.Linear(6, 8),
        Neurons(LIF(), dt_s=1e-3),
        RecurrentNeurons(LIF(), 8, dt_s=1e-3, seed=1),
        nn.Linear(8, 2),
        Readout(LI(), dt_s=1e-3),
    )
    out = net(torch.rand(10, 3, 6))
    assert out.shape == (10, 3, 2)
    out.sum().backward()
    assert all(one.grad is not None for one in net.parameters())


def test_a_state_goes_in_and_comes_out() -> None:
    neurons, x = Neurons(LIF(), dt_s=1e-3), torch.rand(10, 2, 5)
    first, state = neurons.run(x[:4])
    second, _ = neurons.run(x[4:], state.detach())
    assert torch.equal(torch.cat([first, second]), neurons(x))
    assert torch.equal(neurons(x), spike_over_time(x, neurons.coefficients(), Triangle())[0])


def test_tensors_of_a_cell_belong_to_the_module() -> None:
    tau = nn.Parameter(torch.full((3,), 20e-3))
    neurons = Neurons(LIF(tau_s=tau, threshold_v=torch.full((3,), 0.5)), dt_s=1e-3)
    assert [name for name, _ in neurons.named_parameters()] == ["tau_s"]
    assert [name for name, _ in neurons.named_buffers()] == ["threshold_v"]
    neurons(torch.full((5, 1, 3), 0.3)).sum().backward()
    assert tau.grad is not None
    neurons.load_state_dict({**neurons.state_dict(), "threshold_v": torch.full((3,), 9.0)})
    assert not neurons(torch.full((5, 1, 3), 0.3)).any()


def test_weights_depend_on_the_seed_alone() -> None:
    one, same, other = (
        RecurrentNeurons(IF(), 4, dt_s=1e-3, seed=seed).weight for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_cells_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="one that spikes"):
        Neurons(LI(), dt_s=1e-3)
    with pytest.raises(ConfigError, match="a read-out"):
        Readout(LIF(), dt_s=1e-3)
    with pytest.raises(ConfigError, match="dt_s must be above 0"):
        Neurons(LIF(), dt_s=0.0)
    with pytest.raises(ConfigError, match="size"):
        RecurrentNeurons(LIF(), 0, dt_s=1e-3)
    assert "LIF, dt_s=0.001" in repr(Neurons(LIF(), dt_s=1e-3))


@pytest.mark.parametrize("kernels", [True, False])
def test_an_input_that_is_no_number_makes_its_own_cell_silent(kernels: bool) -> None:
    neurons, x = Neurons(LIF(tau_s=20e-3), dt_s=1e-3, kernels=kernels), torch.full((6, 1, 32), 0.6)
    healthy = neurons(x)
    x[2, 0, 3] = float("nan")
    spikes = neurons(x)
    others = torch.arange(32) != 3
    assert torch.equal(spikes[..., others], healthy[..., others])
    assert torch.equal(spikes[:2], healthy[:2])
    assert healthy[2:, 0, 3].any()
    assert not spikes[2:, 0, 3].any()
