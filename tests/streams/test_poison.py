"""The poison is what it claims to be, and the same for the same seed."""

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.streams.features import summarise
from clnf.streams.poison import PoisonParams, poison
from clnf.streams.sources import ArraySource
from clnf.streams.stream import emoji_source

HANDS = len(emoji_source("hands", 5))


def made(seed: int = 0, **numbers: int):
    return poison(
        emoji_source("hands", 5),
        emoji_source("flags", 2),
        seed=seed,
        params=PoisonParams(**numbers),
    )


def test_every_kind_is_present_and_is_what_it_says() -> None:
    bad = made()
    batch = bad.source.take(torch.arange(len(bad.source)))
    kinds = np.array(bad.kinds)
    assert {k: int((kinds == k).sum()) for k in set(bad.kinds)} == {
        "good": HANDS,
        "noise": 12,
        "broken": 12,
        "copy": 12,
        "mislabelled": 12,
    }
    assert set(batch.cond.tolist()) == {5}
    finite = torch.isfinite(batch.x).flatten(1).all(1).numpy()
    assert np.array_equal(~finite, kinds == "broken")
    assert bool(torch.isinf(batch.x).any())
    assert bool(torch.isnan(batch.x).any())
    smooth = summarise(batch.x[torch.from_numpy(kinds == "noise")])[:, 4]
    assert np.abs(smooth).max() < 0.1
    flags = emoji_source("flags", 2).take(torch.arange(208)).x
    known = {x.numpy().tobytes() for x in flags}
    strange = batch.x[torch.from_numpy(kinds == "mislabelled")]
    assert all(x.numpy().tobytes() in known for x in strange)


def test_a_copy_always_comes_after_its_original() -> None:
    for seed in range(10):
        bad = made(seed)
        batch = bad.source.take(torch.arange(len(bad.source)))
        seen: set[bytes] = set()
        for x, kind in zip(batch.x, bad.kinds, strict=True):
            content = x.numpy().tobytes()
            assert (content in seen) == (kind == "copy")
            if kind == "good":
                seen.add(content)


def test_good_samples_are_all_still_there() -> None:
    bad = made(3)
    kept = torch.tensor([i for i, kind in enumerate(bad.kinds) if kind == "good"])
    found = {x.numpy().tobytes() for x in bad.source.take(kept).x}
    assert found == {
        x.numpy().tobytes() for x in emoji_source("hands", 5).take(torch.arange(HANDS)).x
    }


def test_same_seed_same_poison() -> None:
    everything = torch.arange(HANDS + 48)
    a, b, c = (made(seed).source.take(everything).x for seed in (1, 1, 2))
    assert torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0))
    assert not torch.equal(a.nan_to_num(9.0), c.nan_to_num(9.0))


def test_numbers_can_be_chosen_and_are_checked() -> None:
    assert set(made(noise=0, broken=0, copies=0, mislabelled=1).kinds) == {"good", "mislabelled"}
    with pytest.raises(ConfigError, match="negative"):
        PoisonParams(noise=-1)
    with pytest.raises(ConfigError, match="empty"):
        poison(ArraySource(torch.zeros(0, 3, 8, 8), 0), emoji_source("flags", 2), seed=0)
