"""Operations counted against loops over everything, and joules by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.ledger import Ledger
from clnf.devices.materials import material
from clnf.spiking import (
    IF,
    LI,
    LIF,
    Convolution,
    EventLinear,
    Readout,
    SpikingConv2d,
    SpikingLinear,
)
from clnf.spiking.chain import Chain
from clnf.spiking.coding import ASYNC_DELTA_65NM
from clnf.spiking.energy import (
    Counts,
    Joules,
    bill,
    charge,
    chips_with_figures,
    count,
    figures,
    look,
    memristive_figures,
)
from clnf.spiking.energy.figures import ITEMS
from clnf.spiking.profiles import Constrained, profile

DT_S = 1e-3


def events(*shape: int, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def net() -> Chain:
    made = Chain(
        SpikingLinear((6, 5), LIF(tau_s=10e-3, reset_v=0.0), dt_s=DT_S, recurrent=True, seed=1),
        EventLinear(5, 3, seed=2),
        Readout(LI(), dt_s=DT_S),
    )
    first = made[0]
    assert isinstance(first, SpikingLinear)
    first.weight.data *= 3
    first.weight.data[0, :3] = 0.0
    return made


def test_matrices_against_a_loop_over_every_synapse() -> None:
    made, x = net(), events(12, 4, 6)
    found, z = count(made, x), made[0](x)
    first = made[0]
    assert isinstance(first, SpikingLinear)
    assert first.recurrent is not None
    operations = active = 0
    for t in range(12):
        for b in range(4):
            for n in range(5):
                here = sum(int(x[t, b, i] != 0 and first.weight[n, i] != 0) for i in range(6))
                if t:
                    here += sum(
                        int(z[t - 1, b, m] * (first.recurrent[n, m] != 0)) for m in range(5)
                    )
                operations += here
                active += here > 0
    one, two = found.values()
    assert (one.synaptic_operations, one.active_updates, one.updates) == (operations, active, 240)
    assert one.spikes == int(z.sum()) == two.events > 0
    assert two.synaptic_operations == int(z.sum()) * 3
    assert (one.dense_operations, two.dense_operations) == (12 * 4 * 55, 12 * 4 * 15)
    assert one.memory_bits == operations * 32 + 2 * 240 * 32


def test_convolutions_count_what_reaches_a_cell() -> None:
    """A corner has fewer neighbours than a place inside; padding is no event."""
    how = Convolution(padding=(1, 1))
    layer = SpikingConv2d((1, 2), 3, IF(), dt_s=DT_S, how=how)
    for place, taps in (((0, 0), 4), ((0, 2), 6), ((2, 2), 9)):
        x = torch.zeros(1, 1, 1, 5, 5)
        x[0, 0, 0, place[0], place[1]] = 1
        assert count(layer, x)["0"].synaptic_operations == 2 * taps
    pooled = Chain(nn.AvgPool3d((1, 2, 2)), SpikingConv2d((1, 2), 2, IF(), dt_s=DT_S))
    x = torch.zeros(1, 1, 1, 4, 4)
    x[0, 0, 0, :2, :2] = 1
    # Each of the four events goes on by itself.
    assert count(pooled, x)["0+1"].synaptic_operations == 4 * 2


def test_what_is_seen_of_a_net_is_what_it_does() -> None:
    made, x = net(), events(15, 3, 6, seed=2)
    seen = look(made, x)
    assert torch.equal(seen[-1].course.potential, made(x).detach())
    assert torch.equal(seen[0].course.spikes, made[0](x).detach())  # type: ignore[arg-type]


def test_a_chip_reads_fewer_bits_and_weights_that_round_to_0_are_none() -> None:
    made, x = net(), events(12, 4, 6)
    first = made[0]
    assert isinstance(first, SpikingLinear)
    first.weight.data[1, 3] = 1e-6
    chip = Constrained(made, profile("loihi"))
    found = count(chip, x)["0"]
    assert found.memory_bits == found.synaptic_operations * 8 + 2 * found.updates * 24
    # The weight of a millionth of a volt is 0 on the chip; recurrent operations are the rest.
    on_chip = (chip.numbers()[0].weight.t() != 0).double()
    free = (first.weight.t() != 0).double()
    events_in = (x != 0).double()
    assert int((events_in @ free).sum() - (events_in @ on_chip).sum()) == int(x[:, :, 3].sum()) > 0
    sent = chip.run(x)[0][0].spikes
    assert sent is not None
    back = int(sent[:-1].sum()) * 5
    assert found.synaptic_operations == int((events_in @ on_chip).sum()) + back


def test_sums_of_layers_and_learning() -> None:
    made, x = net(), events(12, 4, 6)
    one, two = count(made, x).values()
    total = (one + two).with_learning(traces=10, updates=7, writes=3)
    assert total.updates == one.updates + two.updates
    assert (total.trace_updates, total.weight_updates, total.weight_writes) == (10, 7, 3)
    assert total.with_learning(writes=2).weight_writes == 5
    with pytest.raises(ConfigError, match="writes must be a whole number"):
        total.with_learning(writes=-1)


def test_joules_by_hand() -> None:
    counts = Counts(events=100, synaptic_operations=1000, updates=500, spikes=50)
    counts = replace(counts, active_updates=200, memory_bits=10**6)
    found = bill(counts, figures("loihi"), samples=4, front=(ASYNC_DELTA_65NM, 100))
    pico = 1000 * 23.6 + 200 * 72.8 + 300 * 51.2 + 50 * 147.8 + 100 * 60730
    assert found.total.typical == pytest.approx(pico * 1e-12)
    low = 1000 * 23.6 + 500 * 51.2 + 50 * 69.3 + 100 * 60730
    high = 1000 * 35.5 + 500 * 72.8 + 50 * 153.3 + 100 * 60730
    assert (found.total.low, found.total.high) == pytest.approx((low * 1e-12, high * 1e-12))
    assert found.each.high == pytest.approx(high * 1e-12 / 4)
    assert not found.unknown
    # The front end is most of it, and is in no other account.
    assert found.items["front_event_j"].low > 0.9 * low * 1e-12


def test_what_nobody_published_is_named_and_not_guessed() -> None:
    counts = Counts(synaptic_operations=1000, updates=500, spikes=50).with_learning(writes=9)
    found = bill(counts, figures("loihi2"))
    assert found.total.typical is None
    assert (found.total.low, found.total.high) == pytest.approx((1e-9, 24e-9))
    assert set(found.unknown) == {"idle_update_j", "spike_j", "weight_write_j"}
    nothing = bill(counts, figures("xylo"))
    assert not nothing.items
    assert nothing.total == Joules(typical=0.0)
    assert "synaptic_operation_j" in nothing.unknown
    assert figures("xylo").facts
    with pytest.raises(DeviceLimitError, match="no energy of .* is known for speck"):
        figures("speck").get("synaptic_operation_j")
    with pytest.raises(ConfigError, match="no chip 'loihi9'"):
        figures("loihi9")


def test_every_figure_has_a_source() -> None:
    for name in chips_with_figures():
        found = figures(name)
        assert found.joules.keys() <= ITEMS.keys()
        assert found.gaps.keys() <= ITEMS.keys()
        assert all(len(found.sources[item]) > 8 for item in found.joules)
        assert not found.joules.keys() & found.gaps.keys()


def test_writes_of_a_material() -> None:
    row = material("cmo_hfox")
    with pytest.raises(DeviceLimitError, match="write_energy_j"):
        memristive_figures(row, figures("cmos_45nm"))
    mine = memristive_figures(row.supply(write_energy_j=2e-12), figures("cmos_45nm"))
    found = bill(Counts().with_learning(writes=10), mine)
    assert (found.total.low, found.total.high) == pytest.approx((2e-11, 4e-11))


def test_a_ledger_gets_the_typical_figures_or_nothing() -> None:
    ledger = Ledger()
    ledger.lesson = "one"
    counts = Counts(synaptic_operations=1000, updates=500, active_updates=500, spikes=50)
    found = bill(counts, figures("loihi"))
    charge(ledger, found, tile="0")
    assert ledger.total(op="synaptic operation").count == 1000
    assert ledger.total(lesson="one").energy_j == pytest.approx(found.total.typical)
    before = ledger.state()
    with pytest.raises(DeviceLimitError, match="no typical figure of synaptic_operation_j"):
        charge(ledger, bill(counts, figures("loihi2")), tile="0")
    assert ledger.state() == before


def test_ranges_that_are_none() -> None:
    for low, typical, high in ((2.0, None, 1.0), (0.0, 3.0, 2.0), (-1.0, None, 1.0)):
        with pytest.raises(ConfigError, match="an energy is a range"):
            Joules(low=low, typical=typical, high=high)
    with pytest.raises(ConfigError, match="no item 'spikes_j'"):
        figures("loihi").supply("mine", spikes_j=Joules())
    with pytest.raises(ConfigError, match="no source"):
        figures("loihi").supply(" ", spike_j=Joules())
    assert figures("loihi2").supply("mine", spike_j=Joules(high=1e-12)).get("spike_j").high == 1e-12


def test_weights_that_are_cells_are_no_memory_traffic() -> None:
    chip = Constrained(net(), profile("memristive:cmo_hfox"))
    found = count(chip, events(12, 4, 6))["0"]
    assert found.synaptic_operations > 0
    assert found.memory_bits == 2 * found.updates * 32


def test_several_events_of_a_step_are_several_operations() -> None:
    """On Xylo an input may have 15 events a step, and a cell 31 spikes: each goes everywhere."""
    busy = LIF(tau_s=16e-3, threshold_v=0.05)
    net = Chain(
        SpikingLinear((6, 9), busy, dt_s=DT_S, seed=1, recurrent=True),
        SpikingLinear((9, 4), LIF(tau_s=30e-3), dt_s=DT_S, seed=2),
    )

    def reached(sent: Tensor, weight: Tensor) -> int:
        return sum(
            int(n) * int((weight[:, j] != 0).sum()) for z in sent for j, n in enumerate(z[0])
        )

    chip = Constrained(net, profile("xylo"))
    x = torch.zeros(4, 1, 6)
    x[0, 0, 0] = 15.0
    found, by = count(chip, x), chip.numbers()
    sent = chip.run(x)[0][0].spikes
    assert sent is not None
    assert sent.max() > 1, "the case of several spikes a step"
    ring = by[0].ring
    assert ring is not None
    first = 15 * int((by[0].weight[:, 0] != 0).sum())
    first += sum(
        int(n) * int((ring[:, j] != 0).sum()) for z in sent[:-1] for j, n in enumerate(z[0])
    )
    second = sum(
        int(n) * int((by[1].weight[:, j] != 0).sum()) for z in sent for j, n in enumerate(z[0])
    )
    assert found["0"].events == 15
    assert (found["0"].synaptic_operations, found["1"].synaptic_operations) == (first, second)
    assert found["1"].events == int(sent.sum())


def test_events_have_signs_or_grades() -> None:
    net = SpikingLinear((4, 3), LIF(), dt_s=DT_S)
    one = torch.zeros(2, 1, 4)
    one[0, 0, 1], one[1, 0, 2] = 1.0, -1.0
    assert (count(net, one)["0"].events, count(net, one)["0"].synaptic_operations) == (2, 6)
    graded = count(net, 0.4 * one)["0"]
    assert (graded.events, graded.synaptic_operations) == (2, 6)
    with pytest.raises(ConfigError, match="finite"):
        count(net, one / 0)
    with pytest.raises(ConfigError, match="give x"):
        count(net)
