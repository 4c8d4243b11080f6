"""Tiles as thermal resistances: equal to the map, at rest where power and temperature agree."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from clnf.chip.heat import local
from clnf.chip.heat.effects import conduction_laws
from clnf.chip.heat.local import ArrayHeat
from clnf.chip.heat.network import Cooling, ThermalNetwork
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import Work, work
from clnf.chip.heat.throttle import throttle
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError

PACKAGE = Cooling(package_k_w=400.0, ambient_k=300.0, rows=32, columns=32)


@pytest.fixture
def network(chip: Chip) -> ThermalNetwork:
    return ThermalNetwork(place(chip), PACKAGE)


@pytest.fixture
def done(chip: Chip) -> dict[str, Work]:
    return work(chip.ledger.state(), lesson="draw")


def test_all_heat_goes_through_the_package(network: ThermalNetwork, done: dict[str, Work]) -> None:
    state = network.rest(done)
    power = state.energy_j / state.span_s
    joules = sum(one.cells_j + one.logic_j for one in done.values())
    assert state.energy_j == pytest.approx(joules, rel=1e-12)
    stack = network.stack
    series = np.cumsum(1 / stack.couplings_w_m2k) / stack.area_m2
    logic, cells = stack.at("logic").start, stack.at("cells").start
    drawn = state.cells_w.sum() * (series[cells] - series[logic])
    assert network.map(state).mean() - 300.0 == pytest.approx(
        power * series[logic] + drawn, rel=1e-9
    )
    assert series[0] > 400.0
    assert network.map(state).mean() - 300.0 != pytest.approx(power * series[logic], rel=1e-6)


def test_resistances_are_what_the_map_says(network: ThermalNetwork, done: dict[str, Work]) -> None:
    state = network.rest(done)
    field, (rows, columns) = network.map(state), network.plan.shares(32, 32)
    means = np.einsum("yx,ty,tx->t", field, rows, columns)
    own = network._own[0] * state.cells_w
    assert state.mean_k == pytest.approx(means + own, rel=1e-12)
    assert (state.hottest_k > state.mean_k).all()
    other = network.rest({n: replace(w, cells_j=2 * w.cells_j) for n, w in done.items()})
    assert other.mean_k != pytest.approx(means + own, rel=1e-5)


def test_rest_with_a_law_is_the_linear_solution(
    chip: Chip, network: ThermalNetwork, done: dict[str, Work]
) -> None:
    slope = 0.002
    state = network.rest(done, laws=conduction_laws(chip))
    power = np.array([done[name].cells_j for name in state.names]) / state.span_s
    resist = network._from[1] + np.diag(network._own[0])
    base = 300.0 + network._from[0] @ state.logic_w
    # T = base + R P0 (1 + a (T - 300)): one linear system.
    system = np.eye(len(power)) - slope * resist * power
    exact = np.linalg.solve(system, base + resist @ (power * (1 - slope * 300.0)))
    assert state.mean_k == pytest.approx(exact, abs=1e-7)
    assert state.rounds > 1
    assert network.rest(done).mean_k != pytest.approx(exact, abs=1e-6)


def test_heat_that_runs_away_is_said(network: ThermalNetwork, done: dict[str, Work]) -> None:
    laws = dict.fromkeys(network.plan.names, lambda t: 1 + 1e4 * (t - 300.0))
    with pytest.raises(DeviceLimitError, match="runs away"):
        network.rest(done, laws=laws)


def test_fewer_tiles_and_slower_work_are_cooler(
    network: ThermalNetwork, done: dict[str, Work]
) -> None:
    peaks = [network.rest(done, at_once=n).peak_k for n in (1, 2, 4)]
    assert peaks[0] < peaks[1] <= peaks[2]
    free, slow = network.rest(done), network.rest(done, slower=2.0)
    assert slow.peak_k - 300.0 == pytest.approx((free.peak_k - 300.0) / 2, rel=1e-9)
    assert slow.span_s == 2 * free.span_s
    with pytest.raises(ConfigError, match="at least 1"):
        network.rest(done, slower=0.5)
    with pytest.raises(ConfigError, match="no place"):
        network.rest({"other": Work(busy_s=1.0)})


@pytest.mark.parametrize("how", ["slower", "fewer"])
def test_throttling_holds_the_limit_and_no_more(
    chip: Chip, network: ThermalNetwork, done: dict[str, Work], how: str
) -> None:
    laws = conduction_laws(chip)
    free = network.rest(done, laws=laws)
    limit = 300.0 + 0.4 * (free.peak_k - 300.0)
    found = throttle(network, done, limit, how, laws=laws)  # type: ignore[arg-type]
    assert found.held.peak_k <= limit < free.peak_k
    assert found.cost_s == pytest.approx(found.held.span_s - free.span_s)
    assert found.cost_s > 0
    if how == "slower":
        less = network.rest(done, slower=found.slower * (1 - 1e-5), laws=laws)
    else:
        less = network.rest(done, at_once=found.at_once + 1, laws=laws)
    assert less.peak_k > limit


@pytest.mark.parametrize("how", ["slower", "fewer"])
def test_throttling_holds_heat_that_would_run_away(
    network: ThermalNetwork, done: dict[str, Work], how: Literal["slower", "fewer"]
) -> None:
    free = network.rest(done, slower=1.0)
    own = float((network._from[1] + np.diag(network._own[0])).sum(1).max() * free.cells_w.max())
    # Runs away at full speed; a quarter of the power, or one tile of many, comes to rest.
    laws = dict.fromkeys(network.plan.names, lambda t: 1 + 1.5 / own * max(t - 300.0, 0.0))
    with pytest.raises(DeviceLimitError, match="runs away"):
        network.rest(done, laws=laws)
    found = throttle(network, done, 1000.0, how, laws=laws)
    assert found.free is None
    assert found.held.peak_k < 1000.0
    assert found.cost_s > 0


def test_no_throttling_where_none_is_needed(network: ThermalNetwork, done: dict[str, Work]) -> None:
    found = throttle(network, done, 1000.0, "fewer")
    assert (found.cost_s, found.slower, found.at_once) == (0.0, 1.0, len(network.plan.sites))


def test_limits_that_cannot_be_held_are_said(
    network: ThermalNetwork, done: dict[str, Work]
) -> None:
    with pytest.raises(ConfigError, match="above the coolant's 300 K"):
        throttle(network, done, 300.0, "slower")
    with pytest.raises(ConfigError, match="even one tile"):
        throttle(network, done, 300.0 + 1e-9, "fewer")


def test_a_cells_own_resistance_adds_its_own_power(
    chip: Chip, network: ThermalNetwork, done: dict[str, Work]
) -> None:
    narrow = ThermalNetwork(network.plan, replace(PACKAGE, filament_k_w=7.23e5))
    a, b = network.rest(done), narrow.rest(done)
    cells = np.array([site.lines * site.columns for site in network.plan.sites])
    assert b.mean_k - a.mean_k == pytest.approx(7.23e5 * a.cells_w / cells, rel=1e-6)


def heat(rows: int = 24, columns: int = 48, pitch: float = 100e-9) -> ArrayHeat:
    return ArrayHeat(rows, columns, pitch, 1e-3)


def test_an_array_is_hottest_in_its_middle_and_linear() -> None:
    one = heat()
    even = np.full((24, 48), 1e-8)
    rise = one.rise(even)
    assert rise.max() == pytest.approx(rise[11:13, 22:26].max())
    assert rise[0, 0] < 0.8 * rise.max()
    assert one.rise(3 * even) == pytest.approx(3 * rise, rel=1e-12)
    assert rise == pytest.approx(rise[::-1, ::-1], rel=1e-6)
    with pytest.raises(ShapeError, match="in this array"):
        one.rise(even.T)


def test_half_an_array_heats_its_own_half_more() -> None:
    power = np.zeros((24, 48))
    power[:, :24] = 1e-8
    rise = heat().rise(power)
    assert rise[:, :24].mean() > 1.5 * rise[:, 24:].mean()


def test_a_small_array_is_a_square_in_its_layer() -> None:
    """Mean rise of a square that heats a body without end on both sides: .4732 / 2 k a.

    Half of that of a square on a half-space (Yovanovich). The silicon is near and the source half
    a micrometre thick, so that what is solved lies below.
    """
    solved = {pitch: ArrayHeat(16, 16, pitch, 1e-3).uniform_k_w()[0] for pitch in (1e-7, 2e-7)}
    closed = {pitch: 0.4732 / (2 * 2.25 * 16 * pitch) for pitch in solved}
    for pitch, found in solved.items():
        assert 0.65 * closed[pitch] < found < closed[pitch]
    assert solved[1e-7] / solved[2e-7] == pytest.approx(2.0, rel=0.2)


def test_what_a_window_leaves_out_is_a_hundredth(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = ArrayHeat(288, 128, 80e-9, 5e-4).uniform_k_w()
    monkeypatch.setattr(local, "_WINDOW", 16.0)
    monkeypatch.setattr(local, "_GRID", 256)
    assert ArrayHeat(288, 128, 80e-9, 5e-4).uniform_k_w() == pytest.approx(narrow, rel=0.02)
    monkeypatch.setattr(local, "_GRID", 16)
    assert ArrayHeat(288, 128, 80e-9, 5e-4).uniform_k_w() != pytest.approx(narrow, rel=0.02)
