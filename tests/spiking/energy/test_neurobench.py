"""NeuroBench's own numbers for one net, and what its definitions say by hand.

The numbers were printed by ``benchmarks/neurobench_agreement.py`` with NeuroBench 2.3.0 and
snnTorch 1.0.0; the net and its events are made by that script.
"""

import runpy
from pathlib import Path

import pytest
import torch

from clnf.spiking import LI, LIF, EventLinear, Neurons, Readout, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.energy import neurobench
from clnf.spiking.profiles import Constrained, profile

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "neurobench_agreement.py"
THEIRS = {
    "activation_sparsity": 0.9089543269230769, "effective_macs": 0.0, "effective_acs": 2343.875,
    "dense": 24000.0, "membrane_updates": 1007.75, "connection_sparsity": 0.3033,
    "parameter_count": 600, "sparsity of 0": 0.906875, "sparsity of 1": 0.9158854166666667,
}  # fmt: skip


def test_numbers_are_those_of_neurobench() -> None:
    made = runpy.run_path(str(SCRIPT))
    found, _ = made["ours"](*made["drawn"]())
    assert {name: found[name] for name in THEIRS} == pytest.approx(THEIRS, rel=1e-12)
    weights, x = made["drawn"]()
    weights[0][0, 0] += 1.0
    other, _ = made["ours"](weights, x)
    assert other["effective_acs"] != found["effective_acs"]  # a control: they are of this net


def test_graded_inputs_are_macs_step_by_step() -> None:
    layer = EventLinear(3, 2)
    layer.weight.data[0, 0] = 0.0
    net = Chain(layer, Neurons(LIF(), dt_s=1e-3))
    x = torch.zeros(3, 2, 3)
    x[0, 0, 0] = 1.0  # reaches one weight
    x[1, 1, 1] = 0.5  # graded: two MACs
    x[2, :, 2] = -1.0  # an event down, of both samples
    found = neurobench(net, x)
    assert (found.effective_acs, found.effective_macs) == ((1 + 4) / 2, 2 / 2)
    assert found.dense == 3 * 6
    assert found.connection_sparsity == 0.1667


def test_membranes_that_stay_are_no_updates() -> None:
    net = Chain(EventLinear(1, 2), Neurons(LIF(), dt_s=1e-3))
    net[0].weight.data = torch.tensor([[0.5], [0.0]])  # type: ignore[assignment]
    x = torch.zeros(4, 1, 1)
    x[1] = 1.0
    # Both at the first step; then the first cell from its input on.
    assert neurobench(net, x).membrane_updates == 2 + 3


def test_recurrent_layers_readouts_and_chips() -> None:
    layer = SpikingLinear((4, 3), LIF(reset_v=0.0), dt_s=1e-3, recurrent=True)
    net = Chain(layer, EventLinear(3, 2), Readout(LI(), dt_s=1e-3))
    x = torch.ones(5, 2, 4)
    found = neurobench(net, x)
    assert found.dense == 5 * (12 + 9 + 6)
    assert list(found.activation_sparsity_by_layer) == ["0"]
    assert (found.parameter_count, found.footprint) == (27, 108)
    chip = neurobench(Constrained(net, profile("loihi")), x)
    assert (chip.dense, chip.parameter_count) == (found.dense, 27)
