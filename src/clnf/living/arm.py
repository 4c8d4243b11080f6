"""One arm of a run: a living model going through a stream, each lesson a transaction.

The arm's state after any journal mark is a function of the recipe alone, so a killed arm goes on
from its last snapshot and ends with the same weights, cells, wear and journal.
"""

from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from clnf.core.errors import RunError
from clnf.core.records import Experience, Quality, Source, Verdict
from clnf.living.changes import Changes, monitor
from clnf.living.floor import keep_floor
from clnf.living.lessons import Added, Lessons, Offered
from clnf.living.levelling import wear
from clnf.living.model import LivingModel
from clnf.living.pictures import save_strips
from clnf.living.probes import DrawProbe, newness
from clnf.living.progress import Progress
from clnf.living.recipe import Recipe
from clnf.living.store import Store
from clnf.media.bundled import load_judge

__all__ = ["Arm"]

SECONDS_PER_HOUR = 3600.0
# Programming and the first measurement, in lessons.
_START_SHARE = 0.25


@final
class Arm:
    """A model, its stream, journal and snapshots in one folder.

    Args:
        folder: the arm's folder; opened where its last snapshot left it, or begun.
        recipe: all choices.
        device: where torch runs.
    """

    def __init__(self, folder: Path, recipe: Recipe, device: torch.device | str = "cpu") -> None:
        self.folder = folder
        self.recipe = recipe
        self.store = Store(folder, recipe)
        self.row = Quality()
        self.origin_row = Quality()
        self.step = 0
        self.cursor: dict[str, Any] = {"lesson": -1, "at": 0, "offered": None}
        self.before: dict[str, Any] = {}
        try:
            found = self.store.open()
            self.journal = self.store.journal
            self.model = LivingModel(recipe, device, blank=found is not None)
            self.lessons = Lessons(recipe, folder / "lessons", self.model.concepts)
            judge, _ = load_judge()
            self.probe = DrawProbe(judge, self.lessons.real(), recipe.probe, seed=recipe.seed)
            self.changes = Changes(self.model, self.lessons, self.probe)
            if found is not None:
                self._load(found.parts)
        except BaseException:
            self.close()
            raise

    @property
    def note(self) -> str:
        """What was found damaged or different on opening, in sentences; else empty."""
        return self.store.note

    @property
    def finished(self) -> bool:
        """Whether every lesson has its verdict."""
        return bool(self.cursor["lesson"] >= len(self.lessons))

    def close(self) -> None:
        """Close the journal."""
        self.store.close()

    def add(self, lesson: Added, pictures: NDArray[np.uint8]) -> None:
        """Append a lesson to the stream; :meth:`run` then teaches it.

        Raises:
            RunError: the arm has not taken its first measurement yet.
        """
        if self.cursor["lesson"] < 0:
            raise RunError("this run has not started yet; resume it first with clnf run --resume")
        self.lessons.add(lesson, pictures)
        self._remember()
        self.journal.append(
            "lesson added", self.step, {**asdict(self.lessons.added[-1]), "count": len(pictures)}
        )
        self._snapshot()

    def _remember(self) -> None:
        """Show the probe what the concepts that people added really look like."""
        for concept, pictures in self.lessons.own().items():
            self.probe.remember(concept, pictures)

    def run(self) -> Generator[Progress]:
        """Go on to the end of the stream, yielding progress; stop taking items to pause."""
        if self.cursor["lesson"] < 0:
            yield from self._start()
        while not self.finished:
            for progress in self._lesson():
                yield replace(progress, share=self._share())

    def _share(self) -> float:
        """How much of the stream is done; measuring counts as a quarter of a lesson."""
        lesson, at = self.cursor["lesson"], self.cursor["at"]
        done = _START_SHARE + lesson + 0.75 * at / self.recipe.learn.steps
        return float(done / (_START_SHARE + len(self.lessons)))

    def _start(self) -> Iterator[Progress]:
        yield Progress(lesson="start", phase="program the core into its cells")
        self.journal.append(
            "start", self.step, {"recipe": self.recipe.name, "core": list(self.model.core)}
        )
        errors = self.model.prepare(self.lessons.core())
        self.journal.append("programmed", self.step, {"relative_error": errors})
        yield Progress(lesson="start", phase="measure what is known", share=0.01)
        self._measure("start")
        self.origin_row = self.row
        self.changes.began()
        self.cursor = {"lesson": 0, "at": 0, "offered": None}
        self._settle()
        self._snapshot("start")
        seen = f"first pictures, of what it knows already: {self.folder / 'media' / 'start'}"
        yield Progress(lesson="start", phase="", note=seen, share=self._share())

    def _lesson(self) -> Iterator[Progress]:
        number = self.cursor["lesson"]
        name = self.lessons.name(number)
        self.model.chip.ledger.lesson = name
        if self.cursor["offered"] is None:
            yield Progress(lesson=name, phase="gate")
            early = self._open(number)
            if early is not None:
                yield from self._close(early)
                return
        offered = Offered.from_json(self.cursor["offered"])
        experience = self.lessons.experience(number, offered)
        total = self.recipe.learn.steps
        self.model.pace(self.cursor["at"] / total)
        for info in self.model.learner.lesson(
            experience,
            steps=total,
            batch_size=min(self.recipe.learn.batch, len(experience.data)),
            start_step=self.cursor["at"],
        ):
            self.step += 1
            self.cursor["at"] = info.step + 1
            self.model.pace(self.cursor["at"] / total)
            if info.refused:
                self.journal.append("refused step", self.step, {"why": info.refused})
            self._write("during", self.changes.look_inside(info.step + 1, self.row))
            if (info.step + 1) % self.recipe.snapshot_steps == 0 and info.step + 1 < total:
                self._snapshot()
            yield Progress(lesson=name, phase="teach", done=info.step + 1, total=total)
        yield Progress(lesson=name, phase="measure")
        self.model.hardware.taught(name)
        yield from self._close(self._judge(experience, name))

    def _open(self, number: int) -> Verdict | None:
        """Let time pass, ask the gate, and see whether there is anything to learn."""
        model = self.model
        self._pass_time(self.recipe.chip.hours_between_lessons * SECONDS_PER_HOUR)
        moved = model.hardware.moves(number)
        if moved is not None:
            self.journal.append("moves", self.step, {"lesson": self.lessons.name(number), **moved})
        offered, turned_away = self.lessons.offer(number)
        name, concept = self.lessons.name(number), self.lessons.concept(number)
        for away in turned_away:
            self.journal.add_quarantine(
                self.step, lesson=name, reason=f"{away.check}: {away.reason}", samples=away.samples
            )
        self.journal.append("gate", self.step, offered.told(name, concept, turned_away))
        if 2 * len(offered.index) < offered.total:
            why = f"the gate admitted {len(offered.index)} of {offered.total} samples"
            return Verdict(action="reject", reason=why, before=self.row)
        if concept in model.concepts.names and self.recipe.guards.monitor:
            verdict = self._nothing_new(number, offered)
            if verdict is not None:
                return verdict
        self._write("drift", self.changes.news(offered))
        model.make_ready(concept)  # a roll-back returns to cells that are written
        self.before = self.changes.capture()
        model.concepts.add(concept)
        model.begin(self.lessons.name(number), concept)
        self.cursor = {"lesson": number, "at": 0, "offered": offered.to_json()}
        self._snapshot()
        return None

    def _pass_time(self, seconds: float) -> None:
        """Let time pass, and answer what changed meanwhile."""
        for answer in self.changes.pass_time(seconds, self.before):
            self._write("drift", answer)
        if self.changes.undone is not None:
            self._measure(f"{self.lessons.name(self.changes.undone)} rolled back")

    def _write(self, kind: str, row: dict[str, Any] | None) -> bool:
        """Write down what was seen or done, if anything was."""
        if row is not None:
            self.journal.append(kind, self.step, row)
        return row is not None

    def _nothing_new(self, number: int, offered: Offered) -> Verdict | None:
        probe, concept = self.recipe.probe, self.lessons.concept(number)
        if self.row.measures["match"].get(concept, 0.0) < probe.good_enough:
            return None
        experience = self.lessons.experience(number, offered)
        known: Source = self.lessons.known(concept)
        ratio = newness(self.model.engine, experience.data, known, samples=64, seed=self.step)
        self.journal.append("newness", self.step, {"lesson": experience.name, "ratio": ratio})
        if experience.kind == "feedback" or ratio > probe.nothing_new:
            return None
        reason = f"{concept} is already good enough and these samples are nothing new"
        return Verdict(action="skip", reason=reason, before=self.row)

    def _judge(self, experience: Experience, name: str) -> Verdict:
        before = self.row
        self.model.close()
        self._measure(name)
        if not self.recipe.guards.monitor:
            reason = "committed without asking: the monitor is off"
            verdict = Verdict(action="commit", reason=reason, before=before, after=self.row)
        else:
            judge = monitor(self.model.core, self.origin_row, self.recipe.probe)
            verdict = judge.judge(before, self.row)
            if verdict.action == "rollback" and self._write("drift", self.changes.warm()):
                self._measure(f"{name} calibrated")
                verdict = judge.judge(before, self.row)
        if verdict.action == "rollback":
            left = self.model.roll_back(self.before)
            self.journal.append("rolled back", self.step, {"lesson": name, "rms_error": left})
            self._measure(f"{name} rolled back")
        else:
            self.model.consolidate(experience, self.lessons.core())
            self.changes.kept(self.cursor["lesson"], Offered.from_json(self.cursor["offered"]))
        return verdict

    def _close(self, verdict: Verdict) -> Iterator[Progress]:
        number = self.cursor["lesson"]
        name = self.lessons.name(number)
        chip, hardware = self.model.chip, self.model.hardware
        cost = chip.ledger.total(lesson=name)
        self.journal.append(
            "verdict",
            self.step,
            {
                "lesson": name,
                "concept": self.lessons.concept(number),
                "action": verdict.action,
                "reason": verdict.reason,
                "before": verdict.before.measures,
                "after": verdict.after.measures if verdict.after else None,
                "standing": self.row.measures,
                "energy_aj": cost.energy_aj,
                "time_ps": cost.time_ps,
                "pulses": chip.ledger.total(lesson=name, op="pulse").count,
                **self.changes.facts(),
                "wear": wear(chip) | ({"life": life} if (life := hardware.life()) else {}),
                **hardware.facts(name),
            },
        )
        self.cursor = {"lesson": number + 1, "at": 0, "offered": None}
        self.changes.settled()
        if self.finished and self.changes.open:
            self._pass_time(0.0)
        self.before = self.before if self.changes.open else {}
        self._settle()
        self._snapshot(name)
        yield Progress(
            lesson=name, phase="verdict", done=1, note=f"{verdict.action}: {verdict.reason}"
        )

    def undo(self, step: int) -> Generator[Progress, None, dict[str, Any]]:
        """Go physically back to a point of return: what was taught since counts as undone.

        Plastic cells that were pulsed since are written and verified anew, and the bill is
        charged for it. A lesson that is being taught is given up. Nothing leaves the journal: an
        entry says what no longer counts. Killed before its end, nothing was undone.

        Args:
            step: of the point, see :func:`clnf.living.store.points`.

        Returns:
            What was undone and what it took, as the journal has it.

        Raises:
            RunError: there is no such point, it is damaged, or it is where the run stands.
        """
        target = self.store.load(step)
        if step == self.step:
            raise RunError(f"the run in {self.folder} is at step {step}; there is nothing to undo")
        then, now = target.parts["run"], self.cursor
        begun = now["lesson"] + (now["offered"] is not None)
        name = f"undone {1 + len(self.journal.events('undone'))}"
        chip = self.model.chip
        chip.ledger.lesson = "undo"
        before, pulses = (chip.ledger.total(lesson="undo", **op) for op in ({}, {"op": "pulse"}))
        yield Progress(lesson=name, phase="write cells back")
        left = self.model.return_to(target.parts)
        self.model.close()
        since = range(then["cursor"]["lesson"], begun)
        undone = self.lessons.go_back(then["lessons"], since)
        self.changes.go_back(target.parts)
        self.cursor = {"lesson": begun, "at": 0, "offered": None}
        self.before = {}
        yield Progress(lesson=name, phase="measure", share=0.5)
        self._measure(name)
        cost = chip.ledger.total(lesson="undo")
        entry = {
            "to": step,
            "after": then["point"],
            "snapshot": target.sha256,
            "lessons": undone,
            "rms_error": left,
            "energy_aj": cost.energy_aj - before.energy_aj,
            "time_ps": cost.time_ps - before.time_ps,
            "pulses": chip.ledger.total(lesson="undo", op="pulse").count - pulses.count,
            "wear": wear(chip),
        }
        self.journal.append("undone", self.step, entry)
        self._settle()
        self._snapshot(name)
        return entry

    def _settle(self) -> None:
        """Write down the whole bill when there is nothing more to teach."""
        if self.finished:
            self.journal.append("ledger", self.step, {"rows": self.model.chip.ledger.state()})
            keep_floor(self.model, self.folder)

    def _measure(self, after: str) -> None:
        """Draw every known concept, judge it, and keep the pictures."""
        self.model.engine.eval()
        with torch.no_grad():
            self.row = self.probe.measure(
                self.model.engine, self.model.concepts.names, self.model.concepts
            )
        for measure, values in self.row.measures.items():
            for concept, value in values.items():
                self.journal.add_measure(self.step, measure, concept, value)
        self.journal.append("row", self.step, {"after": after, **self.row.measures})
        hashes = save_strips(self.folder / "media", after, self.probe.pictures)
        self.journal.append("pictures", self.step, {"after": after, "sha256": hashes})

    def _snapshot(self, point: str = "") -> None:
        """Write down all state; ``point`` names the last lesson where none has begun since."""
        self.step += 1
        state = {
            "cursor": self.cursor,
            "row": self.row.measures,
            "origin_row": self.origin_row.measures,
            "lessons": self.lessons.state_dict(),
        }
        parts = {**self.model.state_dict(), **self.changes.state_dict(), "before": self.before}
        self.store.save(self.step, parts, state, point)

    def _load(self, parts: dict[str, dict[str, Any]]) -> None:
        state = parts["run"]
        self.model.load_state_dict(parts)
        self.lessons.load_state_dict(state["lessons"])
        self.changes.load_state_dict(parts)
        self._remember()
        self.cursor, self.step = state["cursor"], state["step"]
        self.row, self.origin_row = Quality(state["row"]), Quality(state["origin_row"])
        self.before = parts["before"]
