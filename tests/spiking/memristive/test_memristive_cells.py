"""Cells as weights, and populations behind them: kernels against their twin, the ledger, wear."""

from typing import Any

import pytest
import torch

from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.core.rng import torch_rng
from clnf.devices.cell import Cell
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.devices.voltage import Sinh
from clnf.spiking.memristive import (
    CellArray,
    Competition,
    Lay,
    MemristivePopulation,
    Overlap,
    Read,
    window,
)

LAW = Sinh(scale_v=0.08, source="test")
OWN = {
    "conductance_min_s": 1e-6, "conductance_max_s": 1e-4, "write_voltage_v": 1.2,
    "write_time_s": 1e-7,
}  # fmt: skip


def made(name: str = "hfo2_array_optimised", **more: float) -> Cell:
    return cell(material(name).supply(**OWN, **more))


def quiet(**more: float) -> Cell:
    """ECRAM whose cells are all alike and have no noise."""
    return made("ecram_li", step_spread=0.0, bound_max_spread=0.0, bound_min_spread=0.0,
                cycle_spread=0.0, up_down_spread=0.0, **more)  # fmt: skip


def population(one: Cell, shape: tuple[int, int], doses: tuple[float, float], **how: Any) -> Any:
    waves = Overlap.simplified(one, LAW, window_s=5e-3, width_s=1e-3, speed=1000.0, doses=doses)
    competition = how.pop("competition", Competition())
    return MemristivePopulation(
        CellArray(shape, one, seed=3, lay=Lay(**how)), waves, competition, dt_s=1e-3
    )


def events(steps: int, inputs: int, share: float = 0.2) -> torch.Tensor:
    return (torch.rand(steps, inputs, generator=torch_rng(1, "events")) < share).float()


@pytest.mark.parametrize("kind", ["pair", "reference", "single"])
@pytest.mark.parametrize("name", ["hfo2_array_optimised", "hfo2_single"])
def test_kernels_give_the_bits_of_their_twin(kind: str, name: str) -> None:
    found = []
    rule = Competition(jump_v=0.1, inhibit_s=2e-3 if kind == "single" else 0.0, rest_s=1e-3)
    for kernels in (True, False):
        layer = population(made(name), (6, 12), (1.5, 1.4), kind=kind, kernels=kernels,
                           competition=rule)  # fmt: skip
        spikes = [layer.run(events(25, 12), push=torch.full((25, 6), push)) for push in (0.1, 0.3)]
        found.append((spikes, layer.state_dict(), layer.cells.ledger.state()))
    assert found[0][0][1].sum() > 5
    assert all(map(torch.equal, found[0][0], found[1][0]))
    assert all(torch.equal(value, found[1][1][key]) for key, value in found[0][1].items())
    assert found[0][2] == found[1][2]
    # The control: another seed, and the bits differ.
    other = population(made(name), (6, 12), (1.5, 1.4), kind=kind, competition=rule)
    other.cells.seed = 4
    other.run(events(25, 12), push=torch.full((25, 6), 0.1))
    assert not torch.equal(other.cells.hidden, found[0][1]["cells.hidden"])


def test_a_pair_of_spikes_moves_a_cell_as_the_window_says() -> None:
    one = quiet()
    for lag, row, column in ((2, 1, 3), (-3, 4, 1)):
        layer = population(one, (1, 1), (0.5, 0.4), kind="single")
        x, push = torch.zeros(10, 1), torch.zeros(10, 1)
        x[row], push[column] = 1.0, 5.0
        before = layer.cells.conductance_s().double()
        assert layer.run(x, push=push).nonzero().tolist() == [[column, 0]]
        moved = layer.cells.conductance_s().double() - before
        wanted = window(one, layer.overlap, [lag * 1e-3])
        assert moved.item() == pytest.approx(wanted.change_s.item(), rel=2e-3)
        energy = layer.cells.ledger.total(op="wave").energy_j
        assert energy == pytest.approx(wanted.energy_j.item(), rel=2e-3)
        dose = (wanted.up + wanted.down).item()
        assert layer.cells.wear.item() == pytest.approx(dose, rel=1e-5)


def test_a_pair_of_cells_moves_both_ways() -> None:
    layer = population(quiet(), (1, 2), (0.5, 0.4), kind="pair")
    x, push = torch.zeros(10, 2), torch.zeros(10, 1)
    x[1, 0], push[3] = 1.0, 5.0
    layer.run(x, push=push)
    plus, minus = layer.cells.hidden[:, :, 0]
    assert plus[0] > 0 > minus[0]
    assert plus[1] < 0 < minus[1]


def test_one_spikes_and_the_rest_is_held() -> None:
    rule = Competition(inhibit_s=4e-3)
    layer = population(quiet(), (3, 1), (0.5, 0.4), kind="single", competition=rule)
    layer.eval()
    push = torch.tensor([[1.2, 1.5, 1.1]]).repeat(6, 1)
    spikes = layer.run(torch.zeros(6, 1), push=push, learn=False)
    assert spikes.sum(1).tolist() == [1.0] * 6
    assert not spikes[:, (0, 2)].any()
    free = population(quiet(), (3, 1), (0.5, 0.4), kind="single")
    assert free.run(torch.zeros(6, 1), push=push, learn=False).sum(1).tolist() == [3.0] * 6


def test_asking_writes_nothing_and_is_charged_as_reads() -> None:
    layer = population(made(), (4, 6), (0.5, 0.4), kind="pair")
    before, x = {k: v.clone() for k, v in layer.state_dict().items()}, events(20, 6)
    layer.eval()
    layer(x[:, None])
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items()
               if key != "lift")  # fmt: skip
    read, bill = Read(), layer.cells.ledger.total(op="read")
    rows_s = layer.cells.conductance_s().double().sum((0, 2))
    joules = float((x.double().sum(0) * rows_s).sum()) * read.volt_v**2 * read.width_s
    assert bill.energy_j == pytest.approx(joules, rel=1e-6)
    assert bill.count == int(x.sum()) * 4 * 2


@pytest.mark.parametrize("kind", ["pair", "reference", "single"])
def test_weights_are_written_near_what_was_asked(kind: str) -> None:
    cells = CellArray((5, 7), quiet(), seed=1, lay=Lay(kind=kind, range_v=2.0))  # type: ignore[arg-type]
    goal = torch.rand(5, 7, generator=torch_rng(0, "goal")) * 0.8 + 0.1
    left = cells.write(goal)
    assert left < cells.weight_step
    assert cells.ledger.total(op="pulse").count == pytest.approx(cells.wear.sum().item())


def test_worn_cells_close_and_die() -> None:
    cells = CellArray((1, 2), quiet(endurance_cycles=300.0), seed=1, lay=Lay(kind="single"))
    reach = []
    for n in range(320):
        cells.pulse(torch.tensor([[10 if n % 2 else -10, 0]]))
        reach.append(cells.hidden[0, 0, 0].item())
    assert len({*reach[:20]}) > 1
    assert len({*reach[-20:]}) == 1
    assert bool((cells.table[:, 0] == cells.table[:, 0]).all())
    assert cells.table[0, 0] == 0
    assert cells.table[0, 1] > 0
    assert cells.most_worn() == 3200


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DeviceLimitError, match="gradual upwards only"):
        CellArray((2, 2), made("gst_pcm_training"), seed=1)
    with pytest.raises(DeviceLimitError, match="supply"):
        CellArray((2, 2), cell(material("ecram_li")), seed=1)
    cells = CellArray((2, 3), quiet(), seed=1)
    with pytest.raises(ShapeError, match="shape"):
        cells.pulse(torch.ones(3, 2))
    with pytest.raises(ShapeError, match="rows are 3"):
        cells.charge_reads(torch.ones(4, 2))
    with pytest.raises(ConfigError, match="must be one of"):
        Lay(kind="trio")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a read has"):
        Read(volt_v=0.0)
    with pytest.raises(ConfigError, match="below the threshold"):
        Competition(reset_v=2.0)
    layer = population(quiet(), (2, 3), (0.5, 0.4))
    with pytest.raises(ShapeError, match="events are"):
        layer.run(torch.ones(4, 2))


def test_a_population_goes_on_to_the_same_bits_from_its_state() -> None:
    rule = Competition(jump_v=0.1, inhibit_s=2e-3)
    x, push = events(20, 8), torch.full((20, 4), 0.2)

    def fresh() -> MemristivePopulation:
        found: MemristivePopulation = population(made(), (4, 8), (0.5, 0.4), competition=rule)
        return found

    one, again, forgetful = fresh(), fresh(), fresh()
    one.run(x, push=push)
    state = {key: value.clone() for key, value in one.state_dict().items()}
    again.load_state_dict(state)
    forgetful.load_state_dict(state | {"steps": torch.zeros_like(state["steps"])})
    for each in (one, again, forgetful):
        each.run(x, push=push)
    assert torch.equal(one.cells.hidden, again.cells.hidden)
    assert torch.equal(one.lift, again.lift)
    assert not torch.equal(one.cells.hidden, forgetful.cells.hidden)  # draws of other steps
