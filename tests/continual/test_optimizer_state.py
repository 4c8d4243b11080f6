"""Optimizer states survive as tensors and text."""

import pytest
import torch
from torch import nn
from torch.optim import optimizer as hooks

from clnf.continual.optimizer_state import pack, take_step, unpack
from clnf.core.errors import RunError


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.99)),
        lambda p: torch.optim.SGD([{"params": p, "lr": 0.3}], lr=0.1),
    ],
)
def test_round_trip(make, through_disk):
    net = nn.Linear(3, 2)
    optimizer = make(list(net.parameters()))
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    restored = unpack(through_disk(pack(state)))
    assert restored["param_groups"] == state["param_groups"]
    assert restored["state"].keys() == state["state"].keys()
    for key, values in state["state"].items():
        for name, value in values.items():
            got = restored["state"][key][name]
            assert type(got) is type(value)
            if value is not None:
                assert torch.equal(torch.as_tensor(got), torch.as_tensor(value))
    make(list(net.parameters())).load_state_dict(restored)


def test_what_cannot_be_saved_is_named():
    with pytest.raises(RunError, match="keeps a Linear"):
        pack({"state": {0: nn.Linear(1, 1)}})


def stepping(watch):
    """A weight and an optimizer that something may watch; what it saw."""
    weight, seen = nn.Parameter(torch.zeros(3)), []
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.grad = torch.ones(3)
    done = watch(optimizer, seen)
    return weight, optimizer, seen, done


def hooked(optimizer, seen):
    return optimizer.register_step_post_hook(lambda *args: seen.append("hook")).remove


def hooked_everywhere(optimizer, seen):
    add = hooks.register_optimizer_step_pre_hook
    return add(lambda *args: seen.append("global")).remove


def replaced(optimizer, seen):
    taken = optimizer.step
    optimizer.step = lambda: (seen.append("replaced"), taken())
    return lambda: None


@pytest.mark.parametrize("watch", [hooked, hooked_everywhere, replaced])
def test_a_step_that_is_watched_is_taken_as_it_is(watch):
    weight, optimizer, seen, done = stepping(watch)
    take_step(optimizer)
    done()
    assert len(seen) == 1
    assert torch.equal(weight.detach(), torch.full((3,), -0.1))


def test_a_profiler_sees_the_step_and_nobody_else_pays_for_it():
    weight, optimizer, _, _ = stepping(lambda *args: None)

    def names():
        with torch.autograd.profiler.profile() as found:
            take_step(optimizer)
        return {event.name for event in found.function_events}

    assert "Optimizer.step#SGD.step" in names()
    marks = []
    marked, torch.autograd.profiler.record_function = (
        torch.autograd.profiler.record_function,
        lambda name: marks.append(name),
    )
    try:
        take_step(optimizer)
    finally:
        torch.autograd.profiler.record_function = marked
    assert not marks
    assert torch.equal(weight.detach(), torch.full((3,), -0.1) * 2)


def test_a_step_of_ones_own_keeps_what_stands_around_it():
    """Negative control: unwrapping whatever is wrapped would take this class's no_grad away."""

    class Own(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.add_(1.0)  # an error where gradients are on

    weight = nn.Parameter(torch.zeros(3))
    take_step(Own([weight], lr=0.1))
    assert torch.equal(weight.detach(), torch.ones(3))

    class Plain:
        param_groups = ()

        def step(self):
            self.param_groups = ("taken",)

    plain = Plain()
    take_step(plain)
    assert plain.param_groups == ("taken",)
