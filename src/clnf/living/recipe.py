"""What a run is made of, as a TOML file with every choice in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, final

from pydantic import AfterValidator, Field, ValidationError, model_validator

from clnf.core.errors import ConfigError, DeviceLimitError, RunError
from clnf.core.ledger import NO_LESSONS
from clnf.core.toml import broken_rule, load_toml
from clnf.devices.families import cell
from clnf.living.concepts import Concepts
from clnf.living.pictures import safe_name
from clnf.living.recipe_care import AbstractPart, DriftPart, HeatPart, LevellingPart
from clnf.media.unet import UNetParams
from clnf.streams.bundled import CORE_FAMILIES, family

__all__ = [
    "AdapterPart",
    "ChipPart",
    "DriftPart",
    "GuardPart",
    "HeatPart",
    "LearnPart",
    "LessonPart",
    "LevellingPart",
    "MaskPart",
    "ProbePart",
    "Recipe",
    "check_run",
    "load_recipe",
]

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _not_one(bits: int) -> int:
    if bits == 1:
        raise ValueError("one bit leaves a signed converter no steps; take 0 for none, or 2 to 16")
    return bits


def _known(look_up: Callable[[str], object]) -> AfterValidator:
    """A rule: the name is one that ``look_up`` finds."""

    def rule(name: str) -> str:
        try:
            look_up(name)
        except (ConfigError, DeviceLimitError) as error:
            raise ValueError(str(error)) from None
        return name

    return AfterValidator(rule)


def _stores(name: str) -> None:
    """A material whose cells can be programmed; raises DeviceLimitError where they cannot."""
    one = cell(name)
    one.need(one.window)
    one.need(one.programming)


def _learns(name: str) -> None:
    """A material whose cells can be pulsed; the chip borrows what else it lacks."""
    one = cell(name)
    one.need(one.response)


Bits = Annotated[int, Field(ge=0, le=16), AfterValidator(_not_one)]
CoreName = Annotated[str, _known(_stores)]
PlasticName = Annotated[str, _known(_learns)]
FamilyName = Annotated[str, _known(family)]


@final
class ChipPart(AbstractPart):
    """Which cells the weights live on and how they are read and written."""

    core: CoreName = "gst_pcm"
    plastic: PlasticName = "hfo2_array_optimised"
    pairs: Positive = 4
    plastic_range: Annotated[float, Field(gt=0.0)] = 3.0
    tile_rows: Positive = 288
    tile_columns: Positive = 64
    plastic_tile_rows: Positive = 144
    wire_ohm: Annotated[float, Field(ge=0.0)] = 1.06
    dac_bits: Bits = 8
    adc_bits: Bits = 8
    compute: Literal["float32", "bfloat16"] = "float32"
    hours_between_lessons: Annotated[float, Field(ge=0.0)] = 24.0
    half_select: Share = 0.0
    spare_columns: Annotated[int, Field(ge=0, le=64)] = 0


@final
class AdapterPart(AbstractPart):
    """The low-rank layers that learn."""

    rank: Annotated[int, Field(gt=0, le=256)] = 8
    scale: Annotated[float, Field(gt=0.0)] = 1.0
    own: Annotated[int, Field(ge=0)] = 0
    lessons: Annotated[int, Field(ge=0, le=64)] = 0

    @model_validator(mode="after")
    def _own_fit(self) -> Self:
        least, most = len(CORE_FAMILIES), UNetParams().concepts - 1
        if self.own and not least <= self.own <= most:
            raise ValueError(
                f"adapters of their own are for 0, or for {least} to {most} concepts, got "
                f"{self.own}; the first {least} are what the core knows"
            )
        if self.own and self.lessons:
            raise ValueError(
                f"own is {self.own} and lessons is {self.lessons}, but an adapter is a concept's "
                "or a lesson's; set one of them to 0"
            )
        return self

    @property
    def rows(self) -> int:
        """Rows of the concept table in use, the one for no concept included."""
        return self.own + 1 if self.own else UNetParams().concepts


@final
class LearnPart(AbstractPart):
    """How a lesson is taught."""

    steps: Positive = 100
    batch: Positive = 20
    lr: Annotated[float, Field(gt=0.0)] = 1e-2
    digital_lr: Annotated[float, Field(gt=0.0)] = 3e-2
    final_lr: Share = 0.1
    clip_norm: Annotated[float, Field(gt=0.0)] = 1.0
    shift: Annotated[int, Field(ge=0, le=4)] = 1
    noise_weight: Share = 0.0
    noise_read: Share = 0.0
    noise_bits: Bits = 0
    write_budget: Annotated[int, Field(ge=0)] = 0


@final
class GuardPart(AbstractPart):
    """What protects known things; each line can be switched off by itself."""

    rehearsal: bool = True
    memory_per_family: Positive = 24
    rehearsed: Positive = 20
    rehearsed_core: Positive = 8
    coefficient: Annotated[float, Field(ge=0.0)] = 1.0
    rehearsal_weight: Annotated[float, Field(ge=0.0)] = 0.0
    distil: Annotated[float, Field(ge=0.0)] = 0.0
    c_lora: Annotated[float, Field(ge=0.0)] = 0.0
    o_lora: Annotated[float, Field(ge=0.0)] = 0.0
    ewc: bool = True
    ewc_strength: Annotated[float, Field(ge=0.0)] = 50.0
    fence: bool = True
    fence_fraction: Share = 0.05
    fisher_samples: Positive = 48
    gate: bool = True
    monitor: bool = True


@final
class MaskPart(AbstractPart):
    """Write masks of cells, from importance measured on the array."""

    kind: Literal["none", "fisher", "sensitivity", "activity", "random"] = "none"
    share: Share = 0.05
    most: Share = 0.5
    bits: Annotated[int, Field(ge=0, le=8)] = 0
    samples: Positive = 48

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if self.bits and self.kind == "random":
            raise ValueError("random masks shut cells, they grade none; take bits 0")
        if self.bits and not (0 < self.share < 1 and 0 < self.most < 1):
            raise ValueError("graded masks need share and most between 0 and 1, both left out")
        return self


@final
class ProbePart(AbstractPart):
    """What is measured before and after each lesson, and what may not be lost."""

    samples: Annotated[int, Field(ge=2)] = 16  # a distance needs two
    steps: Positive = 4
    guidance: Annotated[float, Field(gt=0.0)] = 2.0
    tolerance: Share = 0.2
    mean_tolerance: Share = 0.08
    learned_tolerance: Share = 0.6
    kid_tolerance: Annotated[float, Field(gt=0.0)] = 0.7
    good_enough: Share = 0.8
    nothing_new: Annotated[float, Field(gt=0.0)] = 1.1
    during: Annotated[int, Field(ge=0)] = 0


@final
class LessonPart(AbstractPart):
    """One lesson: pictures of a family taught under a concept's name."""

    name: str
    family: FamilyName
    concept: str
    poisoned: bool = False
    moved: bool = False
    mask: Annotated[float | None, Field(ge=0.0, le=1.0)] = None


@final
class Recipe(AbstractPart):
    """All choices of a run."""

    name: str
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    core: Literal["emoji_core"] = "emoji_core"
    chip: ChipPart = ChipPart()
    adapter: AdapterPart = AdapterPart()
    learn: LearnPart = LearnPart()
    guards: GuardPart = GuardPart()
    mask: MaskPart = MaskPart()
    levelling: LevellingPart = LevellingPart()
    heat: HeatPart = HeatPart()
    drift: DriftPart = DriftPart()
    probe: ProbePart = ProbePart()
    snapshot_steps: Positive = 40
    undo_points: Annotated[int, Field(ge=0, le=1000)] = 3
    compare: bool = True
    lesson: Annotated[tuple[LessonPart, ...], Field(strict=False)] = ()  # TOML has lists

    @model_validator(mode="after")
    def _moves_have_room(self) -> Self:
        part = self.levelling
        if part.every and not (self.chip.spare_columns or part.tiles or part.exchange):
            raise ValueError(
                f"levelling.every is {part.every}, but there are no columns to move to; set "
                "chip.spare_columns or levelling.tiles, or levelling.every to 0"
            )
        return self

    @model_validator(mode="after")
    def _adapters_meet(self) -> Self:
        if self.guards.c_lora and self.adapter.own:
            raise ValueError(
                f"guards.c_lora is {self.guards.c_lora:g}, but concepts with adapters of their own "
                "never meet; set it to 0, or adapter.own to 0"
            )
        if self.guards.o_lora and not self.adapter.lessons:
            raise ValueError(
                f"guards.o_lora is {self.guards.o_lora:g}, but no lesson has adapters of its own "
                "to hold apart from earlier ones; set adapter.lessons to the lessons of the run "
                "and those to come, or guards.o_lora to 0"
            )
        if self.adapter.lessons and len(self.lesson) > self.adapter.lessons:
            raise ValueError(
                f"there are adapters for {self.adapter.lessons} lessons and {len(self.lesson)} "
                "lessons; set adapter.lessons to as many or more"
            )
        return self

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        """Rows, pictures and the bill are kept under these names; none may be another's."""
        concepts = Concepts(list(CORE_FAMILIES), rows=self.adapter.rows)
        taken = {"start", *NO_LESSONS}
        for lesson in self.lesson:
            mine = safe_name(lesson.name).casefold()
            ours = mine.endswith(("rolled_back", "calibrated")) or mine.startswith("undone_")
            if mine in taken or ours or not lesson.name.strip():
                raise ValueError(f"lesson {lesson.name!r} needs a name that no other row has")
            taken.add(mine)
            if lesson.mask is not None and self.mask.kind == "none":
                raise ValueError(f"lesson {lesson.name!r} asks for a mask; choose mask.kind first")
            if lesson.mask in (0.0, 1.0) and self.mask.bits:
                raise ValueError(
                    f"lesson {lesson.name!r} asks for a graded mask of share {lesson.mask:g}; "
                    "take one between 0 and 1"
                )
            try:
                concepts.add(lesson.concept)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self

    def changed(self, part: str, **values: Any) -> "Recipe":
        """The same recipe with some values of one part replaced and checked again."""
        tree = self.model_dump()
        tree[part] = {**tree[part], **values}
        return Recipe.model_validate(tree)

    def plain(self) -> "Recipe":
        """The comparison: same cells, stream and seed, no guards, no masks and no verdicts.

        All concepts and lessons share one set of adapters. A gate stays, so that the difference
        shown is forgetting and not a broken input.
        """
        tree = self.model_dump()
        tree["adapter"] |= {"own": 0, "lessons": 0}
        tree["guards"] |= {"rehearsal": False, "ewc": False, "fence": False, "monitor": False}
        tree["guards"] |= {"distil": 0.0, "c_lora": 0.0, "o_lora": 0.0}
        tree["mask"] = MaskPart().model_dump()
        if self.drift.watch:  # its cells are kept in order alike
            tree["drift"] |= {"data": "nothing", "harm": "nothing"}
        for lesson in tree["lesson"]:
            lesson["mask"] = None
        return Recipe.model_validate(tree)

    def quick(self) -> "Recipe":
        """The same lessons in a fraction of the time: few steps, small batches, few samples."""
        tree = self.model_dump()
        tree["learn"]["steps"] = 16
        tree["learn"]["batch"] = 16
        tree["learn"]["write_budget"] //= 4  # first steps take more than later ones
        tree["guards"] |= {"rehearsed": 12, "rehearsed_core": 5, "fisher_samples": 8}
        # Six pictures of something learned in a few steps: their match is noisy.
        tree["probe"] |= {"samples": 6, "learned_tolerance": 0.9}
        tree["drift"]["look"] = min(tree["drift"]["look"], 6) if self.drift.watch else 16
        tree["snapshot_steps"] = 16  # a snapshot takes as long as some steps: between lessons only
        return Recipe.model_validate(tree)


def _parse_recipe(values: dict[str, Any], where: str) -> Recipe:
    """Check values against the recipe's model.

    Raises:
        ConfigError: a key is unknown or a value is out of range; names key, value and rule.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {broken_rule(error)}") from None


def check_run(folder: Path) -> None:
    """Refuse a folder that is no run, and say which is.

    Args:
        folder: which should hold a run's recipe.

    Raises:
        RunError: there is no run in it.
    """
    if (folder / "recipe.toml").is_file():
        return
    if folder.exists() and (folder.parent / "recipe.toml").is_file():
        what = "an arm" if folder.is_dir() else "a file"
        raise RunError(f"{folder} is {what} of a run; give the run itself, {folder.parent}")
    runs = sorted(path.parent.name for path in folder.glob("*/recipe.toml"))
    if runs:
        raise RunError(f"{folder} holds runs; give one of them, such as {folder / runs[0]}")
    raise RunError(f"no run in {folder}; `clnf run` makes one")


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe file.

    Raises:
        ConfigError: the file is missing, not TOML, or breaks a rule.
    """
    return _parse_recipe(load_toml(path), str(path))
