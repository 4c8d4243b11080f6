"""The lessons of an arm: the recipe's, and those that people add, each through the gate."""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from clnf.core.errors import RunError
from clnf.core.records import Experience, Kind, Source
from clnf.core.units import quantity
from clnf.living.concepts import Concepts
from clnf.living.edits import Edit, EditSource
from clnf.living.files import why, write_whole
from clnf.living.recipe import Recipe
from clnf.media.flow import noise_for
from clnf.streams.bundled import CONCEPTS, CORE_FAMILIES, emoji32, family
from clnf.streams.drift_lessons import LessonWatch
from clnf.streams.gate import Gate, standard_checks
from clnf.streams.known import Digest
from clnf.streams.quarantine import Flaw, read_pardons
from clnf.streams.sources import ArraySource, JoinSource, ShiftSource, SubsetSource, from_levels
from clnf.streams.stream import Lesson, emoji_stream

__all__ = ["Added", "Lessons", "Offered", "TurnedAway"]

# Samples with one kind of flaw that are kept for people to look at.
_KEPT = 256
# Pictures of a person's concept that stand for it in distances: their cost grows with the square.
_REAL = 512
# Pictures of its concept that accompany an edit.
_COMPANY = 16


@final
@dataclass(frozen=True, kw_only=True)
class Offered:
    """What the gate made of a lesson.

    Attributes:
        index: positions admitted.
        total: of how many.
        news: what it brings that was not there before, in sentences; empty where nobody watches.
    """

    index: tuple[int, ...] = quantity("1")
    total: int = quantity("1")
    news: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        news = {"news": list(self.news)} if self.news else {}
        return {"index": list(self.index), "total": self.total, **news}

    def told(self, lesson: str, concept: str, away: "list[TurnedAway]") -> dict[str, Any]:
        """What the journal says of it, as JSON values."""
        return {
            "lesson": lesson,
            "concept": concept,
            "admitted": len(self.index),
            "quarantined": {one.check: one.count for one in away},
            **({"news": list(self.news)} if self.news else {}),
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Offered":
        """From what :meth:`to_json` gave."""
        news = tuple(values.get("news", ()))
        return Offered(index=tuple(values["index"]), total=values["total"], news=news)


@final
@dataclass(frozen=True, kw_only=True)
class TurnedAway:
    """Samples of a lesson with one kind of flaw.

    Attributes:
        check: the kind of flaw.
        reason: why the first was turned away, and where not all are kept, how many.
        count: how many were turned away.
        samples: the first of them, float32 [n, 3, 32, 32]; what people look at later.
    """

    check: str
    reason: str
    count: int = quantity("1")
    samples: NDArray[np.float32]


@final
@dataclass(frozen=True, kw_only=True)
class Added:
    """A lesson that people added to the run; its pictures lie in the run's folder.

    Attributes:
        name: unique in the run.
        concept: what the pictures show.
        kind: "new" for a folder, "feedback" for an edit of one drawing.
        file: in the folder of added lessons.
        provenance: where they came from.
        noise_seed: names the noise that the edited drawing started from.
        guidance: with which it was drawn.
        sha256: of the file.
    """

    name: str
    concept: str
    kind: Kind
    file: str
    provenance: str
    noise_seed: int = quantity("1", 0)
    guidance: float = quantity("1", 1.0)
    sha256: str = ""


@final
class Lessons:
    """Gives each lesson's data, again and again the same.

    Args:
        recipe: names the stream's lessons.
        folder: where pictures of added lessons are kept.
        concepts: rows of concepts; a lesson's samples carry the row its concept will have.
    """

    def __init__(self, recipe: Recipe, folder: Path, concepts: Concepts) -> None:
        self.recipe = recipe
        self.folder = folder
        self.concepts = concepts
        self.added: list[Added] = []
        # Numbers of lessons that count as not taught: a person went back to before them.
        self._undone: set[int] = set()
        # Of each concept that people added: the lesson that taught it, and what of it.
        self._examples: dict[str, tuple[int, list[int]]] = {}
        # By row, and room for every concept to come: reasons of the gate name them.
        self._names = [""] * concepts.rows
        self._gate = Gate(standard_checks(names=self._names))
        self._watch = LessonWatch() if recipe.drift.watch and recipe.guards.gate else None
        if recipe.guards.gate:
            for row, name in enumerate(CORE_FAMILIES):
                source = ArraySource(emoji32().images[family(name)], row + 1)
                self._remember(self._gate.know(source, kind="core"))

    def __len__(self) -> int:
        return len(self.recipe.lesson) + len(self.added)

    def name(self, number: int) -> str:
        """Name of a lesson."""
        planned = self.recipe.lesson
        if number < len(planned):
            return planned[number].name
        return self.added[number - len(planned)].name

    def concept(self, number: int) -> str:
        """Concept a lesson claims to teach."""
        planned = self.recipe.lesson
        if number < len(planned):
            return planned[number].concept
        return self.added[number - len(planned)].concept

    def core(self) -> Experience:
        """A few samples of each core family, for memory and importance."""
        few = self.recipe.guards.memory_per_family
        parts = []
        for row, name in enumerate(CORE_FAMILIES):
            index = family(name)
            spread = index[np.arange(min(few, len(index))) * len(index) // min(few, len(index))]
            parts.append(ArraySource(emoji32().images[spread], row + 1))
        return Experience(
            name="core", concept="core", data=JoinSource(parts), kind="core", provenance="emoji32"
        )

    def known(self, concept: str) -> Source:
        """What a known concept looks like: bundled pictures, or those that taught it."""
        row = self.concepts.row(concept)
        if concept not in self._examples:
            return ArraySource(emoji32().images[family(concept)], row)
        number, index = self._examples[concept]
        return SubsetSource(self._raw(number).data, torch.tensor(index))

    def real(self) -> dict[str, Tensor]:
        """Real pictures by concept, for distances, [n, 3, 32, 32]."""
        real = {name: from_levels(emoji32().images[family(name)]) for name in CONCEPTS}
        return real | self.own()

    def own(self) -> dict[str, Tensor]:
        """Pictures of the concepts people added, [n, 3, 32, 32], evenly spread over the folder."""
        own: dict[str, Tensor] = {}
        for number, added in enumerate(self.added, len(self.recipe.lesson)):
            if number in self._undone:
                continue
            if added.concept not in own and added.concept not in CONCEPTS:
                pictures = self._pictures(added)
                own[added.concept] = from_levels(pictures[_spread(len(pictures), _REAL)])
        return own

    def offer(self, number: int) -> tuple[Offered, list[TurnedAway]]:
        """Ask the gate about a lesson.

        Returns:
            The positions admitted, and the samples turned away by kind of flaw.
        """
        raw = self._raw(number)
        total = len(raw.data)
        if not self.recipe.guards.gate:
            return Offered(index=tuple(range(total)), total=total), []
        for row, name in enumerate(self._table(self.concept(number))):
            self._names[row] = name
        self._gate.pardon(read_pardons(self.folder.parent / "released.json"))
        admission = self._gate.admit(raw)
        flaws: dict[str, list[Flaw]] = {}
        for flaw in admission.quarantined:
            flaws.setdefault(flaw.check, []).append(flaw)
        away = [_turned_away(raw.data, check, found) for check, found in flaws.items()]
        news = self._watch.look(admission.digest) if self._watch is not None else ()
        told = tuple(one.sentence(self._names) for one in news)
        return Offered(index=tuple(admission.admitted.tolist()), total=total, news=told), away

    def committed(self, number: int, offered: Offered) -> None:
        """Let the gate remember what was learned, and keep examples of a concept of one's own.

        The samples are looked at again: what admission saw of them would have to outlive verdict,
        second look and kill to spare what is next to nothing beside a lesson's steps.
        """
        concept, index = self.concept(number), torch.tensor(offered.index)
        if concept not in (*CONCEPTS, *self._examples):
            few = index[torch.from_numpy(_spread(len(index), _REAL))]
            self._examples[concept] = (number, few.tolist())
        if self.recipe.guards.gate:
            raw = self._raw(number)
            self._remember(self._gate.know(SubsetSource(raw.data, index), kind=raw.kind))

    def _remember(self, taught: Digest) -> None:
        if self._watch is not None:
            self._watch.add(taught)

    def experience(self, number: int, offered: Offered) -> Experience:
        """The admitted samples of a lesson, with small shifts, as an experience.

        An edit comes in the company of other pictures of its concept: alone it would teach that
        the concept is this one picture.
        """
        raw, reach = self._raw(number), self.recipe.learn.shift
        admitted = SubsetSource(raw.data, torch.tensor(offered.index))
        if raw.kind != "feedback":
            return replace(raw, data=ShiftSource(admitted, reach=reach))
        added, known = self.added[number - len(self.recipe.lesson)], self.known(raw.concept)
        company = SubsetSource(known, _spread(len(known), _COMPANY))
        edit = Edit(
            picture=raw.data.take(torch.tensor([0])).x,
            noise=noise_for([added.noise_seed], (3, 32, 32)),
            row=self.concepts.row(raw.concept),
            guidance=added.guidance,
        )
        taught = ShiftSource(JoinSource([admitted, company]), reach=reach)
        return replace(raw, data=EditSource(taught, edit))

    def add(self, lesson: Added, pictures: NDArray[np.uint8]) -> None:
        """Append a lesson with its pictures, uint8 [N, 32, 32, 3], kept in the run's folder.

        Raises:
            RunError: the pictures cannot be written; nothing was appended.
        """
        blob = save({"pictures": torch.tensor(pictures)})
        try:
            write_whole([(self.folder / lesson.file, blob)])
        except OSError as error:
            raise RunError(
                f"the pictures of the lesson could not be kept in {self.folder} ({why(error)}); "
                "nothing was changed: free space, then teach them again"
            ) from error
        self.added.append(replace(lesson, sha256=hashlib.sha256(blob).hexdigest()))

    def go_back(self, state: dict[str, Any], since: range) -> list[str]:
        """Know again what was known at an earlier time; lessons begun since count as not taught.

        Args:
            state: what :meth:`state_dict` gave then.
            since: numbers of those lessons.

        Returns:
            Names of all lessons that count as not taught.
        """
        added = self.added
        self.load_state_dict(state)
        self.added = added  # lessons keep their numbers
        self._undone |= set(since)
        return [self.name(number) for number in sorted(self._undone)]

    def state_dict(self) -> dict[str, Any]:
        """Added lessons, examples of their concepts, and what gate and watch remember."""
        return {
            "added": [asdict(a) for a in self.added],
            "examples": {name: [n, index] for name, (n, index) in self._examples.items()},
            "gate": self._gate.state_dict(),
            "undone": sorted(self._undone),
            **({} if self._watch is None else {"watch": self._watch.state_dict()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.added = [Added(**row) for row in state["added"]]
        self._examples = {name: (n, list(index)) for name, (n, index) in state["examples"].items()}
        self._gate.load_state_dict(state["gate"])
        self._undone = set(state["undone"])
        if self._watch is not None:
            self._watch.load_state_dict(state["watch"])

    def _pictures(self, added: Added) -> NDArray[np.uint8]:
        try:
            blob = (self.folder / added.file).read_bytes()
            if hashlib.sha256(blob).hexdigest() != added.sha256:
                raise OSError("it does not match its hash")
            return load(blob)["pictures"].numpy()
        except (OSError, SafetensorError) as error:
            raise RunError(
                f'the pictures of the lesson "{added.name}" are missing or damaged '
                f"({self.folder / added.file}: {error}); restore the file from a copy"
            ) from error

    def _table(self, concept: str) -> list[str]:
        """Names by row, a concept that is new in the row it will get."""
        names = ["", *self.concepts.names]
        return names if concept in names else [*names, concept]

    def _raw(self, number: int) -> Experience:
        """A lesson before the gate; its samples carry the row its concept has or will get."""
        concept, planned = self.concept(number), self.recipe.lesson
        names = self._table(concept)
        if number < len(planned):
            part = Lesson(**planned[number].model_dump(exclude={"mask"}))
            return emoji_stream([part], concepts=names, seed=self.recipe.seed)[0]
        added = self.added[number - len(planned)]
        return Experience(
            name=added.name,
            concept=concept,
            data=ArraySource(self._pictures(added), names.index(concept)),
            kind=added.kind,
            provenance=added.provenance,
        )


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` positions out of ``count``, evenly spread."""
    few = min(most, count)
    return np.arange(few) * count // max(few, 1)


def _turned_away(data: Source, check: str, found: list[Flaw]) -> TurnedAway:
    kept, reason = found[:_KEPT], found[0].reason
    if len(kept) < len(found):
        reason += f" (the first {_KEPT} of {len(found)} are kept)"
    samples = data.take(torch.tensor([flaw.index for flaw in kept])).x.numpy()
    return TurnedAway(check=check, reason=reason, count=len(found), samples=samples)
