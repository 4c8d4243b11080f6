"""A hundred experiences in the memory of one."""

import gc
import tracemalloc

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Experience
from clnf.streams.scenario import labels_of
from clnf.streams.sources import ArraySource, to_levels
from clnf.streams.stream import LazyStream
from clnf.streams.worlds.endless import LOOKS, sprite_scenario


def test_a_hundred_tasks_with_names_and_looks_of_their_own() -> None:
    made = sprite_scenario(100, seed=0, samples=8)
    assert (len(made), made.outputs, LOOKS) == (100, 2, 192)
    names = [experience.name for experience in made.stream]
    assert len(set(names)) == 100
    looks = [look for name in names[:96] for look in name.split(" ", 2)[2].split(" or ")]
    assert len(set(looks)) == 192
    task = made[41]
    assert set(labels_of(task.experience.data)) == {0, 1} == set(labels_of(task.test))
    assert (len(task.experience.data), len(task.test)) == (16, 4)


def test_looks_of_a_task_differ_and_what_is_tested_was_not_taught() -> None:
    task = sprite_scenario(3, seed=0, samples=32)[1]
    taught = task.experience.data.take(torch.arange(64))
    asked = task.test.take(torch.arange(16))
    prints = {x.tobytes() for x in to_levels(taught.x)}
    assert not prints & {x.tobytes() for x in to_levels(asked.x)}
    ink = [taught.x[taught.cond == label].amin((0, 2, 3)) for label in (0, 1)]
    assert not torch.allclose(ink[0], ink[1]) or "plain" in task.experience.name


def test_the_same_task_again_after_a_resume() -> None:
    one, again, other = (sprite_scenario(9, seed=seed, samples=8) for seed in (1, 1, 2))
    x = one[4].experience.data.take(torch.arange(16)).x
    assert torch.equal(again.stream[4].data.take(torch.arange(16)).x, x)
    assert one[4].experience.name == one.stream[4].name != other[4].experience.name


def test_class_and_task_protocols_give_every_look_an_output() -> None:
    made = sprite_scenario(96, seed=0, samples=4, protocol="class")
    assert made.outputs == 192
    outputs = [output for task in made for output in task.outputs]
    assert sorted(outputs) == list(range(192))
    told = sprite_scenario(5, seed=0, samples=4, protocol="task")
    assert int(told.allowed(2).sum()) == 2
    assert made.allowed(2).all()
    with pytest.raises(ConfigError, match="200 outputs and there are 192"):
        sprite_scenario(100, seed=0, protocol="class")
    with pytest.raises(ConfigError, match="2 looks and 4 samples"):
        sprite_scenario(100, seed=0, ways=1)


def grown(stream) -> tuple[int, int]:
    """Bytes held after 10 and after 100 experiences, each read whole."""
    gc.collect()
    tracemalloc.start()
    at = []
    for number, experience in enumerate(stream):
        experience.data.take(torch.arange(len(experience.data)))
        if number in (9, 99):
            del experience
            gc.collect()
            at.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return at[0], at[1]


def test_memory_does_not_grow_with_experiences_and_the_measure_would_see_it() -> None:
    stream = sprite_scenario(100, seed=0, samples=4).stream
    early, late = grown(stream)
    assert late - early < 20_000
    kept: list[np.ndarray] = []

    def leaky(number: int) -> Experience:
        kept.append(np.zeros((8, 32, 32, 3), np.uint8))
        return Experience(name="a", concept="a", data=ArraySource(kept[-1], 0))

    early, late = grown(LazyStream(100, leaky))
    assert late - early > 90 * 8 * 32 * 32 * 3


def test_a_lazy_stream_numbers_its_names_and_ends() -> None:
    def build(number: int) -> Experience:
        return Experience(name="a", concept="a", data=ArraySource(torch.zeros(1, 2), number))

    stream = LazyStream(3, build)
    assert [one.name for one in stream] == ["000 a", "001 a", "002 a"]
    with pytest.raises(IndexError, match="3 experiences"):
        stream[3]
    with pytest.raises(ConfigError, match="at least one"):
        LazyStream(0, build)
