"""GDumb: keep a balanced memory, and learn from nothing else, from scratch, when asked."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import nn

from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced
from clnf.core.errors import ConfigError, DataError
from clnf.core.protocols import Learnable
from clnf.core.records import Batch, Experience

__all__ = ["GDumb"]

Made = tuple[Learnable, torch.optim.Optimizer]


@final
class _Remembered:
    """A memory's content as a source."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch)

    def take(self, index: torch.Tensor) -> Batch:
        return self._batch.select(index)


@final
class GDumb:
    """Stores greedily and class-balanced; trains a new model on the memory alone when asked.

    It uses no knowledge of any order of lessons. A method that does worse at the same memory has
    gained nothing from the stream it saw.

    Args:
        memory: class-balanced; ours keeps each class a uniform sample of its own.
        make: builds a fresh model and its optimizer.
        seed: of the training on the memory.

    Source: Prabhu et al. 2020, algorithms 1 and 2.
    """

    def __init__(self, memory: Balanced, make: Callable[[], Made], *, seed: int) -> None:
        self.memory = memory
        self._make = make
        self._seed = seed

    def learn(self, batch: Batch) -> None:
        """Offer samples to the memory; that is all learning there is."""
        self.memory.add(batch)

    def fit(self, *, passes: int, batch_size: int) -> nn.Module:
        """A new model after ``passes`` over the memory.

        Raises:
            ConfigError: passes or batch_size is below 1.
            DataError: the memory is empty.
        """
        if passes < 1 or batch_size < 1:
            raise ConfigError(
                f"GDumb needs passes and batch_size >= 1, got {passes} and {batch_size}"
            )
        if not len(self.memory):
            raise DataError("GDumb has nothing to learn from: the memory is empty")
        data = _Remembered(self.memory.all())
        model, optimizer = self._make()
        learner = Learner(model, optimizer, seed=self._seed)
        lesson = Experience(name="memory", concept="memory", data=data)
        steps = -(-passes * len(data) // batch_size)
        for _ in learner.lesson(lesson, steps=steps, batch_size=batch_size):
            pass
        return learner.model.eval()

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return self.memory.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.memory.load_state_dict(state)
