"""Sources hand out the right samples in the order asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clnf.core.errors import ShapeError
from clnf.core.records import Source
from clnf.streams.sources import (
    ArraySource,
    JoinSource,
    ShiftSource,
    SubsetSource,
    TransformSource,
    from_levels,
    to_levels,
)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 9, 10, 3)).astype(np.uint8)


def test_levels_survive_the_way_to_model_range_and_back() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = from_levels(every)
    assert x.shape == (1, 1, 16, 16)
    assert (x.min().item(), x.max().item()) == (-1.0, 1.0)
    assert np.array_equal(to_levels(x), every)


def test_array_source_converts_pictures_and_leaves_tensors_alone() -> None:
    images = pictures(5)
    batch = ArraySource(images, 3, 0.5).take(torch.tensor([4, 1]))
    assert np.array_equal(to_levels(batch.x), images[[4, 1]])
    assert batch.cond.tolist() == [3, 3]
    assert batch.weight.tolist() == [0.5, 0.5]
    data = torch.randn(4, 6)
    labels = np.array([0, 1, 2, 3])
    batch = ArraySource(data, labels, torch.tensor([1.0, 2.0, 3.0, 4.0])).take(torch.tensor([2]))
    assert torch.equal(batch.x, data[2:3])
    assert (batch.cond.item(), batch.weight.item()) == (2, 3.0)


@given(st.lists(st.integers(0, 6), max_size=9))
def test_array_source_takes_what_plain_indexing_takes(index: list[int]) -> None:
    wanted = torch.tensor(index, dtype=torch.int64)
    data, labels, weight = torch.randn(7, 2, 3), torch.arange(7), torch.rand(7)
    batch = ArraySource(data, labels, weight).take(wanted)
    assert torch.equal(batch.x, data[wanted])
    assert torch.equal(batch.cond, labels[wanted])
    assert torch.equal(batch.weight, weight[wanted])
    images = pictures(7)
    assert torch.equal(ArraySource(images, 0).take(wanted).x, from_levels(images[wanted.numpy()]))


def test_array_source_refuses_wrong_shapes() -> None:
    with pytest.raises(ShapeError, match="uint8"):
        ArraySource(np.zeros((2, 3, 3, 3), np.float32), 0)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="5 samples"):
        ArraySource(pictures(5), np.arange(4))


def test_read_only_pictures_can_be_taken() -> None:
    images = pictures(3)
    images.flags.writeable = False
    x = ArraySource(images, 0).take(torch.tensor([0])).x
    x.add_(1.0)  # the copy is the caller's
    assert np.array_equal(images, pictures(3))


def test_subset_composes_and_refuses_positions_outside() -> None:
    base = ArraySource(torch.arange(10.0)[:, None], 0)
    twice = SubsetSource(SubsetSource(base, torch.tensor([9, 7, 5])), torch.tensor([2, 0, 0]))
    assert twice.take(torch.arange(3)).x.flatten().tolist() == [5.0, 9.0, 9.0]
    for wrong in (10, -1):
        with pytest.raises(ShapeError, match="subset of 10"):
            SubsetSource(base, torch.tensor([wrong]))


@given(st.lists(st.integers(0, 11), max_size=20))
def test_join_equals_concatenation_in_any_order(index: list[int]) -> None:
    whole = torch.arange(12.0)[:, None]
    parts = [ArraySource(whole[a:b], a) for a, b in ((0, 5), (5, 5), (5, 6), (6, 12))]
    joined = JoinSource(parts)
    assert len(joined) == 12
    wanted = torch.tensor(index, dtype=torch.int64)
    batch = joined.take(wanted)
    assert torch.equal(batch.x, whole[wanted])
    assert batch.cond.tolist() == [0 if i < 5 else 5 if i < 6 else 6 for i in index]


def test_join_of_nothing_is_an_error() -> None:
    with pytest.raises(ShapeError, match="at least one"):
        JoinSource([])


def test_transform_sees_data_and_index() -> None:
    base = ArraySource(torch.ones(4, 2), 1)
    source = TransformSource(base, lambda x, index: x * index[:, None])
    assert source.take(torch.tensor([3, 0])).x.tolist() == [[3.0, 3.0], [0.0, 0.0]]
    assert len(source) == 4


def test_shift_holds_every_move_once_and_fills_with_white() -> None:
    base = ArraySource(pictures(2), 0)
    source = ShiftSource(base, reach=2)
    assert (len(source), source.moves, source.still) == (50, 25, 12)
    still = source.take(torch.tensor([12, 25 + 12])).x
    original = base.take(torch.arange(2)).x
    assert torch.equal(still, original)
    moved = source.take(torch.arange(25, 50)).x
    assert len({x.numpy().tobytes() for x in moved}) == 25
    corner = moved[0]  # the first move shows what lies two pixels up and left: white comes in
    assert torch.equal(corner[:, 2:, 2:], original[1][:, :-2, :-2])
    assert bool((corner[:, :2] == 1.0).all())
    assert bool((corner[:, :, :2] == 1.0).all())


def test_shift_fill_can_be_black() -> None:
    source = ShiftSource(ArraySource(pictures(1), 0), reach=1, fill=-1.0)
    assert bool((source.take(torch.tensor([0])).x[0, :, 0] == -1.0).all())


def test_all_sources_meet_the_contract() -> None:
    base = ArraySource(pictures(3), 0)
    sources: list[Source] = [
        base,
        SubsetSource(base, torch.tensor([0])),
        JoinSource([base, base]),
        TransformSource(base, lambda x, _: x),
        ShiftSource(base),
    ]
    for source in sources:
        batch = source.take(torch.tensor([len(source) - 1]))
        assert batch.x.dtype == torch.float32
        assert batch.cond.dtype == torch.int64
