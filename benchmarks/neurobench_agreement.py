"""NeuroBench's measures and ours on one net: equal numbers, or the difference.

    python benchmarks/neurobench_agreement.py

Needs neurobench 2.3 and snntorch in the environment; says so and ends where they are missing. One
JSON line for each measure: ours, NeuroBench's and their ratio.
"""

import json
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from clnf.spiking import LIF, EventLinear, Neurons
from clnf.spiking.chain import Chain
from clnf.spiking.energy import neurobench

STEPS, SAMPLES, SIZES = 40, 16, (24, 20, 6)
TAU_S, DT_S = 10e-3, 1e-3


def drawn() -> tuple[list[Tensor], Tensor]:
    """Weights on a grid, a third of them 0, so that sums are exact in any order; and spikes."""
    rng, weights = torch.Generator().manual_seed(3), []
    for inputs, outputs in ((SIZES[0], SIZES[1]), (SIZES[1], SIZES[2])):
        values = torch.randn(outputs, inputs, generator=rng) * 0.6
        values *= torch.rand(outputs, inputs, generator=rng) > 1 / 3
        weights.append((values * 1024).round() / 1024)
    return weights, (torch.rand(STEPS, SAMPLES, SIZES[0], generator=rng) < 0.15).float()


def ours(weights: list[Tensor], x: Tensor) -> tuple[dict[str, float], Tensor]:
    """Our measures and the spikes of the last layer."""
    parts: list[nn.Module] = []
    for weight in weights:
        layer = EventLinear(weight.shape[1], weight.shape[0])
        layer.weight.data = weight.clone()
        parts += [layer, Neurons(LIF(tau_s=TAU_S, reset_v=0.0), dt_s=DT_S)]
    net = Chain(*parts)
    found = neurobench(net, x)
    values = {
        "activation_sparsity": found.activation_sparsity,
        "effective_macs": found.effective_macs,
        "effective_acs": found.effective_acs,
        "dense": found.dense,
        "membrane_updates": found.membrane_updates,
        "connection_sparsity": found.connection_sparsity,
        "parameter_count": found.parameter_count,
        "footprint": found.footprint,
    }
    layers = found.activation_sparsity_by_layer.values()
    return values | {f"sparsity of {n}": s for n, s in enumerate(layers)}, net(x)


def theirs(weights: list[Tensor], x: Tensor) -> tuple[dict[str, float], Tensor]:
    """NeuroBench's measures of the same net in snnTorch."""
    import snntorch as snn
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import (
        ActivationSparsity,
        ActivationSparsityByLayer,
        MembraneUpdates,
        SynapticOperations,
    )
    from neurobench.models import SNNTorchModel

    parts: list[nn.Module] = []
    for weight in weights:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data = weight.clone()
        # Reset to 0: a residue above the threshold would be reset once more in its next step.
        cell = snn.Leaky(
            beta=math.exp(-DT_S / TAU_S), init_hidden=True, reset_delay=False,
            reset_mechanism="zero", output=len(parts) == 2,
        )  # fmt: skip
        parts += [layer, cell]
    model = SNNTorchModel(nn.Sequential(*parts))
    model.register_hooks()
    data = (x.transpose(0, 1), torch.zeros(SAMPLES))
    with torch.no_grad():
        spikes = model(data[0])
    operations = SynapticOperations()(model, spikes, data)
    values = {
        "activation_sparsity": ActivationSparsity()(model, spikes, data),
        "effective_macs": operations["Effective_MACs"],
        "effective_acs": operations["Effective_ACs"],
        "dense": operations["Dense"],
        "membrane_updates": MembraneUpdates()(model, spikes, data),
        "connection_sparsity": ConnectionSparsity()(model),
        "parameter_count": ParameterCount()(model),
        "footprint": Footprint()(model),
    }
    layers = ActivationSparsityByLayer()(model, spikes, data)
    return values | {f"sparsity of {n}": s for n, s in enumerate(layers.values())}, spikes


def lines() -> Iterator[dict[str, object]]:
    weights, x = drawn()
    mine, sent = ours(weights, x)
    try:
        other, spikes = theirs(weights, x)
    except ImportError as error:
        yield {"measure": "none", "missing": str(error.name)}
        return
    yield {"measure": "spikes that differ", "ours": int((sent != spikes.transpose(0, 1)).sum())}
    for name, value in mine.items():
        ratio = value / other[name] if other[name] else None
        yield {"measure": name, "ours": value, "neurobench": other[name], "ratio": ratio}


def main() -> None:
    for line in lines():
        print(json.dumps({"benchmark": "neurobench_agreement", **line}), flush=True)


if __name__ == "__main__":
    main()
