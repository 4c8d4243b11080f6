"""Small data and models for the continual room."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clnf.continual.classifier import Classifier
from clnf.core.records import Batch, Experience


class InMemory:
    """Tensors taken by index; remembers which indices were asked for."""

    def __init__(self, x: Tensor, cond: Tensor) -> None:
        self.x, self.cond = x, cond
        self.asked: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Batch:
        self.asked.append(index)
        return Batch.of(self.x[index], self.cond[index])


@pytest.fixture
def lesson() -> Callable[..., Experience]:
    """Builds a lesson from tensors, or a random one of 3 classes in 5 dimensions."""

    def build(
        name: str = "first", x: Tensor | None = None, cond: Tensor | None = None, size: int = 40
    ) -> Experience:
        rng = torch.Generator().manual_seed(sum(name.encode()))
        if x is None:
            x = torch.randn(size, 5, generator=rng)
        if cond is None:
            cond = torch.randint(3, (len(x),), generator=rng)
        return Experience(name=name, concept=name, data=InMemory(x, cond))

    return build


@pytest.fixture
def classifier() -> Callable[..., Classifier]:
    """Builds a small classifier, the same one each time for the same seed."""

    def build(seed: int = 0, *, norm: bool = False) -> Classifier:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            middle: nn.Module = nn.BatchNorm1d(7) if norm else nn.Identity()
            return Classifier(nn.Sequential(nn.Linear(5, 7), middle, nn.Tanh(), nn.Linear(7, 3)))

    return build


@pytest.fixture
def through_disk(tmp_path: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Writes a flat state as safetensors and JSON, and reads it back, as a run folder does."""

    def travel(state: dict[str, Any]) -> dict[str, Any]:
        tensors = {k: v.contiguous() for k, v in state.items() if isinstance(v, Tensor)}
        values = {k: v for k, v in state.items() if not isinstance(v, Tensor)}
        save_file(tensors, tmp_path / "state.safetensors")
        text = json.dumps(values)
        return {**load_file(tmp_path / "state.safetensors"), **json.loads(text)}

    return travel
