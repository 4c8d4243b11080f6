"""The lessons of an arm: the recipe's, and those that people add, each through the gate."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from clnf.core.records import Experience, Kind, Source
from clnf.core.units import quantity
from clnf.living.concepts import Concepts
from clnf.living.recipe import Recipe
from clnf.streams.bundled import CONCEPTS, CORE_FAMILIES, emoji32, family
from clnf.streams.gate import Gate
from clnf.streams.sources import ArraySource, JoinSource, ShiftSource, SubsetSource, from_levels
from clnf.streams.stream import poisoned

__all__ = ["Added", "Lessons", "Offered"]


@final
@dataclass(frozen=True, kw_only=True)
class Offered:
    """What the gate made of a lesson: positions admitted, of how many."""

    index: tuple[int, ...]
    total: int = quantity("1")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"index": list(self.index), "total": self.total}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Offered":
        """From what :meth:`to_json` gave."""
        return Offered(index=tuple(values["index"]), total=values["total"])


@final
@dataclass(frozen=True, kw_only=True)
class Added:
    """A lesson that people added to the run; its pictures lie in the run's folder."""

    name: str
    concept: str
    kind: Kind
    file: str
    provenance: str
    priority: float = quantity("1", 1.0)


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
        self._gate = Gate()
        if recipe.guards.gate:
            self._gate.remember(self.core().data)

    def __len__(self) -> int:
        return len(self.recipe.lesson) + len(self.added)

    def name(self, number: int) -> str:
        """Name of a lesson."""
        planned = self.recipe.lesson
        return (
            planned[number].name if number < len(planned) else self.added[number - len(planned)].name
        )

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
        """What a known concept looks like: bundled pictures, or those of its own lesson."""
        row = self.concepts.row(concept)
        if concept in CONCEPTS:
            return ArraySource(emoji32().images[family(concept)], row)
        taught = [n for n in range(len(self)) if self.concept(n) == concept]
        return self._raw(taught[0])

    def real(self) -> dict[str, Tensor]:
        """Real pictures by concept, for distances, [n, 3, 32, 32]."""
        real = {name: from_levels(emoji32().images[family(name)]) for name in CONCEPTS}
        for added in self.added:
            if added.concept not in real:
                real[added.concept] = from_levels(self._pictures(added))
        return real

    def offer(self, number: int) -> tuple[Offered, dict[str, NDArray[np.float32]]]:
        """Ask the gate about a lesson.

        Returns:
            The positions admitted, and the samples turned away by reason.
        """
        raw = self._raw(number)
        everything = np.arange(len(raw))
        if not self.recipe.guards.gate:
            return Offered(index=tuple(everything.tolist()), total=len(raw)), {}
        admission = self._gate.admit(raw)
        away: dict[str, list[int]] = {}
        for position, reason in admission.quarantined:
            away.setdefault(reason, []).append(position)
        samples = {
            reason: raw.take(torch.tensor(positions)).x.numpy()
            for reason, positions in away.items()
        }
        index = tuple(int(i) for i in admission.admitted)
        return Offered(index=index, total=len(raw)), samples

    def experience(self, number: int, offered: Offered) -> Experience:
        """The admitted samples of a lesson, with small shifts, as an experience."""
        admitted = SubsetSource(self._raw(number), torch.tensor(offered.index))
        planned = self.recipe.lesson
        kind: Kind = "new"
        priority, provenance = 1.0, "emoji32"
        if number >= len(planned):
            added = self.added[number - len(planned)]
            kind, priority, provenance = added.kind, added.priority, added.provenance
        return Experience(
            name=self.name(number),
            concept=self.concept(number),
            data=ShiftSource(admitted, reach=self.recipe.learn.shift),
            kind=kind,
            priority=priority,
            provenance=provenance,
        )

    def add(self, lesson: Added, pictures: NDArray[np.uint8]) -> None:
        """Append a lesson with its pictures, uint8 [N, 32, 32, 3], kept in the run's folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_file({"pictures": torch.from_numpy(pictures)}, self.folder / lesson.file)
        self.added.append(lesson)

    def state_dict(self) -> dict[str, Any]:
        """Added lessons and the gate's state."""
        return {"added": [asdict(a) for a in self.added], "gate": self._gate.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.added = [Added(**row) for row in state["added"]]
        self._gate.load_state_dict(state["gate"])

    def _pictures(self, added: Added) -> NDArray[np.uint8]:
        return load_file(self.folder / added.file)["pictures"].numpy()

    def _raw(self, number: int) -> Source:
        """A lesson's samples before the gate, labelled with the row its concept has or will get."""
        concept = self.concept(number)
        known = concept in self.concepts.names
        row = self.concepts.row(concept) if known else len(self.concepts.names) + 1
        planned = self.recipe.lesson
        if number >= len(planned):
            return ArraySource(self._pictures(self.added[number - len(planned)]), row)
        part = planned[number]
        clean = ArraySource(emoji32().images[family(part.family)], row)
        if part.poison == 0.0:
            return clean
        return poisoned(clean, share=part.poison, seed=self.recipe.seed)
