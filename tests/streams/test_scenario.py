"""Scenarios give every protocol the labels, the tests and the silence it promises."""

import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Experience, Source
from clnf.streams.digits import digits_part
from clnf.streams.scenario import RelabelSource, Scenario, Task, incremental, labels_of
from clnf.streams.sources import ArraySource

PAIRS = ((0, 1), (2, 3), (4, 5))


def everything(source: Source) -> Batch:
    return source.take(torch.arange(len(source)))


@pytest.fixture
def data() -> ArraySource:
    """Six classes; the only value of a sample tells its class and number."""
    label = torch.arange(60) % 6
    return ArraySource(torch.arange(60.0)[:, None], label)


def test_class_and_task_protocols_keep_the_labels_and_domains_share_them(data) -> None:
    for protocol, labels, outputs in (
        ("class", {2, 3}, 6),
        ("task", {2, 3}, 6),
        ("domain", {0, 1}, 2),
    ):
        made = incremental(data, data, PAIRS, protocol=protocol)
        batch = everything(made[1].experience.data)
        assert set(batch.cond.tolist()) == labels == set(made[1].outputs)
        assert {int(v) % 6 for v in batch.x} == {2, 3}
        assert made.outputs == outputs


def test_the_order_in_a_group_is_the_order_of_shared_outputs(data) -> None:
    made = incremental(data, data, ((0, 1), (3, 2)), protocol="domain")
    batch = everything(made[1].test)
    assert [int(v) % 6 for v in batch.x] == [3 - int(c) for c in batch.cond]


def test_only_the_task_protocol_tells_the_task_at_the_test(data) -> None:
    assert incremental(data, data, PAIRS, protocol="task").allowed(1).tolist() == [
        False, False, True, True, False, False
    ]  # fmt: skip
    assert incremental(data, data, PAIRS, protocol="class").allowed(1).all()
    assert incremental(data, data, PAIRS, protocol="domain").allowed(1).tolist() == [True, True]


def test_tasks_hold_each_sample_once(data) -> None:
    made = incremental(data, data, PAIRS)
    values = torch.cat([everything(task.experience.data).x.flatten() for task in made])
    assert sorted(values.tolist()) == list(range(60))
    assert labels_of(RelabelSource(data, torch.tensor([5, 4, 3, 2, 1, 0]))).tolist() == [
        5 - int(c) for c in data.cond
    ]


@pytest.mark.parametrize(
    ("groups", "protocol", "sentence"),
    [
        (((0, 1), (1, 2)), "class", "belongs to one task"),
        ((), "class", "belongs to one task"),
        (((0, 1), (2,)), "domain", "as many classes each"),
        (((0, 9),), "class", "class 9 of 'task 0 9' has no samples"),
        (((7,),), "class", "no samples"),
        (((0,),), "classes", "task, domain or class"),
    ],
)
def test_wrong_groups_are_one_sentence(data, groups, protocol, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        incremental(data, data, groups, protocol=protocol)


def test_a_label_without_an_output_is_refused(data) -> None:
    task = Task(experience=Experience(name="a", concept="a", data=data), test=data, outputs=(6,))
    with pytest.raises(ConfigError, match="output for every label"):
        Scenario([task], protocol="class", outputs=6)
    assert len(Scenario([task], protocol="class", outputs=7)) == 1


def test_labels_are_read_from_any_source() -> None:
    assert labels_of(digits_part("held_out")).tolist() == digits_part("held_out").cond.tolist()


def test_a_class_beyond_all_outputs_is_refused_before_room_is_made() -> None:
    far = ArraySource(torch.zeros(4, 2), torch.tensor([0, 10**12, 0, 10**12]))
    for protocol in ("class", "domain"):
        with pytest.raises(ConfigError, match="got 1000000000000; number the classes anew"):
            incremental(far, far, [[0], [10**12]], protocol=protocol)
    near = ArraySource(torch.zeros(4, 2), torch.tensor([0, 70_000, 0, 70_000]))
    assert incremental(near, near, [[0], [70_000]]).outputs == 70_001
