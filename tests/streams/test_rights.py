"""Rights of kinds of knowledge at the gate: who is doubted, who corrects, who stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clnf.core.records import Batch, Experience
from clnf.streams.bundled import CORE_FAMILIES
from clnf.streams.features import fingerprint
from clnf.streams.gate import Gate, GateParams, standard_checks
from clnf.streams.known import Known
from clnf.streams.rights import RIGHTS
from clnf.streams.sources import ArraySource, SubsetSource, to_levels
from clnf.streams.stream import emoji_source


@pytest.fixture
def gate() -> Gate:
    """A gate that was taught the core families."""
    made = Gate(standard_checks(names=CORE_FAMILIES))
    for row, name in enumerate(CORE_FAMILIES):
        made.know(emoji_source(name, row), kind="core")
    return made


def offered(kind, x: torch.Tensor, label: int = 0) -> Experience:
    return Experience(name=kind, concept="faces", data=ArraySource(x, label), kind=kind)


def moved_flags(count: int = 30) -> torch.Tensor:
    """Flags moved by two pixels: unknown pictures that look like a known family."""
    flags = emoji_source("flags", 0).take(torch.arange(count)).x
    return torch.roll(flags, 2, 3)


def test_only_what_is_new_is_doubted_for_its_looks(gate) -> None:
    refused = {kind: len(gate.admit(offered(kind, moved_flags())).quarantined) for kind in RIGHTS}
    assert refused["new"] >= 10
    assert refused["core"] == refused["feedback"] == 0
    noise = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert gate.admit(offered("new", noise)).counts() == {"noise": 4}
    assert gate.admit(offered("feedback", noise)).counts() == {}


def test_nobody_may_bring_what_no_learner_could_use(gate) -> None:
    broken = moved_flags(4)
    broken[0, 0, 0, 0] = float("nan")
    broken[1] *= 3
    broken[2] = 0.5
    for kind in RIGHTS:
        found = gate.admit(offered(kind, broken)).counts()
        assert {"finite", "range", "flat"} <= set(found), kind


def test_only_feedback_corrects_a_label_and_copies_count_once_even_there(gate) -> None:
    known = emoji_source("flags", 0).take(torch.arange(5)).x
    flags, faces = CORE_FAMILIES.index("flags"), CORE_FAMILIES.index("faces")
    for kind, refused in (("new", 5), ("core", 5), ("feedback", 0)):
        assert len(gate.admit(offered(kind, known, faces)).quarantined) == refused
    twice = torch.cat([known, known])
    assert gate.admit(offered("feedback", twice, faces)).counts() == {"duplicate": 5}
    assert gate.admit(offered("feedback", known, flags)).counts() == {"duplicate": 5}


def test_a_corrected_label_is_the_one_on_record(gate) -> None:
    """And the control: news under the old name is a copy before the correction, a lie after it."""
    birds = emoji_source("birds", 0).take(torch.arange(5)).x
    right, wrong = CORE_FAMILIES.index("faces"), CORE_FAMILIES.index("hearts")
    gate.consolidate(gate.admit(offered("feedback", birds, wrong)))
    before = gate.admit(offered("new", birds, wrong)).quarantined
    assert "exact copy of a sample taught before" in before[0].reason
    gate.consolidate(gate.admit(offered("feedback", birds, right)))
    after = gate.admit(offered("new", birds, wrong)).quarantined
    assert "taught before as 'faces'" in after[0].reason
    again = gate.admit(offered("new", birds, right)).quarantined
    assert "exact copy of a sample taught before" in again[0].reason
    references, own = gate.known.references, fingerprint(birds)
    assert set(references.label[np.isin(references.prints, own)]) == {right}


def test_a_flood_cannot_push_core_references_out() -> None:
    core = emoji_source("fruit", 0)
    flood = SubsetSource(emoji_source("flags", 0), np.arange(200))
    held = {}
    for kind in ("core", "new"):
        gate = Gate(standard_checks(), params=GateParams(references=24))
        gate.know(core, kind=kind)
        before = set(gate.known.references.prints.tolist())
        gate.know(flood)
        held[kind] = len(before & set(gate.known.references.prints.tolist())) / len(before)
        other = Known(24)
        other.load_state_dict(gate.known.state_dict())
        assert np.array_equal(other.core, gate.known.core)
    assert held["core"] == 1.0
    # The control: as news they make way.
    assert held["new"] < 0.5


def test_states_without_the_mark_of_core_can_be_read() -> None:
    gate = Gate()
    gate.know(emoji_source("fruit", 0), kind="core")
    state = gate.known.state_dict()
    del state["reference_core"]
    known = Known()
    known.load_state_dict(state)
    assert not known.core.any()
    assert len(known.core) == len(known.references)


def test_consolidated_core_lessons_stay_too() -> None:
    gate = Gate([])
    lesson = Experience(name="a", concept="a", data=emoji_source("fruit", 0), kind="core")
    gate.consolidate(gate.admit(lesson))
    gate.consolidate(gate.admit(replace(lesson, data=emoji_source("hearts", 1), kind="new")))
    assert set(gate.known.references.label[gate.known.core]) == {0}
    assert isinstance(lesson.data.take(torch.arange(1)), Batch)
    assert to_levels(lesson.data.take(torch.arange(1)).x).shape == (1, 32, 32, 3)
