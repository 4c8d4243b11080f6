"""One sample that cannot be used is one sample in quarantine, whatever is wrong with it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from clnf.core.errors import ClnfError, ShapeError
from clnf.core.records import Batch, Experience
from clnf.streams.gate import Gate
from clnf.streams.items import read_pair, stacked
from clnf.streams.wrap import from_iterator, source_of

X = torch.tensor([0.1, 0.2, 0.3])


class Items(Dataset):
    """A data set as people write them."""

    def __init__(self, items) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int):
        return self.items[i]


class Cut(Image.Image):
    """A picture whose file ends too early: Pillow finds out when it decodes it."""

    mode = "RGB"

    def convert(self, *args, **kwargs):
        raise OSError("image file is truncated")


BAD = {
    "no pair": ("x", "is a pair"),
    "two labels": ((X, torch.tensor([1, 2])), r"got 2 of them, shape \[2\]; of a one-hot row"),
    "one-hot array": ((X, np.eye(3)[1]), "got 3 of them"),
    "no label": ((X, torch.empty(0, dtype=torch.int64)), "got 0 of them"),
    "huge label": ((X, 10**30), "int64, got 1000000"),
    "low label": ((X, -(10**30)), "int64, got -1000000"),
    "unsigned label": ((X, np.uint64(2**64 - 1)), "int64, got 18446744073709551615"),
    "label too long to print": ((X, 10**5000), "cannot be converted"),
    "label of text": ((X, "cat"), "a whole number, got 'cat'"),
    "four axes": ((np.zeros((2, 3, 4, 5), np.uint8), 0), r"got \[2, 3, 4, 5\]"),
    "four axes, tensor": ((torch.zeros(2, 3, 4, 5, dtype=torch.uint8), 0), r"got \[2, 3, 4, 5\]"),
    "row of bytes": ((torch.zeros(5, dtype=torch.uint8), 0), r"got \[5\]"),
    "objects": ((np.array([None, 1]), 0), "floating point numbers, got object"),
    "text": ((np.array(["a"]), 0), "floating point numbers, got <U1"),
    "whole numbers": ((torch.zeros(3, dtype=torch.int32), 0), "got torch.int32"),
    "sparse": ((X.to_sparse(), 0), "call .to_dense"),
    "long double": ((np.zeros(3, np.longdouble), 0), "cannot be converted: TypeError"),
    "no axis": ((torch.tensor(0.5), 0), r"one axis and one number, got \[\]"),
    "nothing": ((torch.zeros(0), 0), r"one axis and one number, got \[0\]"),
    "cut picture": ((Cut(), 0), "image file is truncated"),
}


@pytest.mark.parametrize("form", ["data set", "iterator"])
@pytest.mark.parametrize("fault", BAD)
def test_one_bad_sample_is_quarantined_and_the_others_are_taught(fault, form) -> None:
    bad, reason = BAD[fault]
    good = [(X + 0.1 * k, k % 2) for k in range(4)]
    items = [*good[:2], bad, *good[2:]]
    if form == "data set":
        lesson = Experience(name="a", concept="a", data=source_of(Items(items)))
    else:
        (lesson,) = from_iterator(items, size=5)
    admission = Gate([]).admit(lesson)
    (flaw,) = admission.quarantined
    assert (flaw.index, flaw.hard) == (2, True)
    with pytest.raises(ClnfError, match=reason):
        raise ClnfError(flaw.reason)
    taught = admission.experience.data.take(torch.arange(4))
    assert torch.equal(taught.x, torch.stack([x for x, _ in good]))
    assert taught.cond.tolist() == [0, 1, 0, 1]


def test_good_samples_of_every_make_are_read() -> None:
    want = np.array([[-1.0, 1.0]], np.float32)
    for value in (
        want,
        want.astype(np.float64),
        want.astype(">f4"),
        want.astype(np.float16),
        want[:, ::-1].copy()[:, ::-1],
        torch.from_numpy(want).requires_grad_(),
    ):
        x, label = read_pair((value, 1))
        assert (x.dtype, label, x.requires_grad) == (torch.float32, 1, False)
        assert np.array_equal(x.numpy(), want)
    levels = np.array([[0, 255]], np.uint8)
    for picture in (levels, levels[..., None], torch.from_numpy(levels), Image.fromarray(levels)):
        assert np.array_equal(read_pair([picture, 0])[0].numpy(), want[None])


@pytest.mark.parametrize(
    ("label", "number"),
    [
        (np.int8(3), 3),
        (torch.tensor([3]), 3),
        (np.array([[3]]), 3),
        (True, 1),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
    ],
)
def test_whole_numbers_of_every_make_are_labels(label, number) -> None:
    batch = stacked([read_pair((X, label))])
    assert (batch.cond.dtype, batch.cond.tolist()) == (torch.int64, [number])


class Made:
    """A source as people write them."""

    def __init__(self, batch: Batch, broken: int = -1) -> None:
        self.batch, self.broken = batch, broken

    def __len__(self) -> int:
        return len(self.batch)

    def take(self, index: torch.Tensor) -> Batch:
        if (index == self.broken).any():
            raise KeyError("five")
        return self.batch.select(index)


class Short(Made):
    """A source that forgets the last sample asked for."""

    def take(self, index: torch.Tensor) -> Batch:
        return super().take(index[:-1])


def admit(source: Made):
    return Gate([]).admit(Experience(name="a", concept="a", data=source))


def test_a_source_that_raises_on_one_sample_loses_that_one() -> None:
    batch = Batch.of(torch.rand(8, 3), 1)
    admission = admit(Made(batch, broken=5))
    assert [(f.index, f.reason) for f in admission.quarantined] == [
        (5, "cannot be read: KeyError('five')")
    ]
    assert len(admission.experience.data.take(torch.arange(7))) == 7
    assert not admit(Made(batch)).quarantined
    alone = Made(batch.select(torch.tensor([0])), broken=0)
    assert [f.index for f in admit(alone).quarantined] == [0]


def test_a_source_made_wrong_is_one_sentence() -> None:
    batch = Batch.of(torch.rand(8, 3), 1)
    tall = Batch(x=batch.x, cond=batch.cond[:, None], weight=batch.weight)
    with pytest.raises(ShapeError, match=r"Made gave 8 samples, conditions \[8, 1\] and"):
        admit(Made(tall))
    heavy = Batch(x=batch.x, cond=batch.cond, weight=batch.weight[:, None])
    with pytest.raises(ShapeError, match=r"weights \[8, 1\]; correct its take"):
        admit(Made(heavy))
    with pytest.raises(ShapeError, match="asked for 8 samples gives as many"):
        admit(Short(batch))
