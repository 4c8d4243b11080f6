"""Streams that pass once: online, blurred, and without any task at all.

A :class:`Flow` is the order in which the samples of several tasks arrive. Each arrives once; a
batch is known by its number, so a learner resumes by counting.

- *online*: task after task, one pass (``Arrival()``).
- *blurry*: a share of each task's samples arrives at any time (Bang et al., arXiv 2103.17230).
- *task-free*: boundaries are ramps (van de Ven et al. 2022, "fuzzy boundaries"), and nobody says
  where they are: batches carry no task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Experience, Source
from clnf.core.rng import numpy_rng
from clnf.core.units import quantity
from clnf.streams.sources import JoinSource, SubsetSource
from clnf.streams.stream import Stream

__all__ = ["Arrival", "Flow"]


@final
@dataclass(frozen=True, kw_only=True)
class Arrival:
    """How tasks run into each other.

    Attributes:
        blur: share of every task's samples that is thrown together and dealt out over the whole
            stream, in [0, 1]. Of T equal tasks, blur * (1 - 1/T) of what arrives in a task's
            time then belongs to others.
        ramp: length of the crossing from one task to the next, in mean tasks, >= 0. Inside it
            the next task's share grows linearly from 0 to 1.
    """

    blur: float = quantity("1", 0.0)
    ramp: float = quantity("1", 0.0)

    def __post_init__(self) -> None:
        if not 0.0 <= self.blur <= 1.0 or not 0.0 <= self.ramp < float("inf"):
            raise ConfigError(
                f"blur lies between 0 and 1 and ramp is at least 0, got {self.blur} and {self.ramp}"
            )


@final
class Flow:
    """Every sample of some sources once, in batches known by their numbers.

    Args:
        tasks: sources in the order of their tasks.
        batch_size: samples in a batch, >= 1; the last may be smaller.
        arrival: how tasks run into each other; sharp boundaries where not given.
        seed: of all shuffling.

    Raises:
        ConfigError: no samples, or no batch size.
    """

    def __init__(
        self,
        tasks: Sequence[Source],
        *,
        batch_size: int,
        seed: int,
        arrival: Arrival = Arrival(),
    ) -> None:
        sizes = [len(task) for task in tasks]
        if batch_size < 1 or not sum(sizes):
            raise ConfigError(
                f"a flow needs samples and a batch size of at least 1, got {sum(sizes)} samples "
                f"in batches of {batch_size}"
            )
        self.batch_size = batch_size
        self.order = _order(sizes, arrival, seed)
        self._source = JoinSource(tasks)
        self._starts = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return (self.take(number) for number in range(len(self)))

    def take(self, number: int) -> Batch:
        """Batch ``number``, counted from 0.

        Raises:
            ConfigError: there is no such batch.
        """
        if not 0 <= number < len(self):
            raise ConfigError(f"the flow has {len(self)} batches, number {number} is none of them")
        return self._source.take(self._rows(number, number + 1))

    def origin(self) -> NDArray[np.int64]:
        """Task of each sample in the order of arrival, int64 [N]; for measuring only."""
        return np.searchsorted(self._starts, self.order, side="right") - 1

    def windows(self, batches: int) -> Stream:
        """The flow as experiences of equal length, none of which knows a task.

        Args:
            batches: in one window, >= 1.

        Raises:
            ConfigError: fewer than one batch a window.
        """
        if batches < 1:
            raise ConfigError(f"a window holds at least one batch, got {batches}")
        found = []
        for number, first in enumerate(range(0, len(self), batches)):
            rows = self._rows(first, min(first + batches, len(self)))
            name = f"window {number}"
            origin = f"samples {first * self.batch_size} and on of a flow of {len(self.order)}"
            found.append(
                Experience(
                    name=name,
                    concept="flow",
                    data=SubsetSource(self._source, rows),
                    provenance=origin,
                )
            )
        return Stream(found)

    def _rows(self, first: int, last: int) -> Tensor:
        part = self.order[first * self.batch_size : last * self.batch_size]
        return torch.from_numpy(part)


def _order(sizes: Sequence[int], arrival: Arrival, seed: int) -> NDArray[np.int64]:
    """Positions in the joined tasks, in the order of arrival."""
    starts = np.cumsum([0, *sizes])
    order = np.concatenate(
        [
            start + numpy_rng(seed, "flow", "task", task).permutation(size)
            for task, (start, size) in enumerate(zip(starts, sizes, strict=False))
        ]
    )
    if arrival.blur:
        # The first of each shuffled task leave their places, which lie anywhere in its time.
        dealt = [
            start
            + numpy_rng(seed, "flow", "blur", task).permutation(size)[: round(arrival.blur * size)]
            for task, (start, size) in enumerate(zip(starts, sizes, strict=False))
        ]
        places = np.concatenate(dealt)
        order[places] = order[numpy_rng(seed, "flow", "deal").permutation(places)]
    if arrival.ramp:
        # Keys moved by a uniform number mix two neighbours in proportion to the distance.
        reach = 0.5 * arrival.ramp * len(order) / len(sizes)
        keys = np.arange(len(order)) + reach * numpy_rng(seed, "flow", "ramp").uniform(
            -1.0, 1.0, len(order)
        )
        order = order[np.argsort(keys, kind="stable")]
    return np.ascontiguousarray(order, np.int64)
