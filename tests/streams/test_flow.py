"""Flows give every sample once, and run tasks into each other as much as asked and no more."""

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.streams.flow import Arrival, Flow
from clnf.streams.sources import ArraySource

SIZE = 2000


def tasks(count: int = 4, size: int = SIZE) -> list[ArraySource]:
    return [ArraySource(torch.arange(size)[:, None] + 0.5 + t * size, t) for t in range(count)]


def flow(**settings) -> Flow:
    return Flow(tasks(), batch_size=32, seed=settings.pop("seed", 0), arrival=Arrival(**settings))


@pytest.mark.parametrize("how", [{}, {"blur": 0.3}, {"ramp": 0.5}, {"blur": 1.0, "ramp": 2.0}])
def test_every_sample_comes_once(how) -> None:
    made = flow(**how)
    batches = list(made)
    assert len(batches) == len(made) == 250
    assert sorted(torch.cat([b.x.flatten() for b in batches]).long().tolist()) == list(range(8000))
    seen = torch.cat([b.cond for b in batches])
    assert np.array_equal(seen.numpy(), made.origin())


def test_online_is_task_after_task_in_a_shuffled_order() -> None:
    origin = flow().origin()
    assert (np.diff(origin) >= 0).all()
    first = flow().take(0).x.flatten()
    assert not torch.equal(first, first.sort().values)


def test_blur_deals_out_the_share_it_names() -> None:
    for blur in (0.1, 0.4):
        origin = flow(blur=blur).origin().reshape(4, SIZE)
        foreign = np.mean([np.mean(row != task) for task, row in enumerate(origin)])
        assert foreign == pytest.approx(blur * 0.75, abs=0.015)
        # Strangers come all through a task, not at its edges only.
        early = (origin[1][: SIZE // 2] != 1).mean()
        assert early == pytest.approx(blur * 0.75, abs=0.05)


def test_a_ramp_is_linear_and_ends() -> None:
    origin = flow(ramp=0.5).origin()
    after = origin[SIZE - 500 : SIZE + 500] == 1
    shares = after.reshape(10, 100).mean(1)
    assert shares == pytest.approx(np.linspace(0.05, 0.95, 10), abs=0.13)
    assert (origin[: SIZE - 501] == 0).all()
    assert (origin[SIZE + 501 : 2 * SIZE - 501] == 1).all()


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    again = flow(blur=0.2).take(77)
    assert torch.equal(flow(blur=0.2).take(77).x, again.x)
    assert not torch.equal(flow(blur=0.2, seed=1).take(77).x, again.x)
    with pytest.raises(ConfigError, match="250 batches"):
        flow().take(250)


def test_windows_tell_no_task_and_cover_the_flow() -> None:
    made = flow(ramp=1.0)
    windows = made.windows(60)
    assert [len(one.data) for one in windows] == [1920, 1920, 1920, 1920, 320]
    assert {one.concept for one in windows} == {"flow"}
    second = windows[1].data.take(torch.arange(32)).x
    assert torch.equal(second, made.take(60).x)


def test_wrong_settings_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Arrival(blur=1.5)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Arrival(ramp=float("nan"))
    with pytest.raises(ConfigError, match="0 samples"):
        Flow([ArraySource(torch.zeros(0, 1), 0)], batch_size=4, seed=0)
    with pytest.raises(ConfigError, match="at least one batch"):
        flow().windows(0)
