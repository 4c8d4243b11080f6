"""A network that learns without labels: inputs, cells that compete, plastic weights between them.

Every excitatory cell excites one inhibitory cell, which silences all other excitatory cells: the
one that spikes first wins. Weights from the inputs learn by a rule; thresholds rise with each
spike, so that others get their turn; and weights into a cell are scaled to one sum between lessons.

    v = (v' - rest) exp(-dt / tau) + rest + push     push is lost in a refractory time
    push_exc = gain sum of w_i s_i - inhibit (inhibitory spikes of others),   push_inh = excite z
    spikes where v > threshold + theta, strictly; then v = reset, theta = theta + jump

Synapses are kicks: a spike lifts the membrane at once, one step after it was sent, so this is a
current-based simplification of Diehl & Cook, whose synapses are conductances. Defaults are those of
the simplified network that BindsNET ships under the same name.

Sources: Diehl & Cook, Front. Comput. Neurosci. 9:99 (2015); Hazan et al., Front. Neuroinform. 12:89
(2018).
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, number, seconds, whole
from clnf.core.rng import torch_rng
from clnf.core.units import quantity
from clnf.spiking.coefficients import check_finite, positive
from clnf.spiking.plasticity.homeostasis import Threshold
from clnf.spiking.plasticity.law import Law
from clnf.spiking.plasticity.rules import PairSTDP, SoftBounds, TripletSTDP

__all__ = ["DiehlCook", "Membrane", "NetworkState", "normalise", "settle", "started"]


@final
@dataclass(frozen=True, kw_only=True)
class Membrane:
    """One population of leaky cells.

    Attributes:
        tau_s: of the membrane.
        rest_v: where it rests.
        reset_v: what a spike sets it to.
        threshold_v: above which it spikes.
        refractory_s: in which pushes are lost on it; it leaks on.
    """

    tau_s: float = quantity("s", 100e-3)
    rest_v: float = quantity("V", -65e-3)
    reset_v: float = quantity("V", -60e-3)
    threshold_v: float = quantity("V", -52e-3)
    refractory_s: float = quantity("s", 5e-3)

    def __post_init__(self) -> None:
        check_fields(self)
        check_finite(self)
        positive("tau_s", self.tau_s)
        if not 0 <= self.refractory_s < float("inf"):
            raise ConfigError(
                f"a refractory time is 0 s or more, got {self.refractory_s}; correct it"
            )


_INHIBITORY = Membrane(
    tau_s=10e-3, rest_v=-60e-3, reset_v=-45e-3, threshold_v=-40e-3, refractory_s=2e-3
)
_RULE = PairSTDP(
    up=1e-2, down=1e-4, pairing="nearest", coincident="both", bounds=SoftBounds(least=0.0, most=1.0)
)


@final
@dataclass(frozen=True, kw_only=True)
class DiehlCook:
    """The network's parameters.

    Attributes:
        inputs: I.
        cells: J, of each population.
        rule: of the weights from the inputs; its coefficients are numbers here.
        excitatory: cells that learn.
        inhibitory: cells that silence.
        theta: adaptive threshold of excitatory cells.
        gain_v: push of a spike through a weight of 1.
        excite_v: push of an excitatory spike on its inhibitory cell.
        inhibit_v: push, downwards, of an inhibitory spike on all other cells.
        total: sum of the weights into a cell, see :func:`normalise`.
        dt_s: seconds of a step.
    """

    inputs: int = quantity("1", 784)
    cells: int = quantity("1", 400)
    rule: PairSTDP | TripletSTDP = _RULE
    excitatory: Membrane = Membrane()
    inhibitory: Membrane = _INHIBITORY
    theta: Threshold = Threshold()
    gain_v: float = quantity("V", 1e-3)
    excite_v: float = quantity("V", 22.5e-3)
    inhibit_v: float = quantity("V", 120e-3)
    total: float = quantity("1", 78.4)
    dt_s: float = quantity("s", 1e-3)

    def __post_init__(self) -> None:
        check_fields(self)
        check_finite(self)
        whole("inputs", self.inputs, least=1)
        whole("cells", self.cells, least=1)
        seconds("dt_s", self.dt_s)
        if any(isinstance(v, Tensor) for v in (*self.law(), *vars(self.theta).values())):
            raise ConfigError(
                "coefficients of this network's rule are numbers, got a tensor; take its value, or "
                "use plastic_step for gradients"
            )

    def law(self) -> Law:
        """What a step makes of the rule."""
        return self.rule.law(self.dt_s)


class NetworkState(NamedTuple):
    """All that a run changes, in place.

    Attributes:
        weight: of the inputs' synapses, float32 [I, J], an input's synapses beside each other.
        theta: what thresholds were lifted by, V, float64 [J].
        v: potentials of both populations, V, float64 [2, J].
        wait: steps left of refractory times, int64 [2, J].
        sent: spikes of the step before, float64 [2, J].
        y: traces of excitatory spikes, fast and slow, float32 [2, J].
        x: traces of inputs at their last spikes, fast and slow, float32 [2, I].
        last: steps of those spikes, int64 [I].
        before: inputs that spiked in the step before, int32 [I], the first ``clock[1]`` of them.
        clock: steps learnt, and inputs that spiked in the last, int64 [2].
    """

    weight: Tensor
    theta: Tensor
    v: Tensor
    wait: Tensor
    sent: Tensor
    y: Tensor
    x: Tensor
    last: Tensor
    before: Tensor
    clock: Tensor


def started(net: DiehlCook, *, seed: int, largest: float = 0.3) -> NetworkState:
    """A network at rest with random weights in [0, largest).

    Raises:
        ConfigError: the largest weight is not finite, or negative.
    """
    if not 0 <= number("largest", largest) < float("inf"):
        raise ConfigError(f"the largest weight is finite and 0 or more, got {largest}; correct it")
    rng = torch_rng(seed, "competing cells", "weights")
    size, cells = net.inputs, net.cells
    weight = _cut(net, torch.rand(size, cells, generator=rng) * largest)
    rest = torch.tensor([net.excitatory.rest_v, net.inhibitory.rest_v], dtype=torch.float64)
    return NetworkState(
        weight=weight,
        theta=torch.zeros(cells, dtype=torch.float64),
        v=rest[:, None].repeat(1, cells),
        wait=torch.zeros(2, cells, dtype=torch.int64),
        sent=torch.zeros(2, cells, dtype=torch.float64),
        y=torch.zeros(2, cells),
        x=torch.zeros(2, size),
        last=torch.zeros(size, dtype=torch.int64),
        before=torch.zeros(size, dtype=torch.int32),
        clock=torch.zeros(2, dtype=torch.int64),
    )


def _cut(net: DiehlCook, weight: Tensor) -> Tensor:
    k = net.law()
    return weight if k.least is None or k.most is None else weight.clamp_(k.least, k.most)


def settle(net: DiehlCook, state: NetworkState) -> None:
    """Let a long silence pass: membranes rest, no traces, nothing on its way; thresholds stay."""
    fresh = started(net, seed=0)
    for name in ("v", "wait", "sent", "y", "x", "before"):
        getattr(state, name).copy_(getattr(fresh, name))
    state.clock[1] = 0


def normalise(net: DiehlCook, state: NetworkState) -> None:
    """Scale the weights into each cell to the network's sum, in place, and cut them to bounds."""
    sums = state.weight.double().cumsum(0)[-1]
    state.weight.mul_((net.total / sums.where(sums != 0, 1.0)).float())
    _cut(net, state.weight)
