"""Optimizer states survive as tensors and text."""

import pytest
import torch
from torch import nn

from clnf.continual.optimizer_state import pack, unpack
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
