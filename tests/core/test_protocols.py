from typing import Any

import torch

from clnf.core.protocols import Guard, Learnable
from clnf.core.records import Batch, Experience


class Model(torch.nn.Module):
    def loss(self, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        return batch.x.flatten(1).sum(1)


class Nothing:
    def begin(self, experience: Experience) -> None: ...

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        return batch

    def penalty(self) -> torch.Tensor | None: ...

    def constrain(self, lr: float) -> None: ...

    def consolidate(self, experience: Experience) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def test_a_plain_module_with_a_loss_is_learnable() -> None:
    assert isinstance(Model(), Learnable)
    assert not isinstance(torch.nn.Linear(1, 1), Learnable)


def test_a_guard_needs_all_its_moments_and_its_state() -> None:
    assert isinstance(Nothing(), Guard)
    assert not isinstance(Model(), Guard)
