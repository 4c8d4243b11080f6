"""Spiking peers that are installed where the benchmark runs, each as a function over time.

Nothing here is needed by clnf. A peer that is not there is told as such. All get the same input
product, taken over all steps at once, which is their best case; spikes are compared with ours.
"""

import importlib.metadata
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

BETA, DT_S = 0.9, 1e-3
Cells = Callable[[Tensor], Tensor]


def snntorch() -> Cells:
    """Leaky, a Python loop; the reset in the same step."""
    import snntorch

    cell = snntorch.Leaky(beta=BETA, threshold=1.0, reset_delay=False)

    def run(x: Tensor) -> Tensor:
        mem, out = cell.init_leaky(), []
        for now in x:
            z, mem = cell(now, mem)
            out.append(z)
        return torch.stack(out)

    return run


def norse() -> Cells:
    """LIFBox, a Python loop of a compiled step; a drive of 1 V is a kick of 1 - beta."""
    from norse.torch import LIFBoxCell, LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract

    rate = torch.tensor((1 - BETA) / DT_S)
    cell = LIFBoxCell(LIFBoxParameters(tau_mem_inv=rate, reset_method=reset_subtract), dt=DT_S)

    def run(x: Tensor) -> Tensor:
        state, out = None, []
        for now in x / (1 - BETA):
            z, state = cell(now, state)
            out.append(z)
        return torch.stack(out)

    return run


def sinabs() -> Cells:
    """LIF; one spike a step at most."""
    from sinabs import layers
    from sinabs.activation import SingleSpike

    tau = -1 / math.log(BETA)

    def run(x: Tensor) -> Tensor:
        cell = layers.LIF(tau_mem=tau, spike_fn=SingleSpike, norm_input=False)
        return cell(x.transpose(0, 1)).transpose(0, 1)

    return run


def spikingjelly() -> Cells:
    """LIFNode over several steps, its fastest on a CPU."""
    from spikingjelly.activation_based import neuron, surrogate

    cell = neuron.LIFNode(
        tau=1 / (1 - BETA),
        decay_input=False,
        v_reset=None,
        surrogate_function=surrogate.ATan(),
        detach_reset=True,
        step_mode="m",
    )

    def run(x: Tensor) -> Tensor:
        cell.reset()
        return cell(x)

    return run


def rockpool() -> Cells:
    """LIFTorch; has a synaptic current and several spikes a step, so its spikes are others."""
    from rockpool.nn.modules import LIFTorch

    tau = -DT_S / math.log(BETA)
    cells: dict[int, LIFTorch] = {}

    def run(x: Tensor) -> Tensor:
        size = x.shape[2]
        if size not in cells:
            cells[size] = LIFTorch(
                (size, size), tau_mem=tau, tau_syn=tau / 4, threshold=1.0, bias=0.0, dt=DT_S
            )
        cells[size].reset_state()
        return cells[size](x.transpose(0, 1))[0].transpose(0, 1)

    return run


PEERS = {
    "snnTorch": (snntorch, "snntorch"),
    "Norse": (norse, "norse"),
    "Sinabs": (sinabs, "sinabs"),
    "SpikingJelly": (spikingjelly, "spikingjelly"),
    "Rockpool": (rockpool, "rockpool"),
}


def found() -> tuple[dict[str, Cells], dict[str, str]]:
    """Peers that are here, under their names and versions, and why others are not."""
    here: dict[str, Cells] = {}
    away: dict[str, str] = {}
    for name, (make, package) in PEERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                here[f"{name} {importlib.metadata.version(package)}"] = make()
        except (ImportError, importlib.metadata.PackageNotFoundError) as error:
            away[name] = str(error)
    return here, away


if __name__ == "__main__":
    print(*found(), sep="\n")
