"""What a run does when something changed: its data, its hardware, or what it knows.

Between two lessons time passes and cells drift; the lesson before may have done harm that its own
verdict did not see; and the next one may bring something new. A recipe that watches asks for each,
and does what :func:`clnf.streams.policy.decide` says:

    news in a lesson        guards hold anew what is remembered, before the lesson begins
    cells read otherwise    columns are calibrated
    what was known fell     columns are calibrated; where that does not help, the lesson that was
                            kept last is taken back: cells, learner and all

Looking costs products and pictures. They are charged under "calibration", which is no lesson.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import torch

from clnf.continual.guards.ewc import EWC
from clnf.continual.guards.reduced import ReducedRehearsal
from clnf.continual.guards.rehearsal import Rehearsal
from clnf.continual.memory import AbstractMemory
from clnf.continual.metrics import guard_bytes
from clnf.core.records import Experience, Quality, Verdict
from clnf.core.rng import fold, torch_rng
from clnf.living.lessons import Lessons, Offered
from clnf.living.model import LivingModel
from clnf.living.monitor import HardwareProbe, KeepKnowledge, MonitorParams, worst_fall
from clnf.living.probes import DrawProbe
from clnf.living.recipe import ProbePart
from clnf.streams.policy import Decision, DriftPolicy, Signals, decide
from clnf.streams.sources import ArraySource

__all__ = ["Changes", "monitor"]

_LESSON = "calibration"
# From here on converters get new ranges too: one that is a quarter too wide costs 0.4 bits. Sending
# typical pictures through the model costs far more than calibrating columns.
_FAR = 0.25


def monitor(core: tuple[str, ...], origin: Quality, part: ProbePart) -> KeepKnowledge:
    """The judge of lessons that a recipe asks for."""
    params = MonitorParams(
        tolerance=part.tolerance,
        mean_tolerance=part.mean_tolerance,
        learned_tolerance=part.learned_tolerance,
        kid_tolerance=part.kid_tolerance,
    )
    return KeepKnowledge(core=core, origin=origin, params=params)


@final
class Changes:
    """Sees what changed in a run, and answers it.

    A second look draws other pictures than a verdict does, and is held against the first of its
    own. Until it was good, the gate remembers nothing of a lesson, and what the lesson started from
    is kept. Where nobody watches, cells that store are calibrated before each lesson, whatever they
    do.

    Args:
        model: whose cells, guards and knowledge are looked after.
        lessons: its stream.
        probe: the one of verdicts.

    Attributes:
        probe: draws the pictures of the second look; None where there is none.
        undone: number of the lesson that was taken back when time last passed; None for none.
    """

    def __init__(self, model: LivingModel, lessons: Lessons, probe: DrawProbe) -> None:
        self.model, self.lessons, self.part = model, lessons, model.recipe.drift
        self.policy = DriftPolicy(
            probe_tolerance=0.0,  # the monitor has tolerances of its own
            hardware_tolerance=self.part.tolerance,
            responses={
                "data": self.part.data,
                "step": "nothing",
                "hardware": self.part.hardware,
                "harm": self.part.harm,
            },
        )
        self.hardware = HardwareProbe(model.chip)
        self.probe: DrawProbe | None = None
        if self.part.watch and self.part.look and self.part.harm != "nothing":
            drawn = model.recipe.probe.model_copy(update={"samples": self.part.look})
            seed = fold(model.recipe.seed, "second look")
            self.probe = probe.other(drawn, seed=seed)
        self._usual = probe
        self.undone: int | None = None
        self._lesson = ""
        self._origin, self._last = Quality(), Quality()
        self._kept: tuple[int, Offered] | None = None

    @property
    def open(self) -> bool:
        """Whether a lesson was kept that no second look has confirmed."""
        return self._kept is not None

    def began(self) -> None:
        """The core is in its cells: what is seen now is what later looks are held against."""
        if self.part.watch:
            with self._charged():
                self.hardware.note()
                self.hardware.settle()
                self._origin = self._last = self._look()

    def kept(self, number: int, offered: Offered) -> None:
        """A lesson was committed."""
        if self.probe is None:
            self.lessons.committed(number, offered)
        else:
            self._kept = number, offered

    def settled(self) -> None:
        """A lesson has its verdict: cells that learn hold what they are to hold."""
        if self.part.watch:
            with self._charged():
                self.hardware.note()

    def pass_time(self, seconds: float, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Let time pass, see what changed meanwhile, and answer it.

        Args:
            seconds: >= 0.
            before: what the lesson that was kept last started from, see :meth:`capture`.

        Yields:
            Each answer, as the journal has it.
        """
        self.undone = None
        self.model.hardware.wait(seconds)
        if not self.part.watch:
            self.model.chip.recalibrate()
            return
        with self._charged():
            self._settle_converters()
            off = self._worst()
            seen = self._fall()
            found = decide(Signals(taught=False, hardware=off[0], probe_drop=seen[0]), self.policy)
            if found.response == "recalibrate":
                yield self._recalibrate(found, off)
                seen = self._fall()
        if self._kept is not None:
            yield from self._confirm(seen, before)
        elif seen[0] > 0.0:
            why = f"{seen[1]}, and no lesson was kept since the last good look"
            yield self._row(Decision(response="nothing", change="hardware", reason=why))

    def _confirm(self, seen: tuple[float, str], before: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Keep the last lesson for good, or take it back."""
        assert self._kept is not None
        number, offered = self._kept
        found = decide(Signals(probe_drop=seen[0]), self.policy)
        self._kept = None
        if found.response != "rollback":
            self.lessons.committed(number, offered)
            return
        chip, name = self.model.chip, self.lessons.name(number)
        lesson, chip.ledger.lesson = chip.ledger.lesson, name
        spent = [chip.ledger.total(lesson=name, op=op) for op in ("pulse", "verify")]
        left = self.model.take_back(before)
        now = [chip.ledger.total(lesson=name, op=op) for op in ("pulse", "verify")]
        chip.ledger.lesson = lesson
        self.undone = number
        with self._charged():
            self.hardware.note()
        energy_aj = sum(one.energy_aj for one in now) - sum(one.energy_aj for one in spent)
        found = replace(found, reason=f"after {name!r} was kept, {seen[1]}")
        yield self._row(
            found,
            undone=name,
            rms_error=left,
            pulses=now[0].count - spent[0].count,
            energy_aj=energy_aj,
        )

    def news(self, offered: Offered) -> dict[str, Any] | None:
        """Hold what is known before a lesson that brings something new; None for no answer."""
        found = decide(Signals(news=offered.news), self.policy)
        if found.response != "consolidate":
            return None
        spent = self.model.chip.ledger.total().energy_aj
        with self._charged():
            held = self._hold()
        spent = self.model.chip.ledger.total().energy_aj - spent
        return self._row(found, held=held, energy_aj=spent)

    def warm(self) -> dict[str, Any] | None:
        """Before a lesson is undone for harm: calibrate if cells read otherwise; None if not."""
        if not self.part.watch:
            return None
        with self._charged():
            off = self._worst()
            found = decide(Signals(hardware=off[0]), self.policy)
            return self._recalibrate(found, off) if found.response == "recalibrate" else None

    def _recalibrate(self, found: Decision, off: tuple[float, str]) -> dict[str, Any]:
        far = off[0] >= _FAR
        done = self.hardware.recalibrate(reads=1, inputs=self._typical if far else None)
        return self._row(
            found,
            drift=off[0],
            tile=off[1],
            ranges=far,
            off_before=done.off_before,
            off_after=done.off_after,
            energy_aj=done.cost.energy_aj,
        )

    @torch.no_grad()
    def _typical(self) -> None:
        """Send a picture of each core family through the model."""
        core, engine = self.lessons.core(), self.model.engine
        total, families = len(core.data), len(self.model.core)
        batch = core.data.take(torch.arange(families) * total // families)
        engine.eval()
        engine.loss(batch, torch_rng(self.model.recipe.seed, "typical inputs"))

    def _settle_converters(self) -> None:
        """Converters of cells that learn take ranges from what comes next; that costs nothing."""
        for layer in self.model.chip.layers.values():
            for converter in (layer.dac, *layer.adcs) if layer.plastic else ():
                converter.range = 0.0

    def _hold(self) -> list[str]:
        """Measure anew, with the weights as they are, how much they matter for each concept.

        Importance was measured right after each lesson, that of the core before there was any, and
        weights moved since. It is replaced by the sum over concepts, and the anchor moved here.

        Returns:
            Whose importance was measured; nobody's where no guard weighs by it.
        """
        learner, names = self.model.learner, ["", *self.model.concepts.names]
        weighing = [guard for guard in learner.guards if isinstance(guard, EWC)]
        if not weighing:
            return []
        known: dict[str, Experience] = {}
        for guard in learner.guards:
            if not isinstance(guard, (Rehearsal, ReducedRehearsal)):
                continue
            if isinstance(guard.memory, AbstractMemory) and len(guard.memory):
                batch = guard.memory.all()
                for row in torch.unique(batch.cond).tolist():
                    kept = batch.select(batch.cond == row)
                    data = ArraySource(kept.x, kept.cond)
                    known[names[row]] = Experience(name=names[row], concept=names[row], data=data)
        for guard in weighing:
            if known:
                guard.load_state_dict({"held": False})
                for experience in known.values():
                    guard.consolidate(experience)
        return list(known)

    def _worst(self) -> tuple[float, str]:
        """Largest drift of a tile, and which."""
        off = self.hardware.off()
        name = max(off, key=lambda one: off[one]) if off else ""
        return off.get(name, 0.0), name

    def _look(self) -> Quality:
        if self.probe is None:
            return Quality()
        model = self.model
        model.engine.eval()
        with torch.no_grad():
            return self.probe.measure(model.engine, model.concepts.names, model.concepts)

    def _fall(self) -> tuple[float, str]:
        """By how much too much what is known fell since the last good look, 0 if it did not."""
        if self.probe is None:
            return 0.0, ""
        now, model = self._look(), self.model
        judge = monitor(model.core, self._origin, model.recipe.probe)
        verdict: Verdict = judge.judge(self._last, now)
        if verdict.action != "rollback":
            self._last = now
            return 0.0, verdict.reason
        # A KID that rose counts even where no match fell.
        return max(worst_fall(verdict, self._origin, model.core), 1e-9), verdict.reason

    def look_inside(self, done: int, row: Quality) -> dict[str, Any] | None:
        """Match of what was known, in the middle of a lesson; None where nobody asks now.

        Args:
            done: steps of the lesson so far.
            row: the last measurement before it.
        """
        model, recipe = self.model, self.model.recipe
        every = recipe.probe.during
        if not every or done % every or done >= recipe.learn.steps:
            return None
        known = [one for one in row.measures["match"] if one in model.concepts.names]
        model.engine.eval()
        with torch.no_grad(), self._charged():
            seen = self._usual.measure(model.engine, known, model.concepts)
        return {"lesson": self._lesson, "done": done, "match": seen.measures["match"]}

    def facts(self) -> dict[str, Any]:
        """What a verdict says of guards: the bytes they hold, by kind."""
        return {"memory_bytes": guard_bytes(self.model.learner.guards)}

    def go_back(self, parts: Mapping[str, Any]) -> None:
        """The run went back to a snapshot because a person wished it, who vouches for it.

        Args:
            parts: of the snapshot; the gate knows again what it knew then.
        """
        if not self.part.watch:
            return
        self.load_state_dict(parts)
        if self._kept is not None:
            self.lessons.committed(*self._kept)
            self._kept = None
        self.settled()

    def capture(self) -> dict[str, Any]:
        """What a roll-back returns to, also one that comes after the lesson was kept."""
        masks = self.model.hardware.masks
        known = self.model.capture()
        if self.probe is not None and masks is not None:
            known["masks"] = masks.state_dict()
        return known

    def _row(self, found: Decision, **facts: Any) -> dict[str, Any]:
        """An answer as the journal has it."""
        told = {"change": found.change, "response": found.response, "reason": found.reason}
        return {"lesson": self._lesson, **told, **facts}

    @contextmanager
    def _charged(self) -> Iterator[None]:
        """Charge what is done to calibration, not to the lesson at hand."""
        ledger = self.model.chip.ledger
        self._lesson, ledger.lesson = ledger.lesson, _LESSON
        try:
            yield
        finally:
            ledger.lesson = self._lesson

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """A part of a snapshot; empty where nobody watches."""
        if not self.part.watch:
            return {}
        number, offered = self._kept or (-1, None)
        state = {
            "hardware": self.hardware.state_dict(),
            "origin": self._origin.measures,
            "last": self._last.measures,
            "kept": number,
            "offered": None if offered is None else offered.to_json(),
        }
        return {"changes": state}

    def load_state_dict(self, parts: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave, from the parts of a snapshot."""
        if not self.part.watch:
            return
        state = parts["changes"]
        self.hardware.load_state_dict(state["hardware"])
        self._origin, self._last = Quality(state["origin"]), Quality(state["last"])
        offered = state["offered"]
        self._kept = None if offered is None else (state["kept"], Offered.from_json(offered))
