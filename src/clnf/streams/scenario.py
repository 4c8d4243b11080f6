"""Scenarios: a row of tasks with tests, and what a learner is told about them.

The three of van de Ven and Tolias (arXiv 1904.07734; Nature Machine Intelligence 4, 2022):

=======  ============================  ==============================================
name     labels                        told at the test
=======  ============================  ==============================================
task     one output for every class    which task the sample is of
domain   place of the class in a task  nothing, and nothing is needed: outputs are shared
class    one output for every class    nothing: all outputs compete
=======  ============================  ==============================================
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Experience, Source
from clnf.core.units import quantity
from clnf.streams.sources import Levels, SubsetSource, levels_of
from clnf.streams.stream import LazyStream, Stream

__all__ = [
    "LazyScenario",
    "Protocol",
    "RelabelSource",
    "Scenario",
    "Task",
    "incremental",
    "labels_of",
]

Protocol = Literal["task", "domain", "class"]

_CHUNK = 1024  # samples read at once where labels can only be had with their data
_OUTPUTS = 2**24  # of a classifier; a table of as many labels takes 134 MB


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """One task: what is taught, what is tested, and the outputs that belong to it.

    Attributes:
        experience: the training samples.
        test: samples never taught.
        outputs: labels its samples may carry.
    """

    experience: Experience
    test: Source
    outputs: tuple[int, ...] = quantity("1")


@final
class Scenario:
    """Tasks in order under one protocol.

    Args:
        tasks: with unique names, at least one.
        protocol: "task", "domain" or "class".
        outputs: outputs a classifier needs from the first task on. Growing them later would
            shift what penalties and stored logits refer to.

    Raises:
        ConfigError: no task, a name used twice, an unknown protocol, or an output too many.
    """

    def __init__(self, tasks: Sequence[Task], *, protocol: Protocol, outputs: int) -> None:
        _check(protocol)
        most = max((one for task in tasks for one in task.outputs), default=-1)
        if not tasks or most >= outputs:
            raise ConfigError(
                f"a scenario needs at least one task and an output for every label, got "
                f"{len(tasks)} tasks, {outputs} outputs and the label {most}"
            )
        self.tasks = tuple(tasks)
        self.protocol: Protocol = protocol
        self.outputs = outputs
        self.stream = Stream([task.experience for task in tasks])

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __getitem__(self, number: int) -> Task:
        return self.tasks[number]

    def allowed(self, number: int) -> Tensor:
        """Outputs that compete when task ``number`` is tested, bool [outputs].

        Only the task protocol may close outputs. Closing them in the others reports the accuracy
        of an easier problem.

        >>> from clnf.streams.digits import split_digits
        >>> int(split_digits("task").allowed(0).sum()), int(split_digits().allowed(0).sum())
        (2, 10)
        """
        return _allowed(self.protocol, self.outputs, self.tasks[number])


@final
class LazyScenario:
    """Tasks made when they are asked for and not kept, for streams of any length.

    Args:
        count: tasks, >= 1.
        build: ``number -> task``; pure, so a task can be made again after a resume.
        protocol: "task", "domain" or "class".
        outputs: outputs a classifier needs from the first task on.

    Raises:
        ConfigError: no task, or an unknown protocol.
    """

    def __init__(
        self, count: int, build: Callable[[int], Task], *, protocol: Protocol, outputs: int
    ) -> None:
        _check(protocol)
        self.stream = LazyStream(count, lambda number: build(number).experience)
        self.protocol: Protocol = protocol
        self.outputs = outputs
        self._build = build

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[Task]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Task:
        return replace(self._build(number), experience=self.stream[number])

    def allowed(self, number: int) -> Tensor:
        """As in :meth:`Scenario.allowed`."""
        return _allowed(self.protocol, self.outputs, self[number])


@final
class RelabelSource:
    """Another source with its labels exchanged on take.

    Args:
        base: any source.
        table: int64 [labels]; label c becomes ``table[c]``.
    """

    def __init__(self, base: Source, table: Tensor) -> None:
        self.base = base
        self.table = table

    def __len__(self) -> int:
        return len(self.base)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]) under their new labels."""
        batch = self.base.take(index)
        return Batch(x=batch.x, cond=self.table[batch.cond], weight=batch.weight)

    def levels(self, index: Tensor) -> Levels | None:
        """As ``sources.levels_of``."""
        stored = levels_of(self.base, index)
        return stored and replace(stored, label=self.table.numpy()[stored.label])


def labels_of(source: Source) -> NDArray[np.int64]:
    """Labels of all samples, int64 [N]; reads the data once, a chunk at a time."""
    parts = [source.take(part).cond for part in torch.arange(len(source)).split(_CHUNK)]
    return torch.cat(parts).numpy() if parts else np.empty(0, np.int64)


def incremental(
    train: Source,
    test: Source,
    groups: Sequence[Sequence[int]],
    *,
    protocol: Protocol = "class",
    name: str = "task",
) -> Scenario:
    """Cut labelled data into tasks, a group of classes each.

    Args:
        train: samples to teach.
        test: samples to test with.
        groups: classes of each task, in the order of the outputs they get under "domain".
        protocol: "task", "domain" or "class".
        name: of the data; tasks are called "NAME 2 3" after their classes.

    Raises:
        ConfigError: a class in two groups, without samples or of a number too large, or groups of
            different sizes under "domain".
    """
    flat = [one for group in groups for one in group]
    if len(set(flat)) != len(flat) or not flat or min(flat) < 0:
        raise ConfigError(f"every class belongs to one task, got {[list(g) for g in groups]}")
    if max(flat) >= _OUTPUTS:
        raise ConfigError(
            f"classes are numbered from 0 to at most {_OUTPUTS - 1}, since each gets an output, "
            f"got {max(flat)}; number the classes anew"
        )
    if protocol == "domain" and len({len(group) for group in groups}) > 1:
        raise ConfigError(
            f"domains share their outputs and need as many classes each, "
            f"got {[len(group) for group in groups]}"
        )
    table = torch.arange(max(flat) + 1)
    if protocol == "domain":
        for group in groups:
            table[list(group)] = torch.arange(len(group))
    taught, asked = labels_of(train), labels_of(test)
    tasks = []
    for group in groups:
        title = " ".join([name, *map(str, group)])
        if missing := [one for one in group if one not in taught or one not in asked]:
            raise ConfigError(f"class {missing[0]} of {title!r} has no samples to teach or to test")
        learn, check = (
            RelabelSource(SubsetSource(part, np.flatnonzero(np.isin(labels, group))), table)
            for part, labels in ((train, taught), (test, asked))
        )
        origin = f"{name}, {protocol}-incremental, {len(learn)} samples"
        experience = Experience(name=title, concept=title, data=learn, provenance=origin)
        outputs = tuple(int(table[one]) for one in group)
        tasks.append(Task(experience=experience, test=check, outputs=outputs))
    return Scenario(tasks, protocol=protocol, outputs=int(table[flat].max()) + 1)


def _check(protocol: str) -> None:
    if protocol not in ("task", "domain", "class"):
        raise ConfigError(f"the protocol is task, domain or class, got {protocol!r}")


def _allowed(protocol: Protocol, outputs: int, task: Task) -> Tensor:
    mask = torch.full((outputs,), protocol != "task")
    mask[list(task.outputs)] = True
    return mask
