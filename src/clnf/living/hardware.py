"""What a recipe asks of the chip beside learning: masks, levelling, heat, noise, a budget.

Each part is there only where its recipe asks for it; a run that asks for none journals nothing of
them.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, final

from torch import nn

from clnf.chip.hosting import Chip
from clnf.chip.injection import Injection
from clnf.chip.masks import Masks
from clnf.core.records import Experience
from clnf.core.rng import fold
from clnf.living.budget import Budgeted
from clnf.living.levelling import Levelling
from clnf.living.noise import TeachingNoise
from clnf.living.recipe import Recipe
from clnf.living.warmth import Warmth
from clnf.living.write_masks import WriteMasks
from clnf.media.flow import FlowModel

__all__ = ["Hardware"]


@final
class Hardware:
    """The parts that a recipe switched on, and their moments in a lesson.

    Args:
        engine: the model; its layers are on the chip.
        chip: below it.
        recipe: all choices.
        leaves: the model's layers before they were hosted, by name.
        budget: the learner's optimizer where it has a budget, else None.

    Attributes:
        masks: write masks, or None.
    """

    def __init__(
        self,
        engine: FlowModel,
        chip: Chip,
        recipe: Recipe,
        leaves: Mapping[str, nn.Module],
        budget: Budgeted | None,
    ) -> None:
        self.chip, self._budget = chip, budget
        self._noise = _noise(engine, chip, recipe, leaves)
        self.masks: WriteMasks | None = None
        if recipe.mask.kind != "none":
            asked = {one.name: one.mask for one in recipe.lesson if one.mask is not None}
            quiet = nullcontext if self._noise is None else self._noise.off
            self.masks = WriteMasks(
                engine, chip, recipe.mask, asked, seed=fold(recipe.seed, "masks"), quiet=quiet
            )
        self._levelling: Levelling | None = None
        if recipe.levelling.every or recipe.levelling.life:
            self._levelling = Levelling(chip, recipe.levelling)
        self._warmth = Warmth(chip, recipe.heat) if recipe.heat.on else None
        self._heat: dict[str, Any] = {}

    def prepared(self) -> None:
        """The core is in its cells; nothing was taught yet."""
        if self._levelling is not None:
            self._levelling.prepared()

    def wait(self, seconds: float) -> None:
        """Let time pass between two lessons."""
        if self._warmth is not None and self._warmth.part.ageing:
            self._warmth.rest(seconds)
        else:
            self.chip.advance(seconds)

    def moves(self, number: int) -> dict[str, Any] | None:
        """Move columns and tiles before a lesson, where they are due.

        Args:
            number: of the lesson, from 0.

        Returns:
            What was moved, as JSON values; None where nothing was due.
        """
        if self._levelling is None or not self._levelling.due(number):
            return None
        return self._levelling.move()

    def begin(self, lesson: str, fences: Masks) -> None:
        """A lesson begins: its masks go on, and its budget is whole."""
        if self.masks is not None:
            self.masks.begin(lesson, fences)
        if self._budget is not None:
            self._budget.events.lesson()

    def taught(self, lesson: str) -> None:
        """A lesson was taught and is measured next: the chip is as warm as it made it."""
        if self._warmth is not None:
            self._heat = self._warmth.after(lesson)

    def consolidate(self, experience: Experience, core: Experience, fences: Masks) -> None:
        """A lesson was committed: masks hold more."""
        if self.masks is not None:
            self.masks.consolidate(experience, core, fences)

    def return_to(self, state: Mapping[str, Any], fences: Masks) -> None:
        """Go back to the masks of an earlier time; the rest only counts on."""
        if self.masks is not None:
            self.masks.return_to(state["masks"], fences)

    def facts(self, lesson: str) -> dict[str, Any]:
        """What a verdict says of all this, as JSON values; nothing of what is switched off."""
        found: dict[str, Any] = {}
        if self.masks is not None:
            found["mask"] = self.masks.facts(lesson)
        if self._heat:
            found["heat"], self._heat = self._heat, {}
        if self._budget is not None:
            found["budget"] = {"pulses": self._budget.budget, **self._budget.position()}
        return found

    def life(self) -> dict[str, Any]:
        """The projected life of the tile that dies first; empty where nobody asked."""
        return {} if self._levelling is None else self._levelling.life()

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot keeps; empty where every part is off."""
        state: dict[str, Any] = {}
        if self.masks is not None:
            state["masks"] = self.masks.state_dict()
        if self._levelling is not None:
            state["levelling"] = self._levelling.state_dict()
        if self._warmth is not None and (cold := self._warmth.state_dict()):
            state["warmth"] = cold
        if self._noise is not None:
            state["noise"] = self._noise.step
        if self._budget is not None:
            state["budget"] = self._budget.position()
        return state

    def load_homes(self, state: Mapping[str, Any]) -> None:
        """Restore where tiles live, from what :meth:`state_dict` gave; then load the chip."""
        if self._levelling is not None:
            self._levelling.load_homes(state["levelling"])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the rest of what :meth:`state_dict` gave."""
        if self.masks is not None:
            self.masks.load_state_dict(state["masks"])
        if self._levelling is not None:
            self._levelling.load_state_dict(state["levelling"])
        if self._warmth is not None:
            self._warmth.load_state_dict(state.get("warmth", {}))
        if self._noise is not None:
            self._noise.step = state["noise"]
        if self._budget is not None:
            self._budget.load_position(state["budget"])


def _noise(
    engine: FlowModel, chip: Chip, recipe: Recipe, leaves: Mapping[str, nn.Module]
) -> TeachingNoise | None:
    learn = recipe.learn
    if not (learn.noise_weight or learn.noise_read or learn.noise_bits):
        return None
    amount = Injection(
        weight=learn.noise_weight, read=learn.noise_read, bits=learn.noise_bits, clip=0.0
    )
    seed = fold(recipe.seed, "teaching noise")
    return TeachingNoise(engine.net, chip, leaves, amount, seed=seed)
