"""Features put like pictures close, and are the same on any machine and thread count."""

import numpy as np
import pytest
import torch

from clnf.streams.bundled import family
from clnf.streams.features import SUMMARY_NAMES, SUMMARY_UNITS, describe, fingerprint, summarise
from clnf.streams.stream import emoji_source


def faces(count: int = 40) -> torch.Tensor:
    return emoji_source("faces", 0, "all").take(torch.arange(count)).x


def test_features_are_whole_numbers_whose_products_add_up_exactly() -> None:
    features = describe(faces())
    assert features.dtype == np.float32
    assert features.shape == (40, 171)
    assert np.array_equal(features, np.rint(features))
    assert features.min() >= 0
    assert features.max() <= 255
    exact = features.astype(np.int64)
    assert np.array_equal((features @ features.T).astype(np.int64), exact @ exact.T)
    assert features.shape[1] * 255**2 < 2**24


def test_a_moved_picture_stays_closer_than_another() -> None:
    x = faces(2)
    moved = torch.roll(x[:1], 1, dims=3)
    a, b, c = describe(
        torch.cat([x[:1], moved, emoji_source("flags", 0).take(torch.tensor([5])).x])
    )
    assert np.linalg.norm(a - b) < 0.5 * np.linalg.norm(a - c)


def test_features_do_not_depend_on_the_batch_or_threads() -> None:
    x = faces()
    single = np.concatenate([describe(one) for one in x.split(1)])
    assert np.array_equal(describe(x), single)
    torch.set_num_threads(2 if torch.get_num_threads() == 1 else 1)
    assert np.array_equal(describe(x), single)


def test_grey_pictures_and_plain_vectors_have_features_too() -> None:
    assert describe(torch.zeros(3, 1, 28, 28)).shape[0] == 3
    assert np.array_equal(describe(torch.eye(4)), np.eye(4, dtype=np.float32))
    assert describe(torch.ones(2, 1000)).shape == (2, 256)
    assert describe(torch.ones(2, 5, 20, 20)).shape == (2, 256)


def test_uneven_blocks_average_every_pixel_once() -> None:
    ramp = torch.linspace(-1, 1, 28 * 28).reshape(1, 1, 28, 28)
    thumbnail = describe(ramp)[0, :64].reshape(8, 8)
    sizes = np.diff(np.append(np.arange(8) * 28 // 8, 28))
    weights = np.outer(sizes, sizes)
    assert (thumbnail * weights).sum() / weights.sum() == pytest.approx(127.5, abs=0.6)


def test_summary_measures_what_it_names() -> None:
    assert len(SUMMARY_NAMES) == len(SUMMARY_UNITS) == 5
    rng = torch.Generator().manual_seed(0)
    noise = torch.rand((1, 3, 32, 32), generator=rng) * 2 - 1
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    red = torch.full((1, 3, 32, 32), -1.0)
    red[:, 0] = 1.0
    rows = dict(
        zip(("noise", "ramp", "red"), summarise(torch.cat([noise, ramp, red])), strict=True)
    )
    table = {k: dict(zip(SUMMARY_NAMES, v, strict=True)) for k, v in rows.items()}
    assert abs(table["noise"]["smoothness"]) < 0.08 < 0.9 < table["ramp"]["smoothness"]
    # Pictures are seen in 256 levels.
    assert table["ramp"]["brightness"] == pytest.approx(0.0, abs=1e-3)
    assert table["ramp"]["contrast"] == pytest.approx(np.linspace(-1, 1, 32).std(), abs=1e-3)
    assert table["ramp"]["edges"] == pytest.approx(1 / 31, abs=1e-6)
    assert table["ramp"]["colour"] == pytest.approx(0.0, abs=1e-12)
    assert table["red"]["colour"] == pytest.approx(2.0)
    assert table["red"]["contrast"] == pytest.approx(0.0, abs=1e-9)
    assert summarise(torch.ones(3, 1)).shape == (3, 5)


def test_fingerprints_tell_pictures_apart_and_ignore_rounding() -> None:
    x = emoji_source("faces", 0, "all").take(torch.arange(len(family("faces")))).x
    prints = fingerprint(x)
    assert prints.dtype == np.int64
    assert len(np.unique(prints)) == len(x)
    assert np.array_equal(fingerprint(x + 1e-5), prints)
    assert not np.array_equal(fingerprint(x[:1] * 0.9), prints[:1])
    vectors = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0 + 1e-6]])
    a, b, c = fingerprint(vectors)
    assert a == b != c
