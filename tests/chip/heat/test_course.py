"""Temperatures in time: against a dense exponential, their own rest, heat kept, and limits."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from scipy.linalg import expm

from clnf.chip.heat import Cooling, thermal_network
from clnf.chip.heat.course import Course, Pacing, follow, settling_s
from clnf.chip.heat.effects import conduction_laws
from clnf.chip.heat.lessons import taught
from clnf.chip.heat.network import ThermalNetwork
from clnf.chip.heat.power import Work, by_lesson, span_s, work
from clnf.chip.heat.reference import conduction, storage
from clnf.chip.heat.temperatures import Housing
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError

Frame = dict[str, Work]


@pytest.fixture
def network(chip: Chip) -> ThermalNetwork:
    housing = Housing(cooling=Cooling(package_k_w=400.0, ambient_k=300.0, rows=6, columns=6))
    return thermal_network(chip, housing)


@pytest.fixture
def frames(chip: Chip) -> list[Frame]:
    """Two spans of unlike work."""
    done = work(chip.ledger.state(), lesson="draw")
    names = list(done)
    other = {name: replace(done[name], logic_j=3 * done[name].logic_j) for name in names[::2]}
    return [done, other]


def test_a_course_is_the_exponential_of_the_sparse_matrix(
    network: ThermalNetwork, frames: list[Frame]
) -> None:
    """Two frames of power, each a few steps long, by an independent way."""
    spans = [span_s(frame, len(network.plan.names)) for frame in frames]
    step = spans[0] / 4
    seconds = 4 * step + 3 * step
    assert spans[1] > 3 * step
    found = follow(network, frames, Pacing(seconds=seconds, step_s=step))
    stack = network.stack
    root, K = np.sqrt(storage(stack)), conduction(stack).toarray()
    grown = expm(-K / np.outer(root, root) * step)
    field, cells = np.zeros(K.shape[0]), stack.at("cells").start
    for k in range(7):
        frame, span = (frames[0], spans[0]) if k < 4 else (frames[1], spans[1])
        each = [frame.get(name, Work()) for name in network.plan.names]
        watts = np.array([[w.cells_j for w in each], [w.logic_j for w in each]]) / span
        end = np.linalg.solve(K, network.spread(watts).ravel())
        field = end + grown @ (root * (field - end)) / root
        plane = field.reshape(stack.shape)[cells]
        told = 300.0 + network.over_tiles(plane) + network.own_k_w[0] * watts[0]
        assert found.mean_k[k] == pytest.approx(told, abs=1e-9)
        assert found.power_w[k] == pytest.approx(watts.sum(), rel=1e-9)
    assert found.mean_k[6] != pytest.approx(found.mean_k[3], abs=1e-6)


def test_a_long_course_ends_at_rest(
    chip: Chip, network: ThermalNetwork, frames: list[Frame]
) -> None:
    laws, done = conduction_laws(chip), frames[0]
    tau = settling_s(network, done)
    rest = network.rest(done, laws=laws)
    pacing = Pacing(seconds=30 * tau, step_s=tau / 4, repeats=None)
    found = follow(network, [done], pacing, laws=laws)
    assert found.mean_k[-1] == pytest.approx(rest.mean_k, abs=1e-6)
    assert found.peaks_k[-1] == pytest.approx(rest.peak_k, abs=1e-6)
    early = follow(network, [done], replace(pacing, seconds=tau), laws=laws)
    share = (early.peaks_k[-1] - 300.0) / (rest.peak_k - 300.0)
    assert 0.5 < share < 0.95


def test_heat_that_came_in_is_stored_or_has_left(
    network: ThermalNetwork, frames: list[Frame]
) -> None:
    """At rest as much leaves as comes in; before, the sum is kept."""
    cycle = sum(span_s(frame, len(network.plan.names)) for frame in frames)
    joules = sum(w.cells_j + w.logic_j for frame in frames for w in frame.values())
    whole = follow(network, frames, Pacing(seconds=4 * cycle, step_s=cycle / 50, repeats=3))
    assert whole.given_j == pytest.approx(3 * joules, rel=1e-9)
    assert whole.turns == pytest.approx(3.0)
    assert whole.done_s == pytest.approx(3 * cycle, rel=1e-9)
    assert whole.stored_j == pytest.approx(whole.given_j, rel=1e-6)  # so short that none has left
    tau = settling_s(network, frames[0])
    long = follow(network, frames, Pacing(seconds=10 * tau, step_s=tau, repeats=None))
    rate = long.power_w[-1]
    assert long.given_j - long.stored_j > 5 * tau * rate
    one_more = follow(network, frames, Pacing(seconds=11 * tau, step_s=tau, repeats=None))
    left = (one_more.given_j - one_more.stored_j) - (long.given_j - long.stored_j)
    assert left == pytest.approx(tau * rate, rel=1e-3)


@pytest.mark.parametrize("how", ["slower", "fewer"])
def test_a_limit_is_held_and_no_more(
    chip: Chip, network: ThermalNetwork, frames: list[Frame], how: Literal["slower", "fewer"]
) -> None:
    laws, done = conduction_laws(chip), frames[0]
    tau, rest = settling_s(network, done), network.rest(done, laws=laws)
    limit = 300.0 + 0.7 * (rest.peak_k - 300.0)
    free = Pacing(seconds=6 * tau, step_s=tau / 20, repeats=None)
    unheld = follow(network, [done], free, laws=laws)
    held = follow(network, [done], replace(free, limit_k=limit, how=how), laws=laws)
    assert unheld.peaks_k.max() > limit
    assert held.peaks_k.max() <= limit + 1e-9
    assert 0 < held.full_speed_s < held.times_s[-1]
    assert 0.4 < held.turns / unheld.turns < 1.0
    if how == "slower":
        assert held.peaks_k[-1] == pytest.approx(limit, abs=1e-6)
    else:
        most = len(network.plan.names)
        speeds = {span_s(done, most) / span_s(done, n + 1) for n in range(most)} | {0.0}
        assert all(min(abs(s - known) for known in speeds) < 1e-9 for s in held.speed)
    # Before it is warm a chip does more than one that keeps the mean power of the limit always.
    pace = 1.0
    while network.rest(done, slower=pace, laws=laws).peak_k > limit:
        pace *= 1.01
    steady = held.times_s[-1] / pace / span_s(done, len(network.plan.names))
    assert held.turns > 1.02 * steady or how == "fewer"


def test_a_limit_that_is_never_reached_costs_nothing(
    network: ThermalNetwork, frames: list[Frame]
) -> None:
    cycle = sum(span_s(frame, len(network.plan.names)) for frame in frames)
    free = Pacing(seconds=2 * cycle, step_s=cycle / 10)
    held = replace(free, limit_k=400.0)
    assert np.array_equal(
        follow(network, frames, free).mean_k, follow(network, frames, held).mean_k
    )
    with pytest.raises(ConfigError, match="above the coolant"):
        follow(network, frames, replace(free, limit_k=300.0))
    with pytest.raises(ConfigError, match="no tile was busy"):
        follow(network, [{}], free)
    with pytest.raises(ConfigError, match="no place"):
        follow(network, [{"other": Work(busy_s=1.0)}], free)
    with pytest.raises(ConfigError, match="time is followed"):
        Pacing(seconds=1.0, step_s=0.0)
    with pytest.raises(ConfigError, match="at least once"):
        Pacing(seconds=1.0, step_s=0.1, repeats=0)


def test_lessons_follow_one_another(chip: Chip, network: ThermalNetwork) -> None:
    lessons = by_lesson(chip.ledger.state())
    assert "draw" in lessons
    assert lessons["draw"] == work(chip.ledger.state(), lesson="draw")
    lessons["rest"] = {}
    lessons["again"] = {n: replace(w, logic_j=9 * w.logic_j) for n, w in lessons["draw"].items()}
    found = taught(network, lessons)
    assert found is not None
    names = [lesson.lesson for lesson in found.lessons]
    assert names == [name for name in lessons if name != "rest"]
    ends = np.cumsum([span_s(lessons[name], len(network.plan.names)) for name in names])
    assert [lesson.end_s for lesson in found.lessons] == pytest.approx(ends.tolist())
    assert found.lessons[-1].hottest_k > found.lessons[-2].hottest_k > 300.0
    assert max(one.hottest_k for one in found.lessons) == found.course.peaks_k.max()
    assert isinstance(found.course, Course)
    assert taught(network, {"idle": {}}) is None
