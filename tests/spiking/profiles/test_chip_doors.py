"""What chips refuse, and what they keep when saved."""

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from clnf.core.errors import ClnfError, ConfigError, ShapeError
from clnf.spiking import LI, LIF, EventLinear, Readout, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.profiles import Constrained, check, deploy, profile

NAN = float("nan")
CHIP = profile("memristive:cmo_hfox")  # a chip whose dies differ


def chip(seed: int = 3) -> Constrained:
    sizes = ((6, 8), (8, 4))
    net = Chain(*(SpikingLinear(n, LIF(tau_s=16e-3), dt_s=1e-3, seed=seed) for n in sizes))
    for layer in net:
        layer.weight.data *= 3  # type: ignore[operator]
    return Constrained(net, CHIP)


def events() -> Tensor:
    return (torch.rand(30, 3, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def loaded(state: Any) -> Any:
    """By way of a file that holds tensors and nothing else."""
    return load(save(state))


def test_a_saved_chip_answers_as_before_deployed_or_not() -> None:
    old, x = chip(), events()
    old.die, old.full_v = 3, {"1": 1.5}
    new = chip(seed=9)
    new.load_state_dict(loaded(old.state_dict()))
    assert (new.die, new.full_v) == (3, {"1": 1.5})
    assert torch.equal(new(x), old(x))
    assert torch.equal(deploy(new)(x), deploy(old)(x))
    alone = chip(seed=9)  # the control: weights alone are another chip
    alone.net.load_state_dict(old.net.state_dict())
    assert not torch.equal(alone(x), old(x))


def test_states_within_others_and_old_ones_load_and_those_of_other_nets_do_not() -> None:
    old, new = chip(), chip(seed=9)
    old.full_v, new.die = {"0": 2.0}, 5
    state = torch.nn.ModuleDict({"chip": old}).state_dict()
    torch.nn.ModuleDict({"chip": new}).load_state_dict(loaded(state))
    assert (new.die, new.full_v) == (None, {"0": 2.0})
    new.die = 5
    without = {key: value for key, value in old.state_dict().items() if "extra" not in key}
    assert len(without) == 2
    new.load_state_dict(without)  # as saved before: what is beside weights stays
    assert (new.die, new.full_v) == (5, {"0": 2.0})
    for kept in (torch.zeros(2), {"die": 1}, None):
        with pytest.raises(ConfigError, match="keeps 3 numbers beside the weights"):
            new.set_extra_state(kept)
    for kept in (torch.tensor([NAN, -1, -1]), torch.tensor([0.5, -1, -1])):
        with pytest.raises(ConfigError, match="die must be a whole number"):
            new.set_extra_state(kept)


@pytest.mark.parametrize(
    ("full_v", "words"),
    [
        ({"2": 1.0}, "names the layer '2', which is not there; known: '0', '1'"),
        ({0: 0.1}, "names the layer 0, which"),
        ({"0": -1.0}, "above 0 V and finite, got -1"),
        ({"0": 0.0}, "above 0 V"),
        ({"0": float("inf")}, "above 0 V"),
        ({"0": NAN}, "must be a number, got nan"),
        ({"0": "a"}, "must be a number, got 'a'"),
        ({"0": True}, "must be a number"),
        (None, "full_v must be of class dict, got None; give volts by the names"),
    ],
)
def test_ranges_are_volts_of_layers_that_are_there(full_v: Any, words: str) -> None:
    made = chip()
    made.full_v = full_v
    for ask in (lambda: made(events()), lambda: deploy(made), made.state_dict):
        with pytest.raises(ConfigError, match=words):
            ask()


@pytest.mark.parametrize("die", ["a", NAN, -1, 1.5, True, 2**70])
def test_dies_are_whole_numbers(die: Any) -> None:
    made = chip()
    made.die = die
    with pytest.raises(ConfigError, match="die must be a whole number"):
        made(events())


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.ones(5, 0, 6), "one sample or more, got .5, 0, 6."),
        (torch.ones(0, 2, 6), "one step"),
        (torch.ones(5, 2, 7), "got .5, 2, 7."),
        (torch.ones(5, 2, 6).to_sparse(), "dense"),
        (torch.full((5, 2, 6), NAN), "finite numbers, got nan at .0, 0, 0."),
        (torch.full((5, 2, 6), float("inf")), "finite numbers, got inf"),
        (torch.ones(5, 2, 6).numpy(), "events must be of class Tensor"),
        (None, "events must be of class Tensor, got None; make a tensor"),
    ],
)
def test_events_that_are_none_are_refused(x: Any, words: str) -> None:
    made = chip()
    for run in (made, deploy(made)):
        with pytest.raises(ClnfError, match=words):
            run(x)


def test_events_may_be_booleans_and_whole_numbers() -> None:
    made, x = chip(), events()
    read = Chain(EventLinear(6, 2, seed=1), Readout(LI(tau_s=15e-3), dt_s=1e-3))
    for one in (made, Constrained(read, CHIP)):
        wanted = one(x)
        for same in (x > 0, x.long(), x.to(torch.uint8)):
            assert torch.equal(one(same), wanted)
            assert torch.equal(deploy(one)(same), deploy(one)(x))
    assert bool(made(x).any())


@pytest.mark.parametrize("bad", [NAN, float("inf")])
def test_weights_that_are_not_finite_are_named(bad: float) -> None:
    made = chip()
    made.net[0].weight.data[1, 2] = bad  # type: ignore[index]
    for ask in (lambda: made(events()), lambda: deploy(made), lambda: check(made.net, CHIP)):
        with pytest.raises(ConfigError, match=rf"weights of layer 0 .* got {bad} at \[1, 2\]"):
            ask()
    made.full_v = {"0": 1.0, "1": 1.0}
    with pytest.raises(ConfigError, match="weights of layer 0"):
        made(events())


def test_what_is_deployed_is_a_net_with_limits() -> None:
    with pytest.raises(ConfigError, match="give Constrained"):
        deploy(chip().net)  # type: ignore[arg-type]
    with pytest.raises(ShapeError):
        deploy(chip())(events()[..., :2])
