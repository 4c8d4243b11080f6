"""What cells, waves and gates refuse, and waves that are shorter than a step."""

import math
from typing import Any

import pytest
import torch

from clnf.core.errors import ClnfError, ConfigError, DataError, DeviceLimitError, ShapeError
from clnf.devices.cell import Cell
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.devices.voltage import Sinh
from clnf.devices.worth import Offer
from clnf.spiking.memristive import (
    CellArray,
    Competition,
    Gate,
    GateRule,
    MemristivePopulation,
    Overlap,
    PulseSGD,
    Wave,
    action,
    bipolar,
    laid,
    rectangle,
    window,
)

LAW = Sinh(scale_v=0.08, source="test")
NAN, INF = float("nan"), float("inf")


def made(name: str = "hfo2_array_optimised", write_v: float = 1.5) -> Cell:
    return cell(
        material(name).supply(
            conductance_min_s=1e-6, conductance_max_s=1e-4, write_voltage_v=write_v,
            write_time_s=1e-7,
        )
    )  # fmt: skip


def array(**more: Any) -> CellArray:
    return CellArray((2, 3), made(), seed=1, **more)


def overlap(**more: Any) -> Overlap:
    parts = {"pre": rectangle(-0.8, 10e-6), "post": rectangle(0.8, 10e-6), "law": LAW,
             "pulse": made().need(made().pulse)}  # fmt: skip
    return Overlap(**{**parts, **more})


@pytest.mark.parametrize(
    "bad", [40000.0, -32768.0, 70000.0, 0.9, -1e-3, NAN, INF, -INF, 2**40, 40000]
)
def test_pulses_are_whole_numbers_that_a_train_holds(bad: float) -> None:
    cells = array()
    before = cells.weight()
    due = torch.zeros(2, 3, dtype=torch.int64 if isinstance(bad, int) else torch.float32)
    due[1, 2] = bad
    with pytest.raises(DataError, match=r"whole numbers from -32767 to 32767, got .* at \[1, 2\]"):
        cells.pulse(due)
    assert torch.equal(cells.weight(), before)
    assert int(cells.done) == 0
    assert cells.ledger.total(op="pulse").count == 0


@pytest.mark.parametrize("most", [32767.0, -32767.0])
def test_the_longest_train_is_given_and_counted(most: float) -> None:
    for planes in range(2):
        cells = array()
        cells.done += planes
        assert cells.pulse(torch.full((2, 3), most)) == 6 * 32767
        assert (cells.weight().mean() > 0) == (most > 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.full((2, 3), NAN), r"finite, got nan at \[0, 0\]"),
        (torch.full((2, 3), INF), "finite, got inf"),
        (torch.ones(3, 2), r"the shape \[2, 3\]"),
        ([[1.0]], r"the shape \[2, 3\]"),
        ("a", "weights must be"),
    ],
)
def test_weights_that_cannot_be_written_are_refused(values: Any, words: str) -> None:
    with pytest.raises(ClnfError, match=words):
        array().write(values)


@pytest.mark.parametrize("shape", [(0, 3), (-1, 3), (2.5, 3), (1, 2, 3), "a", None])
def test_shapes_of_cells_are_two_whole_numbers(shape: Any) -> None:
    with pytest.raises(ConfigError, match="shape of cells"):
        CellArray(shape, made(), seed=1)


@pytest.mark.parametrize("dt", [1e-3, 3e-4, 1e-4, 7e-5, 1e-5, 3e-6])
def test_waves_shorter_than_a_step_are_added_up_in_full(dt: float) -> None:
    wanted = 10e-6 / 1e-7 * math.sinh(1.6 / 0.08) / math.sinh(1.5 / 0.08)
    assert overlap().tables(dt).up[:-1, :-1].diagonal().sum() == pytest.approx(wanted, rel=1e-6)
    half = overlap(post=rectangle(0.8, 4e-6, delay_s=1e-6)).tables(dt)
    assert half.up[:-1, :-1].diagonal().sum() == pytest.approx(0.4 * wanted, rel=1e-3)


def test_ramps_shorter_than_a_step_are_those_of_fine_steps() -> None:
    spike = action(0.5, 20e-6, 0.3, 80e-6)
    parts = {"pre": spike, "post": rectangle(0.7, 60e-6), "speed": 100.0}
    coarse, fine = (overlap(**parts).tables(dt) for dt in (1e-3, 1e-6))
    for one, other in ((coarse.up, fine.up), (coarse.heat, fine.heat)):
        ends = [len(side) - 1 for side in (fine.up, fine.up[0])]
        together = sum(other[min(n, ends[0]), min(n, ends[1])] for n in range(max(ends)))
        assert one[0, 0] == pytest.approx(together, rel=3e-3)


def test_windows_of_too_many_pulses_are_refused_as_tables_are() -> None:
    slow = overlap(pre=rectangle(-0.8, 5e-3), post=bipolar(-0.8, 0.9, 1e-3))
    with pytest.raises(DeviceLimitError, match="a step of these waves is"):
        slow.tables(1e-3)
    with pytest.raises(DeviceLimitError, match="a pair of spikes is .* speed them up"):
        window(made(), slow, [1e-3])
    fast = overlap(pre=slow.pre, post=slow.post, speed=1000.0)
    assert window(made(), fast, [1e-3]).change_s.isfinite().all()


@pytest.mark.parametrize("lags", [[], [NAN], [INF], [[1e-3]], 1e-3])
def test_lags_are_a_row_of_times(lags: object) -> None:
    with pytest.raises(ShapeError, match="lags are"):
        window(made(), overlap(speed=1e4), lags)


@pytest.mark.parametrize("weight", [5.0, -5.0, NAN, INF, "a"])
def test_windows_begin_within_the_bounds(weight: Any) -> None:
    with pytest.raises(ConfigError, match="weight"):
        window(made(), overlap(speed=1e4), [1e-3], weight=weight)


def test_waves_made_for_one_cell_are_refused_for_another() -> None:
    waves, other = overlap(speed=1e4), made("ecram_li", 1.0)
    MemristivePopulation(array(), waves, Competition(), dt_s=1e-3)
    with pytest.raises(ConfigError, match="make an Overlap for this cell"):
        MemristivePopulation(CellArray((2, 3), other, seed=1), waves, Competition(), dt_s=1e-3)
    with pytest.raises(ConfigError, match="make an Overlap for this cell"):
        window(other, waves, [1e-3])


@pytest.mark.parametrize(
    "more",
    [{"window_s": 0.0}, {"width_s": 0.0}, {"width_s": NAN}, {"doses": (-1.0, 0.5)},
     {"doses": (NAN, 0.5)}, {"doses": (INF, 0.5)}, {"doses": (1,)}, {"doses": 1.0},
     {"speed": "a"}, {"speed": 0.0}, {"speed": NAN}],
)  # fmt: skip
def test_simplified_waves_have_times_and_doses_above_0(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="above 0|must be a number|doses are two numbers"):
        Overlap.simplified(made(), LAW, **{"window_s": 1e-2, "width_s": 1e-3, **more})


def test_populations_take_finite_events_and_volts() -> None:
    layer = MemristivePopulation(array(), overlap(speed=1e4), Competition(), dt_s=1e-3)
    good = torch.ones(5, 3)
    for bad in (NAN, INF):
        with pytest.raises(DataError, match="events are finite"):
            layer.run(good * bad)
    with pytest.raises(DataError, match="pushes are volts, got nan"):
        layer.run(good, push=torch.full((5, 2), NAN))
    assert not layer.run(good, push=torch.full((5, 2), -INF)).any()
    for dt in (0.0, NAN, INF):
        with pytest.raises(ConfigError, match="dt_s must be"):
            MemristivePopulation(array(), overlap(speed=1e4), Competition(), dt_s=dt)


@pytest.mark.parametrize("name", ["tau_s", "threshold_v", "reset_v", "rest_s", "inhibit_s",
                                  "jump_v", "lift_tau_s"])  # fmt: skip
def test_competition_is_of_numbers(name: str) -> None:
    with pytest.raises(ConfigError):
        Competition(**{name: NAN})


@pytest.mark.parametrize("bad", [NAN, INF, 1e30])
def test_first_errors_that_have_no_scale_are_refused_and_leave_the_gate_as_it_was(
    bad: float,
) -> None:
    gate, error = Gate(GateRule(threshold=1.0)), torch.ones(4, 3)
    with pytest.raises(DataError, match="scale of the first errors must be finite"):
        gate.let(error * bad)
    assert gate.scale.item() == gate.seen.item() == 0
    assert gate.let(error).all()
    assert gate.scale.item() == 4


@pytest.mark.parametrize("on", ["samples", "errors"])
def test_errors_of_a_gate_have_samples(on: Any) -> None:
    for bad in (torch.tensor(1.0), torch.ones(3)):
        with pytest.raises(ShapeError, match="errors are"):
            Gate(GateRule(on=on)).let(bad)


@pytest.mark.parametrize("lr", ["a", None, 0.0, -1.0, NAN, INF])
def test_rates_are_numbers_above_0(lr: Any) -> None:
    net = torch.nn.Linear(3, 2, bias=False)
    with pytest.raises(ConfigError, match="a learning rate"):
        PulseSGD(net.parameters(), {}, lr=lr)


def test_parts_of_an_optimizer_are_what_they_say() -> None:
    net = torch.nn.Linear(3, 2, bias=False)
    for given, arrays, gate, words in (
        (net.parameters(), None, None, "give laid"),
        (net.parameters(), {}, "x", "gate must be of class Gate"),
        ([], {}, None, "needs parameters, got none"),
    ):
        with pytest.raises(ConfigError, match=words):
            PulseSGD(given, arrays, lr=0.1, gate=gate)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give a torch module"):
        laid(None, made(), seed=1)  # type: ignore[arg-type]


def test_points_of_a_wave_are_numbers() -> None:
    for more in ({"times_s": ("a", "b")}, {"volts_v": (None, 1.0)}, {"times_s": (0.0, NAN)}):
        with pytest.raises(ConfigError, match="each of .* must be a number|all finite"):
            Wave(**{"times_s": (0.0, 1.0), "volts_v": (1.0, 0.0), **more})  # type: ignore[arg-type]


def test_pulses_worth_the_same_beyond_a_budget_wait_and_a_low_rate_stays() -> None:
    gate = Gate(GateRule(on="worth", budget=3))
    alike = Offer(torch.ones(4), torch.ones(4))
    least = gate.affordable([alike])
    assert int((alike.worth >= least).sum()) == 0
    mixed = Offer(torch.ones(4), torch.tensor([1.0, 1.0, 1.0, 0.5]))
    assert int((mixed.worth >= gate.affordable([mixed])).sum()) == 3
    low = float(gate.rate)
    gate.lesson()
    assert float(gate.rate) == low < 1
