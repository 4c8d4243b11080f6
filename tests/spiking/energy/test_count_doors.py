"""What counting refuses, alike for operations and for NeuroBench's measures."""

from typing import Any

import pytest
import torch

from clnf.core.errors import ClnfError
from clnf.spiking import LIF, SpikingLinear
from clnf.spiking.energy import count, neurobench
from clnf.spiking.profiles import Constrained, profile

NAN = float("nan")
NET = SpikingLinear((4, 3), LIF(), dt_s=1e-3)
CHIP = Constrained(NET, profile("memristive:cmo_hfox"))


@pytest.mark.parametrize("net", [NET, CHIP], ids=["float", "chip"])
@pytest.mark.parametrize("ask", [count, neurobench], ids=["count", "neurobench"])
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.full((5, 2, 4), NAN), "events are finite numbers, got nan at .0, 0, 0."),
        (torch.full((5, 2, 4), float("inf")), "finite numbers, got inf"),
        (torch.ones(5, 4), r"got \[5, 4\]"),
        (torch.ones(5, 2, 3), r"got \[5, 2, 3\]|take inputs \[steps, samples, 4\]"),
        (torch.ones(0, 2, 4), "one step"),
        (torch.ones(5, 0, 4), "one sample"),
        ([1.0], "make a tensor"),
    ],
)
def test_events_that_cannot_be_counted_are_refused(net: Any, ask: Any, x: Any, words: str) -> None:
    with pytest.raises(ClnfError, match=words):
        ask(net, x)


@pytest.mark.parametrize("net", [NET, CHIP], ids=["float", "chip"])
def test_events_of_any_type_count_alike(net: Any) -> None:
    x = (torch.rand(5, 2, 4, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    wanted = count(net, x)["0"]
    assert wanted.events > 0
    for same in (x > 0, x.long(), x.double()):
        assert count(net, same)["0"] == wanted
        assert neurobench(net, same) == neurobench(net, x)
    if net is NET:  # an event counts whatever its sign
        assert count(net, -x)["0"].synaptic_operations == wanted.synaptic_operations
