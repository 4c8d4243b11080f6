"""Lessons that people add: kept whole, small in memory, the same after a restart."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clnf.core.errors import RunError
from clnf.living import lessons as module
from clnf.living.concepts import Concepts
from clnf.living.edits import EditSource
from clnf.living.lessons import Added, Lessons, Offered
from clnf.living.recipe import Recipe
from clnf.streams.bundled import CORE_FAMILIES
from clnf.streams.sources import to_levels


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth pictures, all different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3))
    return coarse.repeat(8, 1).repeat(8, 2).astype(np.uint8)


def added(name: str = "folder cats 1", concept: str = "cats", **values: object) -> Added:
    rest = {"kind": "new", "file": f"{name}.safetensors", "provenance": "a test"} | values
    return Added(name=name, concept=concept, **rest)  # type: ignore[arg-type]


@pytest.fixture
def lessons(tmp_path: Path) -> Lessons:
    concepts = Concepts(list(CORE_FAMILIES), rows=16)
    return Lessons(Recipe(name="a"), tmp_path / "lessons", concepts)


def again(lessons: Lessons) -> Lessons:
    other = Lessons(lessons.recipe, lessons.folder, lessons.concepts)
    other.load_state_dict(lessons.state_dict())
    return other


def test_pictures_that_stand_for_a_concept_are_few_and_spread(lessons: Lessons) -> None:
    many = pictures(2000)
    lessons.add(added(), many)
    own = lessons.own()
    assert set(own) == {"cats"}
    assert own["cats"].shape == (512, 3, 32, 32)
    place = np.arange(512) * 2000 // 512
    assert np.array_equal(to_levels(own["cats"]), many[place])
    assert torch.equal(again(lessons).real()["cats"], own["cats"])


def test_of_many_refused_samples_all_are_counted_and_some_kept(lessons: Lessons) -> None:
    lessons.add(added(), np.repeat(pictures(1), 1000, 0))
    offered, (away,) = lessons.offer(0)
    assert (offered.index, offered.total) == ((0,), 1000)
    assert (away.check, away.count, len(away.samples)) == ("duplicate", 999, 256)
    assert away.reason == "exact copy of sample 0 (the first 256 of 999 are kept)"
    lessons.add(added("folder cats 2"), np.repeat(pictures(1, seed=1), 9, 0))
    _, (away,) = lessons.offer(1)
    assert (away.count, len(away.samples), away.reason) == (8, 8, "exact copy of sample 0")


def test_what_taught_a_concept_is_its_example(lessons: Lessons) -> None:
    for number, seed in enumerate((1, 2)):
        lessons.add(added(f"folder cats {number}"), pictures(20, seed))
    lessons.concepts.add("cats")
    # The first was rolled back; of the second the gate admitted three.
    lessons.committed(1, Offered(index=(3, 5, 7), total=20))
    for one in (lessons, again(lessons)):
        known = one.known("cats")
        assert np.array_equal(
            to_levels(known.take(torch.arange(len(known))).x), pictures(20, 2)[[3, 5, 7]]
        )


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("feedback", "taught before as 'dogs'"), ("new", "exact copy of a sample taught before")],
)
def test_a_kept_edit_corrects_the_label_on_record(lessons: Lessons, kind: str, reason: str) -> None:
    """Who says again what an edit corrected is told so; a folder corrects nothing."""
    shown = pictures(3)
    lessons.concepts.add("cats")
    lessons.concepts.add("dogs")
    lessons.committed(_add(lessons, added("folder cats 1"), shown), _all(3))
    edit = added("edit dogs 1", "dogs", kind=kind, noise_seed=7, guidance=3.0)
    lessons.committed(_add(lessons, edit, shown[:1]), _all(1))
    _, away = lessons.offer(_add(lessons, added("folder cats 2"), shown[:1]))
    assert len(away) == 1
    assert reason in away[0].reason


def _add(lessons: Lessons, lesson: Added, shown: NDArray[np.uint8]) -> int:
    lessons.add(lesson, shown)
    return len(lessons) - 1


def _all(count: int) -> Offered:
    return Offered(index=tuple(range(count)), total=count)


def test_an_edit_comes_in_company(lessons: Lessons) -> None:
    edit = added("edit faces 1", "faces", kind="feedback", noise_seed=7, guidance=3.0)
    lessons.add(edit, pictures(1))
    experience = lessons.experience(0, Offered(index=(0,), total=1))
    assert isinstance(experience.data, EditSource)
    assert np.array_equal(to_levels(experience.data.edit.picture), pictures(1))
    assert (experience.data.edit.row, experience.data.edit.guidance) == (1, 3.0)
    moves = (2 * lessons.recipe.learn.shift + 1) ** 2
    assert len(experience.data) == 17 * moves
    batch = experience.data.take(torch.arange(len(experience.data)))
    assert batch.cond.unique().tolist() == [1]
    same = again(lessons).experience(0, Offered(index=(0,), total=1))
    assert isinstance(same.data, EditSource)
    assert torch.equal(same.data.edit.noise, experience.data.edit.noise)


def test_a_full_disk_appends_nothing(lessons: Lessons, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_whole", full)
    with pytest.raises(
        RunError, match=r"could not be kept in .*the disk is full.*teach them again"
    ):
        lessons.add(added(), pictures(2))
    assert len(lessons) == 0


def test_a_damaged_or_missing_file_is_named(lessons: Lessons) -> None:
    lessons.add(added(), pictures(2))
    file = lessons.folder / "folder cats 1.safetensors"
    for damage in (lambda: file.write_bytes(b"\x10"), file.unlink):
        damage()
        with pytest.raises(RunError, match=r"lesson .folder cats 1. are missing or damaged"):
            lessons.offer(0)
