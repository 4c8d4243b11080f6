"""Modules are added, muted and weighed, and kinds have the rights they are said to have."""

import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.streams.modular import Modules, StreamModule
from clnf.streams.rights import RIGHTS
from clnf.streams.sources import ArraySource


def module(name: str, label: int, **settings) -> StreamModule:
    values = torch.arange(50.0)[:, None] + 100 * label
    return StreamModule(name=name, data=ArraySource(values, label), **settings)


@pytest.fixture
def three() -> Modules:
    return Modules(
        [
            module("core", 0, kind="core"),
            module("news", 1),
            module("people", 2, kind="feedback"),
        ]
    )


def counts(modules: Modules, samples: int = 100, name: str = "one") -> list[int]:
    data = modules.blend(name, samples, seed=0).data
    cond = data.take(torch.arange(len(data))).cond
    return torch.bincount(cond, minlength=3).tolist()


def test_lessons_come_in_order_with_weights_as_priorities(three) -> None:
    stream = three.weigh("news", 3.0).mute("people").lessons()
    assert stream.names == ("core", "news")
    assert [one.priority for one in stream] == [1.0, 3.0]
    assert [one.kind for one in stream] == ["core", "new"]


def test_a_change_gives_new_modules_and_leaves_the_old(three) -> None:
    muted = three.mute("news")
    assert three.heard == ("core", "news", "people")
    assert muted.heard == ("core", "people")
    assert muted.mute("news", muted=False).heard == three.heard
    assert len(three.add(module("more", 3))) == 4
    assert three.remove("news").heard == ("core", "people")


def test_core_knowledge_cannot_be_silenced_and_the_others_can(three) -> None:
    for silence in (
        lambda name: three.mute(name),
        lambda name: three.weigh(name, 0.5),
        lambda name: three.remove(name),
    ):
        with pytest.raises(ConfigError, match="core knowledge"):
            silence("core")
        assert len(silence("news")) >= 2
    assert three.weigh("core", 2.0)["core"].weight == 2.0


def test_weights_are_shares(three) -> None:
    assert counts(three.mute("people").weigh("news", 3.0)) == [25, 75, 0]
    assert counts(three.mute("people").weigh("news", 3.0), 7) == [2, 5, 0]


def test_feedback_however_loud_is_a_quarter_at_most(three) -> None:
    assert RIGHTS["feedback"].share == 0.25
    assert counts(three.weigh("people", 1000.0)) == [38, 37, 25]
    assert counts(three.weigh("people", 0.2).weigh("core", 1.0)) == pytest.approx(
        [45, 46, 9], abs=1
    )
    # The control: something new may be as loud as it likes.
    assert counts(three.weigh("news", 1000.0))[1] >= 99
    with pytest.raises(ConfigError, match="feedback alone"):
        Modules([module("people", 2, kind="feedback")]).blend("a", 4, seed=0)


def test_a_blend_repeats_no_sample_before_all_came_and_is_the_same_again(three) -> None:
    alone = Modules([module("news", 1)])
    values = alone.blend("a", 120, seed=0).data.take(torch.arange(120)).x.flatten()
    assert torch.bincount(values.long() - 100).tolist().count(3) == 20
    assert torch.bincount(values.long() - 100).min() == 2
    first, again, other = (
        three.blend(name, 40, seed=seed).data.take(torch.arange(40)).x
        for name, seed in (("a", 0), ("a", 0), ("b", 0))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with_it = set(first.flatten().long().tolist())
    muted = three.mute("people").blend("a", 28, seed=0).data.take(torch.arange(28)).x
    news = {v for v in with_it if 100 <= v < 200}
    assert len(news & set(muted.flatten().long().tolist())) >= 14


def test_wrong_modules_are_one_sentence(three) -> None:
    with pytest.raises(ConfigError, match="'news' comes twice"):
        three.add(module("news", 4))
    with pytest.raises(ConfigError, match="there is no module 'x'; there are 'core'"):
        three.mute("x")
    with pytest.raises(ConfigError, match="finite weight"):
        three.weigh("news", -1.0)
    with pytest.raises(ConfigError, match="finite weight"):
        three.weigh("news", float("nan"))
    with pytest.raises(ConfigError, match="no module is heard"):
        Modules([module("news", 1, muted=True)]).lessons()
    with pytest.raises(ConfigError, match="of at least 1, got 0"):
        three.blend("a", 0, seed=0)
    with pytest.raises(ConfigError, match=r"a whole number of at least 1, got 1\.5"):
        three.blend("a", 1.5, seed=0)
    with pytest.raises(ConfigError, match="weight of module 'news' must be a number, got '2'"):
        three.weigh("news", "2")
    with pytest.raises(ConfigError, match="one of core, new, feedback, got 'foo'"):
        module("more", 1, kind="foo")
    assert len(three.weigh("news", 2).blend("a", 3, seed=0).data) == 3
