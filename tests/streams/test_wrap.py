"""Arrays, data sets, folders and iterators become the same samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from clnf.core.errors import DataError, ShapeError
from clnf.core.records import Experience
from clnf.streams.gate import Gate
from clnf.streams.sources import ArraySource, to_levels
from clnf.streams.wrap import (
    DatasetSource,
    from_arrays,
    from_folders,
    from_iterator,
    source_of,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), np.uint8)
LABELS = np.arange(6) % 3
ALL = torch.arange(6)


class Items(Dataset):
    """A data set as people write them; sample 4 can be made to fail."""

    def __init__(self, items, broken: bool = False) -> None:
        self.items, self.broken = items, broken

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int):
        if self.broken and i == 4:
            raise OSError("disk gone")
        return self.items[i]


FORMS = {
    "arrays": (IMAGES, LABELS),
    "tensors": (torch.from_numpy(IMAGES).permute(0, 3, 1, 2), torch.from_numpy(LABELS)),
    "floats": (torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 127.5 - 1, LABELS),
    "tensor data set": TensorDataset(
        torch.from_numpy(IMAGES).permute(0, 3, 1, 2), torch.from_numpy(LABELS)
    ),
    "data set of arrays": Items([(x, int(y)) for x, y in zip(IMAGES, LABELS, strict=True)]),
    "data set of tensors": Items(
        [
            (torch.from_numpy(x).permute(2, 0, 1), torch.tensor(y))
            for x, y in zip(IMAGES, LABELS, strict=True)
        ]
    ),
    "data set of pictures": Items(
        [(Image.fromarray(x), np.int64(y)) for x, y in zip(IMAGES, LABELS, strict=True)]
    ),
    "source": ArraySource(IMAGES, LABELS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(form) -> None:
    source = source_of(FORMS[form])
    batch = source.take(ALL)
    assert len(source) == 6
    assert np.array_equal(to_levels(batch.x), IMAGES)
    assert batch.cond.tolist() == LABELS.tolist()
    assert batch.x.dtype == torch.float32
    assert torch.equal(source.take(torch.tensor([5, 1])).x, batch.x[[5, 1]])
    assert source.take(torch.empty(0, dtype=torch.int64)).x.shape == (0, 3, 12, 12)


def test_grey_pictures_get_a_channel() -> None:
    grey = IMAGES[..., 0]
    want = to_levels(from_arrays(grey, LABELS).take(ALL).x)
    assert np.array_equal(want[..., 0], grey)
    for item in (grey, [Image.fromarray(x) for x in grey], list(torch.from_numpy(grey))):
        made = DatasetSource(Items([(x, 0) for x in item])).take(ALL).x
        assert np.array_equal(to_levels(made), want)
    made = from_arrays(torch.from_numpy(grey), LABELS).take(ALL).x
    assert np.array_equal(to_levels(made), want)


def test_one_bad_sample_of_a_data_set_goes_to_quarantine_and_no_further() -> None:
    items = [(x, 0) for x in IMAGES]
    source = DatasetSource(Items(items, broken=True))
    with pytest.raises(DataError, match="sample 4 cannot be read: OSError"):
        source.take(ALL)
    gate = Gate([])
    admission = gate.admit(Experience(name="a", concept="a", data=source))
    assert [flaw.index for flaw in admission.quarantined] == [4]
    assert "disk gone" in admission.quarantined[0].reason
    assert len(admission.admitted) == 5


def test_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, rows in (("cats", (0, 3)), ("ants", (1, 4)), (".hidden", (2,))):
        (tmp_path / name).mkdir()
        for row in rows:
            Image.fromarray(IMAGES[row]).resize((32, 32), 0).save(tmp_path / name / f"{row}.png")
    (tmp_path / "cats" / "notes.txt").write_text("no picture")
    read = from_folders(tmp_path)
    assert read.classes == ("ants", "cats")
    assert [one.file for one in read.refused] == ["cats/notes.txt"]
    batch = source_of(tmp_path).take(torch.arange(4))
    assert batch.cond.tolist() == [0, 0, 1, 1]
    small = to_levels(batch.x)[:, ::3, ::3][:, :1, :1]
    assert np.array_equal(small, IMAGES[[1, 4, 0, 3]][:, :1, :1])
    assert len(source_of(str(tmp_path))) == 4
    assert from_folders(str(tmp_path)).classes == read.classes
    assert from_arrays(IMAGES, LABELS.astype(np.uint64)).cond.tolist() == LABELS.tolist()
    with pytest.raises(DataError, match="holds no folders"):
        from_folders(tmp_path / "ants")
    with pytest.raises(DataError, match="there is no folder"):
        from_folders(tmp_path / "dogs")


def test_a_folder_without_a_usable_picture_is_no_class(tmp_path: Path) -> None:
    for name in ("__MACOSX", "bees", "cats", "dogs"):
        (tmp_path / name).mkdir()
    (tmp_path / "bees" / "cut.png").write_bytes(b"no picture")
    for name in ("cats", "dogs"):
        Image.fromarray(IMAGES[0]).resize((32, 32), 0).save(tmp_path / name / "0.png")
    read = from_folders(tmp_path)
    assert read.classes == ("cats", "dogs")
    assert read.source.take(torch.arange(2)).cond.tolist() == [0, 1]
    assert [one.file for one in read.refused] == ["__MACOSX", "bees"]
    (tmp_path / "cats" / "0.png").unlink()
    (tmp_path / "dogs" / "0.png").unlink()
    with pytest.raises(DataError, match="no folder in"):
        from_folders(tmp_path)


def test_a_class_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    root, other = tmp_path / "data", tmp_path / "private"
    for place in (root / "cats", root / "dogs", other):
        place.mkdir(parents=True)
        Image.fromarray(IMAGES[0]).resize((32, 32), 0).save(place / "0.png")
    (root / "bees").symlink_to(other, target_is_directory=True)
    (root / "eels").symlink_to(root / "dogs", target_is_directory=True)
    read = from_folders(root)
    assert read.classes == ("cats", "dogs", "eels")
    assert [(one.file, one.reason) for one in read.refused] == [
        ("bees", "a link that leads out of the folder")
    ]
    # The folder itself may be a link: what is in it does not lead out of it.
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert from_folders(tmp_path / "link").classes == read.classes


def test_one_bad_item_of_an_iterator_goes_to_quarantine() -> None:
    items = [(torch.full((3,), 0.1 * n), n % 2) for n in range(6)]
    items[2], items[4] = torch.zeros(3), (torch.zeros(4), 0)  # type: ignore[call-overload]
    (window,) = from_iterator(items, size=6)
    flaws = {f.index: f.reason for f in Gate([]).admit(window).quarantined}
    assert set(flaws) == {2, 4}
    assert "is a pair" in flaws[2]
    assert "shape [4]" in flaws[4]


def test_an_iterator_that_fails_hands_out_what_came_before() -> None:
    def camera():
        yield torch.zeros(3), 0
        yield torch.ones(3), 0
        yield torch.ones(3), 1
        raise OSError("unplugged")

    windows = from_iterator(camera(), size=2)
    assert [len(next(windows).data) for _ in range(2)] == [2, 1]
    with pytest.raises(DataError, match="failed after 2 experiences: OSError"):
        next(windows)


def test_an_iterator_without_end_is_cut_and_read_no_further_than_needed() -> None:
    given = []

    def forever():
        number = 0
        while True:
            given.append(number)
            yield torch.full((2,), float(number)), number % 2
            number += 1

    experiences = from_iterator(forever(), size=10, name="hour")
    first, second = next(experiences), next(experiences)
    assert len(given) == 20
    assert (first.name, second.name) == ("hour 0", "hour 1")
    assert second.data.take(torch.tensor([3])).x.tolist() == [[13.0, 13.0]]


def test_an_iterable_data_set_is_an_iterator_and_its_rest_comes_too() -> None:
    class Lines(IterableDataset):
        def __iter__(self):
            return iter([(torch.zeros(3), 1)] * 5)

    with pytest.raises(DataError, match="from_iterator"):
        source_of(Lines())
    assert [len(one.data) for one in from_iterator(Lines(), size=2)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: source_of("digits"), "there is no folder digits"),
        (lambda: source_of({"x": 0}), "no way is known to read samples from a dict"),
        (lambda: from_arrays(np.zeros((2, 3, 32, 32), np.uint8), LABELS[:2]), "1, 3 or 4 channels"),
        (lambda: from_arrays(np.array(["a", "b"]), LABELS[:2]), "arrays of numbers"),
        (lambda: from_arrays(np.zeros((2, 3)), np.eye(2, dtype=int)), "the place of the one"),
        (lambda: source_of((IMAGES,)), "a tuple of 1"),
        (lambda: from_arrays(IMAGES, LABELS.astype(float)), "labels are whole numbers"),
        (lambda: from_arrays(IMAGES, LABELS[:3]), "6 samples need as many"),
        (lambda: from_arrays(np.arange(6), LABELS), "uint8 pictures or floating point"),
        (lambda: DatasetSource(Items([IMAGES[0]])).take(ALL[:1]), "is a pair"),
        (lambda: DatasetSource(Items([(IMAGES[0], 0.5)])).take(ALL[:1]), "whole number, got 0.5"),
        (lambda: DatasetSource(Items([("x", 0)])).take(ALL[:1]), "floating point numbers, got str"),
        (lambda: from_iterator([], size=0), "of at least 1, got 0"),
        (lambda: from_iterator([], size=1.5), r"of at least 1, got 1\.5"),
        (lambda: from_iterator(None, size=2), "pairs, got None"),
        (lambda: from_folders(5), "by its path, got 5"),
        (lambda: from_arrays(IMAGES, np.full(6, 2**64 - 1, np.uint64)), "18446744073709551615"),
        (lambda: from_arrays(torch.zeros(2, 3, dtype=torch.uint8), LABELS[:2]), "uint8 pictures"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_sentence(call, sentence) -> None:
    with pytest.raises((DataError, ShapeError), match=sentence):
        call()
