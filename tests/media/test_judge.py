"""The judge and its distance."""

import pytest
import torch

from clnf.core.rng import torch_rng
from clnf.media.bundled import load_judge
from clnf.media.judge import OTHER, Judge, JudgePlan, spoiled, train_judge
from clnf.media.kid import kid
from clnf.streams.bundled import emoji32, family, split
from clnf.streams.sources import from_levels


def pictures(name: str) -> torch.Tensor:
    return from_levels(emoji32().images[family(name)])


def test_kid_is_small_between_halves_and_large_against_noise() -> None:
    judge, _ = load_judge()
    faces = judge.features(pictures("faces"))
    noise = judge.features(torch.randn(59, 3, 32, 32, generator=torch_rng(0, "n")).clamp(-1, 1))
    order = torch.randperm(len(faces), generator=torch_rng(0, "halves"))
    halves = kid(faces[order[:59]], faces[order[59:]])
    assert abs(halves) < 0.1 * kid(faces[order[:59]], noise)


def test_kid_rises_with_noise() -> None:
    judge, _ = load_judge()
    flags = pictures("flags")
    static = torch.randn(flags.shape, generator=torch_rng(1, "n"))
    clean = judge.features(flags[::2])
    scale = [
        kid(clean, judge.features((flags + s * static).clamp(-1, 1)[1::2]))
        for s in (0.0, 0.3, 0.6, 1.2)
    ]
    assert scale == sorted(scale)


@pytest.mark.parametrize("steps", [60, 1])
def test_a_judge_learns_to_name_pictures_it_never_saw(steps: int) -> None:
    names = ["flags", "people", "clocks", "birds"]
    images = [torch.from_numpy(emoji32().images[split(name)]) for name in names]
    label = torch.arange(4).repeat_interleave(torch.tensor([len(x) for x in images]))
    torch.manual_seed(0)
    judge = Judge(names[:-1])
    for _ in train_judge(judge, torch.cat(images), label, JudgePlan(copies=2, steps=steps), 0):
        pass
    held = [from_levels(emoji32().images[split(name, "held_out")]) for name in names[:-1]]
    shares = [judge.eval().match(x, name) for x, name in zip(held, names, strict=False)]
    assert (min(shares) >= 0.8) == (steps > 1), shares


def test_the_bundled_judge_names_each_family_and_what_is_no_picture() -> None:
    judge, _ = load_judge()
    for name in judge.families[:-1]:
        assert judge.match(pictures(name), name) >= 0.9
        assert judge.match(spoiled(pictures(name), torch_rng(0, "s")), OTHER) >= 0.7
    noise = torch.randn(32, 3, 32, 32, generator=torch_rng(0, "n")).clamp(-1, 1)
    assert judge.match(noise, OTHER) > 0.9


def test_an_untrained_judge_knows_nothing() -> None:
    torch.manual_seed(0)
    judge = Judge(["faces", "flags"])
    shares = [judge.match(pictures(name), name) for name in ("faces", "flags")]
    assert min(shares) < 0.5


def test_spoiled_pictures_keep_shape_and_range() -> None:
    x = pictures("flags")[:40]
    bad = spoiled(x, torch_rng(0, "s"))
    assert bad.shape == x.shape
    assert float(bad.abs().max()) <= 1.0
    assert not torch.equal(bad, x)
