import dataclasses

import pytest
import torch

from clnf.core.errors import ShapeError
from clnf.core.records import Batch, Quality, Verdict


def batch(n: int, cond: int = 0) -> Batch:
    return Batch.of(torch.arange(n * 2.0).reshape(n, 2), cond)


def test_of_gives_every_sample_its_condition_and_weight() -> None:
    made = Batch.of(torch.zeros(3, 2), 4, weight=0.5)
    assert made.cond.tolist() == [4, 4, 4]
    assert made.cond.dtype == torch.int64
    assert made.weight.tolist() == [0.5, 0.5, 0.5]
    own = Batch.of(torch.zeros(2, 1), torch.tensor([1, 2]))
    assert own.cond.tolist() == [1, 2]
    assert len(own) == 2


@pytest.mark.parametrize(("cond", "weight"), [(2, 3), (3, 2), (4, 3)])
def test_lengths_must_agree(cond: int, weight: int) -> None:
    with pytest.raises(ShapeError, match="3 samples"):
        Batch(x=torch.zeros(3, 2), cond=torch.zeros(cond), weight=torch.zeros(weight))


def test_cat_and_select_keep_rows_together() -> None:
    joined = Batch.cat([batch(2, 1), batch(3, 2)])
    assert joined.cond.tolist() == [1, 1, 2, 2, 2]
    chosen = joined.select(torch.tensor([4, 0]))
    assert torch.equal(chosen.x, joined.x[[4, 0]])
    assert chosen.cond.tolist() == [2, 1]
    assert len(joined.select(joined.cond == 2)) == 3


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch(1).x = torch.zeros(1)  # type: ignore[misc]
    moved = batch(2).to("meta")
    assert moved.x.device.type == moved.cond.device.type == moved.weight.device.type == "meta"


def test_quality_is_read_by_measure_and_probe() -> None:
    quality = Quality({"match": {"faces": 0.97}})
    assert quality.get("match", "faces") == 0.97
    with pytest.raises(KeyError):
        quality.get("match", "hands")
    verdict = Verdict(action="skip", reason="good enough", before=quality)
    assert verdict.after is None
