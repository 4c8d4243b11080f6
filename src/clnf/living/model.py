"""A living model: a generator whose weights are cells, its learner, and what it can be asked."""

from collections.abc import Iterator
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from clnf.chip.crossbar.wiring import Wires
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.chip.updates import PulseRule
from clnf.continual.adapters import CLoRA, CLoRAParams, OLoRA, OLoRAParams, attach
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards.distil import Distillation, DistillationParams
from clnf.continual.guards.ewc import EWC, EWCParams
from clnf.continual.guards.fence import Fence, FenceParams
from clnf.continual.guards.reduced import ReducedRehearsal
from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced
from clnf.core.protocols import Guard
from clnf.core.records import Experience, Kind
from clnf.core.rng import fold
from clnf.devices.materials import material
from clnf.living.apart import Apart
from clnf.living.budget import Budgeted
from clnf.living.concepts import Concepts
from clnf.living.edits import Edits
from clnf.living.features import Features
from clnf.living.hardware import Hardware
from clnf.living.lesson_adapters import LessonAdapters
from clnf.living.recipe import ChipPart, Recipe
from clnf.living.rows import OwnRow
from clnf.living.warmth import supplied
from clnf.living.write_masks import by_tile
from clnf.media.bundled import load_core
from clnf.media.unet import NULL_CONCEPT

__all__ = ["LivingModel"]

# Samples held for rehearsal: so many of each family the concept table has room for in a run.
_FAMILIES = 16
# Points of earlier walks in each step: as many new samples as a lesson has, or a few less.
_DISTILLED = 16


@final
class LivingModel:
    """Everything that learns, assembled from a recipe.

    The bundled core knowledge goes into non-volatile cells, once; low-rank adapters beside it
    live in plastic cells and learn by pulses. The row of a new concept in the look-up table is
    digital.

    Args:
        recipe: all choices; equal recipes give equal models.
        device: where weights and cells live and torch works on them. Draws are the same
            everywhere, sums round differently: bits repeat on one kind of device only.
        blank: leave plastic cells as they come, for who loads a snapshot at once.
    """

    def __init__(
        self, recipe: Recipe, device: torch.device | str = "cpu", *, blank: bool = False
    ) -> None:
        self.recipe = recipe
        self.engine, facts = load_core()
        self.core: tuple[str, ...] = tuple(facts["families"])
        self.concepts = Concepts(facts["families"], rows=recipe.adapter.rows)
        self.engine.requires_grad_(False)
        part = recipe.adapter
        rank, scale, seed = part.rank, part.scale, recipe.seed
        self.apart: Apart | None = None
        if part.own:
            self.apart = Features(
                self.engine, part.own, rank=rank, scale=scale, seed=seed, only=_adapted
            )
        elif part.lessons:
            self.apart = LessonAdapters(
                self.engine, part.lessons, rank=rank, scale=scale, seed=seed, only=_adapted
            )
        else:
            attach(self.engine.net, rank=rank, scale=scale, seed=seed, only=_adapted)
        self.engine.to(device)
        leaves = dict(self.engine.named_modules())
        self.chip: Chip = host(
            self.engine,
            assign=_cells_for,
            seed=fold(recipe.seed, "chip"),
            spec=_spec(recipe.chip, supplied(recipe.heat)),
            blank=self.apart.waits if self.apart and not blank else blank,
        )
        self.engine.net.concept.requires_grad_(True)
        self.gates = self.apart.gates(self.chip, self.engine) if self.apart else None
        self.learner = self._learner()
        optimizer = self.learner.optimizer
        budget = optimizer if isinstance(optimizer, Budgeted) else None
        self.hardware = Hardware(self.engine, self.chip, recipe, leaves, budget)

    def _learner(self) -> Learner:
        recipe, guards = self.recipe, self.recipe.guards
        optimizer = self.chip.optimizer(
            self.engine.parameters(),
            lr=recipe.learn.lr,
            rule=PulseRule(digital_lr=recipe.learn.digital_lr),
        )
        names = [n for n, p in self.engine.named_parameters() if p.requires_grad]
        fisher = Fisher(
            self.engine,
            [n for n in names if not n.endswith("concept.weight")],
            FisherParams(samples=guards.fisher_samples),
            seed=fold(recipe.seed, "fisher"),
        )
        chosen: list[Guard] = list(self._rehearsals()) if guards.rehearsal else []
        chosen += self._generator_guards()
        if guards.ewc:
            chosen.append(EWC(fisher, EWCParams(strength=guards.ewc_strength)))
        if guards.fence:
            params = FenceParams(fraction=guards.fence_fraction)
            chosen.append(Fence(fisher, params, optimizer=optimizer))
        if guards.fence or recipe.adapter.own:
            chosen.append(OwnRow(self.engine.net.concept))
        chosen.append(Edits(self.engine.net))
        learn = recipe.learn
        budgeted: torch.optim.Optimizer = optimizer
        if learn.write_budget:
            budgeted = Budgeted(optimizer, budget=learn.write_budget, steps=learn.steps)
        return Learner(
            self.engine,
            budgeted,
            guards=chosen,
            seed=fold(recipe.seed, "learner"),
            clip_norm=learn.clip_norm,
        )

    def _generator_guards(self) -> Iterator[Guard]:
        """Guards for generators that the recipe asks for."""
        part = self.recipe.guards
        if part.distil:
            params = DistillationParams(
                strength=part.distil,
                samples=_DISTILLED,
                guidance=self.recipe.probe.guidance,
                renew=False,  # a copy of a copy fades, and asking anew is reads of the chip
            )
            seed = fold(self.recipe.seed, "distil")
            yield Distillation(self.engine, (3, 32, 32), params, seed=seed, also=(NULL_CONCEPT,))
        if part.c_lora:
            yield CLoRA(self.engine, CLoRAParams(strength=part.c_lora))
        if part.o_lora:
            yield OLoRA(self.engine, OLoRAParams(strength=part.o_lora))

    def _rehearsals(self) -> Iterator[Guard]:
        """Two memories: core cells never change, so what adapters learned needs more rehearsal."""
        guards, seed = self.recipe.guards, self.recipe.seed
        shares: dict[str, tuple[int, tuple[Kind, ...]]] = {
            "core memory": (guards.rehearsed_core, ("core",)),
            "memory": (guards.rehearsed, ("new", "feedback")),
        }
        for place, (samples, kinds) in shares.items():
            apart = guards.rehearsal_weight
            memory = Balanced(guards.memory_per_family * _FAMILIES, seed=fold(seed, place))
            params = RehearsalParams(
                samples=samples,
                coefficient=apart or guards.coefficient,
                offered=guards.memory_per_family,
                kinds=kinds,
            )
            if apart:
                yield ReducedRehearsal(self.engine, memory, params)
            else:
                yield Rehearsal(memory, params)

    def prepare(self, core: Experience) -> dict[str, float]:
        """Program the core knowledge into its cells and let guards take note of it.

        Returns:
            Relative programming error per layer.
        """
        errors = self.chip.program_core()
        self.hardware.prepared()
        for guard in self.learner.guards:
            guard.begin(core)
        self.consolidate(core, core)
        return errors

    def make_ready(self, concept: str) -> None:
        """Write the adapters of a concept's own that its first lesson starts from.

        Call it before :meth:`capture`; nothing where it was taught, or all share adapters.

        Raises:
            ConfigError: there is no room for the concept.
        """
        if self.apart is not None:
            self.apart.write(self.concepts.place(concept))

    def begin(self, lesson: str, concept: str) -> None:
        """Start a lesson with a fresh optimizer, the masks it asks for and the tiles it may write.

        Momentum left from the last lesson would go on writing what that lesson taught.

        Args:
            lesson: its name.
            concept: what it teaches; its own tiles are open, if it has some, all others shut.

        Raises:
            RunError: each lesson has adapters of its own, and none are left.
        """
        self.learner.optimizer.state.clear()
        self.hardware.begin(lesson, self._fences())
        if self.apart is not None:
            self.apart.begin(self.concepts.place(concept))

    def close(self) -> None:
        """Open all groups of tiles again, once a lesson is taught."""
        if self.gates is not None:
            self.gates.close()

    def pace(self, share: float) -> None:
        """Set the learning rates for a lesson of which ``share`` (0 to 1) is taught.

        They fall in a straight line: the last steps settle what the first ones moved.
        """
        part = self.recipe.learn
        left = 1 - (1 - part.final_lr) * share
        for group in self.learner.optimizer.param_groups:
            group["lr"] = left * (part.digital_lr if group["kind"] == "digital" else part.lr)

    def consolidate(self, experience: Experience, core: Experience) -> None:
        """Let guards keep what was committed, and close the write gates of fenced cells.

        Where there are masks too, each cell gets the smaller share of pulses of both.

        Args:
            experience: the lesson.
            core: samples of the core, on which masks are measured as well.
        """
        self.learner.consolidate(experience)
        if self.apart is not None:
            self.apart.keep()
        self.hardware.consolidate(experience, core, self._fences())
        if self.hardware.masks is None:
            self._shut()

    def _shut(self) -> None:
        """Close the write gates of what the digital fence holds."""
        for guard in self.learner.guards:
            if isinstance(guard, Fence):
                for name, mask in guard.masks.items():
                    self.chip.set_fence(name.removesuffix(".weight"), mask)

    def _fences(self) -> dict[str, Tensor]:
        """What the digital fence holds, by tile; empty without one, or where nobody asks."""
        fences: dict[str, Tensor] = {}
        if self.hardware.masks is None:
            return fences
        for guard in self.learner.guards:
            if isinstance(guard, Fence):
                held = {name.removesuffix(".weight"): mask for name, mask in guard.masks.items()}
                fences |= by_tile(self.chip, held)
        return fences

    def capture(self) -> dict[str, Any]:
        """What a roll-back returns to: cells, digital weights, learner."""
        return {
            "cells": _plastic_only(self.chip),
            "digital": _digital(self.engine, self.chip),
            "learner": self.learner.state_dict(),
            "concepts": self.concepts.state_dict(),
            **self._own(),
        }

    def _own(self) -> dict[str, Any]:
        return {} if self.apart is None else {"apart": self.apart.state_dict()}

    def roll_back(self, origin: dict[str, Any]) -> float:
        """Re-program the plastic cells to an earlier state and restore everything digital.

        The cells are written and verified one by one; time, energy and wear go on.

        Returns:
            Root-mean-square error left in the cells, in full scales.
        """
        left = self.chip.restore_plastic(origin["cells"])
        _load_digital(self.engine, origin["digital"])
        if self.apart is not None:
            self.apart.load_state_dict(origin["apart"])
        self.learner.load_state_dict(origin["learner"])
        self.concepts.load_state_dict(origin["concepts"])
        return left

    def take_back(self, origin: dict[str, Any]) -> float:
        """Roll back a lesson that was committed: cells that were shut for it open again, too.

        Args:
            origin: what :meth:`capture` gave, and the state of masks under "masks" where there
                are any.

        Returns:
            Root-mean-square error left in the cells, in full scales.
        """
        left = self.roll_back(origin)
        self._shut()
        self.hardware.return_to(origin, self._fences())
        return left

    def return_to(self, parts: dict[str, dict[str, Any]]) -> float:
        """Go physically back to a snapshot of this chip between two lessons.

        Cells are written as in :meth:`roll_back`. Masks and write gates are again those of then;
        what time did to the cells, moves of columns and the bill stay.

        Args:
            parts: what :meth:`state_dict` gave then.

        Returns:
            Root-mean-square error left in the cells, in full scales.
        """
        model = dict(parts["model"])
        kept: dict[str, Any] = {n: model.pop(n) for n in ("concepts", "apart") if n in model}
        model.pop("gates", None)
        origin: dict[str, Any] = {"cells": parts["chip"], "digital": model, **kept}
        left = self.roll_back({**origin, "learner": parts["learner"]})
        self._shut()
        self.hardware.return_to(parts.get("hardware", {}), self._fences())
        return left

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Parts of a snapshot: model, cells that store, the rest of the chip, and learner."""
        whole = self.chip.state_dict()
        stored = {key for key, value in whole.items() if _is_stored(self.chip, key, value)}
        return {
            "model": {
                **_digital(self.engine, self.chip),
                "concepts": self.concepts.state_dict(),
                **({} if self.gates is None else {"gates": self.gates.state_dict()}),
                **self._own(),
            },
            "core": {key: whole[key] for key in whole if key in stored},
            "chip": {key: whole[key] for key in whole if key not in stored},
            "learner": self.learner.state_dict(),
            **({"hardware": hardware} if (hardware := self.hardware.state_dict()) else {}),
        }

    def load_state_dict(self, parts: dict[str, dict[str, Any]]) -> None:
        """Restore what :meth:`state_dict` gave, bit for bit."""
        model = dict(parts["model"])
        gates, apart = model.pop("gates", None), model.pop("apart", None)
        self.concepts.load_state_dict(model.pop("concepts"))
        _load_digital(self.engine, model)
        self.hardware.load_homes(parts.get("hardware", {}))
        self.chip.load_state_dict({**parts["core"], **parts["chip"]})
        if self.gates is not None and gates is not None:
            self.gates.load_state_dict(gates)
        if self.apart is not None and apart is not None:
            self.apart.load_state_dict(apart)
        self.learner.load_state_dict(parts["learner"])
        self.hardware.load_state_dict(parts.get("hardware", {}))


def _spec(part: ChipPart, values: dict[str, float]) -> ChipSpec:
    """The chip of a recipe; its wires are solved when a tile is written, and then carried on.

    What the recipe supplies for its cells is ``values``, by key of the catalogue.
    """
    same = part.model_dump(exclude={"hours_between_lessons", "wire_ohm"})
    ohm = part.wire_ohm
    wires = Wires(word_ohm=ohm, bit_ohm=ohm) if ohm else None
    if values:
        same |= {name: material(same[name]).supply(**values) for name in ("core", "plastic")}
    return ChipSpec(**same, wires=wires, exact_wires=False)


def _adapted(name: str, leaf: nn.Module) -> bool:
    """Adapters go on the 3x3 convolutions and on what the concept modulates."""
    return (isinstance(leaf, nn.Conv2d) and leaf.kernel_size == (3, 3)) or "modulate" in name


def _cells_for(name: str, leaf: nn.Module) -> Literal["core", "plastic"]:
    """Adapter factors live in plastic cells, everything else in non-volatile ones."""
    return "plastic" if name.endswith((".down", ".up")) else "core"


def _is_stored(chip: Chip, key: str, value: Any) -> bool:
    """Whether a state is of cells that were programmed once: no lesson changes it.

    A drift correction does change, and so does how warm they are; a snapshot finds the rest as
    the last one left it.
    """
    name, _, inner = key.partition("/")
    layer = chip.layers.get(name)
    stored = layer is not None and not layer.plastic and isinstance(value, Tensor)
    return stored and not inner.endswith(("/compensation", "/uneven"))


def _plastic_only(chip: Chip) -> dict[str, Any]:
    """State of the plastic layers alone; stored cells do not change in a lesson."""
    blank = [name for name, layer in chip.layers.items() if layer.blank]
    held = {
        f"{name}/{key}": value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
        for name, layer in chip.layers.items()
        if layer.plastic and name not in blank
        for key, value in layer.state().items()
    }
    return held | ({"blank": blank} if blank else {})


def _digital(engine: nn.Module, chip: Chip) -> dict[str, Tensor]:
    """Tensors that no cell holds, copied to the CPU: look-ups, norms and biases."""
    held = {f"{name}.weight" for name in chip.layers}
    return {
        name: value.detach().to("cpu", copy=True)
        for name, value in engine.state_dict().items()
        if name not in held
    }


@torch.no_grad()
def _load_digital(engine: nn.Module, tensors: dict[str, Tensor]) -> None:
    present = dict(engine.state_dict())
    for name, value in tensors.items():
        present[name].copy_(value)
