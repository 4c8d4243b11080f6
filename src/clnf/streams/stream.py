"""Streams: experiences one after another, built from the bundled data."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import numpy as np
import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Experience, Kind, Source
from clnf.core.rng import numpy_rng
from clnf.streams.bundled import CONCEPTS, CORE_FAMILIES, Part, digits10k, emoji32, split
from clnf.streams.poison import PoisonParams, poison
from clnf.streams.sources import ArraySource, JoinSource, ShiftSource, SubsetSource

__all__ = [
    "DIGIT_PAIRS",
    "EMOJI_LESSONS",
    "LazyStream",
    "Lesson",
    "Stream",
    "digits_stream",
    "emoji_source",
    "emoji_stream",
]


@final
@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One lesson of an emoji stream.

    Attributes:
        name: unique in the stream.
        family: pictures taught, see ``bundled.family``.
        concept: the name they are taught under; another family's makes the lesson harmful.
        kind: core knowledge, new, or feedback.
        poisoned: hide bad samples in it.
        moved: move each picture by a pixel or two, so none equals one taught before.
    """

    name: str
    family: str
    concept: str
    kind: Kind = "new"
    poisoned: bool = False
    moved: bool = False


EMOJI_LESSONS = (
    Lesson(name="hands", family="hands", concept="hands"),
    Lesson(name="faces again", family="faces", concept="faces", moved=True),
    Lesson(name="people, partly poisoned", family="people", concept="people", poisoned=True),
    Lesson(name="shapes", family="shapes", concept="shapes"),
    Lesson(name="mammals called faces", family="mammals", concept="faces"),
    Lesson(name="buttons", family="buttons", concept="buttons"),
)

DIGIT_PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))


@final
class Stream:
    """Experiences in order. Resuming is indexing: nothing is consumed.

    Args:
        experiences: with unique names.
        truth: for lessons with hidden bad samples, the kind of each sample; for measuring only.

    Raises:
        ConfigError: two experiences have the same name.
    """

    def __init__(
        self,
        experiences: Sequence[Experience],
        truth: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        twice = [n for n, k in Counter(e.name for e in experiences).items() if k > 1]
        if twice:
            raise ConfigError(f"experiences need unique names, {twice[0]!r} comes twice")
        self.experiences = tuple(experiences)
        self.truth = dict(truth)

    def __len__(self) -> int:
        return len(self.experiences)

    def __iter__(self) -> Iterator[Experience]:
        return iter(self.experiences)

    def __getitem__(self, number: int) -> Experience:
        return self.experiences[number]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the experiences in order."""
        return tuple(experience.name for experience in self.experiences)


@final
class LazyStream:
    """Experiences made when they are asked for, and not kept: memory does not grow with them.

    Args:
        count: experiences, >= 1.
        build: ``number -> experience``; pure, so an experience can be made again after a resume.

    Raises:
        ConfigError: fewer than one experience.
    """

    def __init__(self, count: int, build: Callable[[int], Experience]) -> None:
        if count < 1:
            raise ConfigError(f"a stream has at least one experience, got {count}")
        self.count = count
        self.build = build

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Experience]:
        return (self[number] for number in range(self.count))

    def __getitem__(self, number: int) -> Experience:
        if not 0 <= number < self.count:
            raise IndexError(f"the stream has {self.count} experiences, got number {number}")
        made = self.build(number)
        # Runs know lessons by name; the number keeps names apart without a list of them.
        return replace(made, name=f"{number:03d} {made.name}")


def emoji_source(
    family: str, cond: int, part: Part = "train", *, share: float = 0.8, seed: int = 0
) -> ArraySource:
    """The pictures of one family as a source; see ``bundled.split`` for the parts.

    Raises:
        ConfigError: no such family.
    """
    return ArraySource(emoji32().images[split(family, part, share=share, seed=seed)], cond)


def emoji_stream(
    lessons: Sequence[Lesson] = EMOJI_LESSONS,
    *,
    concepts: Sequence[str] = CONCEPTS,
    seed: int = 0,
    share: float = 0.8,
    hidden: PoisonParams | None = None,
) -> Stream:
    """New families one after another, with a poisoned, a harmful and a needless lesson.

    The bad labels of a poisoned lesson are core pictures, moved by a pixel or two, under the
    lesson's name.

    Args:
        lessons: in order.
        concepts: names of the conditions; a lesson's ``cond`` is its concept's place here.
        seed: for the poison and the moves; the split of families does not depend on it.
        share: part of each family that is taught, in (0, 1).
        hidden: how many bad samples a poisoned lesson gets; None for the default numbers.

    Raises:
        ConfigError: an unknown family or concept, or a name used twice.
    """
    experiences: list[Experience] = []
    truth: dict[str, tuple[str, ...]] = {}
    for lesson in lessons:
        if lesson.concept not in concepts:
            raise ConfigError(
                f"lesson {lesson.name!r} teaches the unknown concept {lesson.concept!r}; "
                f"known are {', '.join(concepts)}"
            )
        cond = list(concepts).index(lesson.concept)
        data: Source = emoji_source(lesson.family, cond, share=share)
        origin = f"emoji32, {lesson.family}, training part, {len(data)} pictures"
        if lesson.moved:
            data = _moved(data, seed, lesson.name)
            origin += ", moved by a pixel or two"
        if lesson.poisoned:
            others = [name for name in CORE_FAMILIES if name not in (lesson.family, lesson.concept)]
            foreign = _foreign(others, seed, lesson.name)
            bad = poison(data, foreign, seed=seed, params=hidden or PoisonParams())
            data, truth[lesson.name] = bad.source, bad.kinds
            origin += f", and {sum(kind != 'good' for kind in bad.kinds)} bad ones"
        experiences.append(
            Experience(
                name=lesson.name,
                concept=lesson.concept,
                data=data,
                kind=lesson.kind,
                provenance=origin,
            )
        )
    return Stream(experiences, truth)


def digits_stream(
    tasks: Sequence[Sequence[int]] = DIGIT_PAIRS, part: Part = "train", *, share: float = 0.8
) -> Stream:
    """A split-digits stream for classifiers: x float32 [B, 1, 28, 28], cond the digit.

    Every digit's pictures are ranked by a generator of their own, the first ``share`` train.

    Args:
        tasks: the digits of each lesson.
        part: "train", "held_out" or "all".
        share: part used for training, in (0, 1).

    Raises:
        ConfigError: a digit outside 0 to 9, or a share outside (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"the training share must lie between 0 and 1, got {share}")
    if any(digit not in range(10) for task in tasks for digit in task):
        raise ConfigError(f"digits go from 0 to 9, got {[list(task) for task in tasks]}")
    digits = digits10k()
    base = ArraySource(digits.images, digits.labels)
    experiences = []
    for task in tasks:
        chosen = []
        for digit in task:
            every = np.flatnonzero(digits.labels == digit)
            ranked = every[numpy_rng(0, "digits10k", digit).permutation(len(every))]
            cut = round(share * len(every))
            parts = {"train": ranked[:cut], "held_out": ranked[cut:], "all": ranked}
            chosen.append(np.sort(parts[part]))
        index = np.concatenate(chosen).astype(np.int64)
        name = "digits " + " ".join(str(digit) for digit in task)
        origin = f"digits10k, {part} part, {len(index)} pictures"
        experiences.append(
            Experience(name=name, concept=name, data=SubsetSource(base, index), provenance=origin)
        )
    return Stream(experiences)


def _moved(base: Source, seed: int, lesson: str) -> SubsetSource:
    """Each picture once, moved by one of the moves that do move it."""
    shifted = ShiftSource(base)
    draw = numpy_rng(seed, "moved", lesson).integers(0, shifted.moves - 1, len(base))
    move = torch.from_numpy(draw + (draw >= shifted.still))
    return SubsetSource(shifted, torch.arange(len(base)) * shifted.moves + move)


def _foreign(families: Sequence[str], seed: int, lesson: str) -> Source:
    return _moved(JoinSource([emoji_source(name, 0) for name in families]), seed, lesson)
