"""Refused samples wait with their reasons, bounded, and can be let go."""

import json
from pathlib import Path

import pytest
import torch

from clnf.core.errors import DataError
from clnf.core.records import Batch
from clnf.streams.quarantine import Flaw, Quarantine, pardons_text, read_pardons
from clnf.streams.sources import ArraySource


def source(count: int = 6) -> ArraySource:
    return ArraySource(torch.arange(float(count))[:, None].repeat(1, 4), 7)


def flaws(*index: int, hard: bool = False) -> list[Flaw]:
    return [Flaw(index=i, check="test", reason=f"reason {i}", hard=hard) for i in index]


def test_samples_are_kept_with_reasons_and_adding_twice_changes_nothing() -> None:
    quarantine = Quarantine()
    for _ in range(2):
        quarantine.add("lesson", source(), flaws(1, 4))
    held = list(quarantine)
    assert [one.key for one in held] == ["lesson#1", "lesson#4"]
    assert held[1].flaw.reason == "reason 4"
    assert held[1].cond == 7
    assert held[1].x is not None
    assert held[1].x.tolist() == [4.0] * 4


def test_the_oldest_leave_when_it_is_full() -> None:
    quarantine = Quarantine(3)
    quarantine.add("a", source(), flaws(0, 1))
    quarantine.add("b", source(), flaws(2, 3))
    assert [one.key for one in quarantine] == ["a#1", "b#2", "b#3"]
    assert quarantine.dropped == 1
    quarantine.add("c", source(), flaws(0, 1, 2, 3, 4))
    assert [one.key for one in quarantine] == ["c#0", "c#1", "c#2"]
    assert quarantine.dropped == 1 + 2 + 3


def test_released_samples_leave_as_a_source() -> None:
    quarantine = Quarantine()
    quarantine.add("a", source(), flaws(0, 3, 5))
    batch = quarantine.release(["a#5", "a#0"]).take(torch.arange(2))
    assert batch.x[:, 0].tolist() == [5.0, 0.0]
    assert batch.cond.tolist() == [7, 7]
    assert [one.key for one in quarantine] == ["a#3"]


def test_what_no_learner_can_use_stays() -> None:
    quarantine = Quarantine()
    quarantine.add("a", source(), flaws(0, hard=True))
    quarantine.add("a", source(), flaws(1))
    for keys, text in (
        (["a#0"], "cannot be released"),
        (["a#1", "a#0"], "cannot be released"),
        (["b#9"], "nothing named 'b#9'"),
        ([], "at least one"),
    ):
        with pytest.raises(DataError, match=text):
            quarantine.release(keys)
    assert len(quarantine) == 2


def test_samples_that_cannot_be_read_are_noted_without_data() -> None:
    class Broken:
        def __len__(self) -> int:
            return 1

        def take(self, index: torch.Tensor) -> Batch:
            raise DataError("damaged")

    quarantine = Quarantine()
    quarantine.add("a", Broken(), flaws(0))
    assert next(iter(quarantine)).x is None
    with pytest.raises(DataError, match="cannot be released"):
        quarantine.release(["a#0"])


def test_state_survives_through_tensors_and_json() -> None:
    quarantine = Quarantine(3)
    data = source()
    data.take(torch.tensor([0])).x.fill_(0)
    quarantine.add("a", data, flaws(0, 1, 2, 3))
    state = quarantine.state_dict()
    tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    rest = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
    restored = Quarantine(3)
    restored.load_state_dict({**tensors, **json.loads(json.dumps(rest))})
    assert restored.dropped == quarantine.dropped == 1
    for mine, other in zip(restored, quarantine, strict=True):
        assert (mine.key, mine.flaw, mine.cond) == (other.key, other.flaw, other.cond)
        assert mine.x is not None
        assert other.x is not None
        assert torch.equal(mine.x, other.x)


def test_pardons_under_another_hash_are_told_and_not_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "released.json"
    file.write_text(pardons_text([-5, 2**62]))
    assert read_pardons(file) == {-5, 2**62}
    file.write_text(json.dumps({"released": ["0000000000000001"]}))
    with pytest.raises(DataError, match="release them again"):
        read_pardons(file)


def test_only_what_cannot_be_read_is_kept_without_data() -> None:
    class Half:
        def __len__(self) -> int:
            return 4

        def take(self, index: torch.Tensor) -> Batch:
            if (index == 2).any():
                raise DataError("damaged")
            return Batch.of(index[:, None].float(), 7)

    quarantine = Quarantine()
    quarantine.add("a", Half(), flaws(0, 2, 3))
    assert [(one.x is None, one.cond) for one in quarantine] == [(False, 7), (True, -1), (False, 7)]
