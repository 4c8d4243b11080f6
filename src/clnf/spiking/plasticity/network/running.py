"""One way through a network's steps: compiled and driven by events, or plain."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clnf.core.errors import ShapeError
from clnf.spiking.plasticity.network import kernels
from clnf.spiking.plasticity.network.diehl_cook import DiehlCook, NetworkState
from clnf.spiking.plasticity.network.inputs import Events, check_events
from clnf.spiking.plasticity.network.places import scratch
from clnf.spiking.plasticity.network.plain import plain_run
from clnf.spiking.plasticity.network.wide import run_wide

__all__ = ["Spikes", "run"]

_LONGEST = 2**18


class Spikes(NamedTuple):
    """What a run gave.

    Attributes:
        excitatory: spikes of the cells that learn.
        inhibitory: number of spikes of the others.
    """

    excitatory: Events
    inhibitory: int


def run(
    net: DiehlCook,
    state: NetworkState,
    events: Events,
    *,
    learn: bool = True,
    compiled: bool = True,
) -> Spikes:
    """Let spikes of the inputs go through a network.

    Both ways give the same spikes. Weights are the same to the bit where the nearest spikes count;
    where all count, traces of inputs differ by roundings of float32.

    Args:
        net: the network.
        state: changed in place. Its weights are within their bounds, as those of ``started`` and
            ``normalise`` are: others would be cut when touched, in the dense loop at once.
        events: of the inputs.
        learn: whether weights change; thresholds move in any case.
        compiled: False takes the dense loop in plain torch.

    Raises:
        ShapeError: events of another number of inputs.
        DataError: events outside them.

    >>> from clnf.spiking.plasticity.network import DiehlCook, poisson, run, started
    >>> net = DiehlCook(inputs=50, cells=4, gain_v=4e-3)
    >>> state, events = started(net, seed=0), poisson([40.0] * 50, steps=200, dt_s=1e-3, seed=0)
    >>> before = state.weight.clone()
    >>> len(run(net, state, events).excitatory.cells) > 0, torch.equal(state.weight, before)
    (True, False)
    """
    check_events(events)
    if events.size != net.inputs or state.weight.shape != (net.inputs, net.cells):
        raise ShapeError(
            f"a network of {net.inputs} inputs and {net.cells} cells got events of {events.size} "
            f"inputs and weights {[*state.weight.shape]}; make them fit"
        )
    if not compiled:
        trains, quiet = plain_run(net, state, events, learn=learn)
        return Spikes(trains, quiet)
    hold, how, wide_enough = _made(net, learn)
    bound = net.cells * -(-events.steps // (hold + 1))
    starts, cells = np.zeros(events.steps + 1, np.int64), np.empty(bound, np.int32)
    given, out = (
        (events.starts.numpy(), events.cells.numpy()),
        (starts, cells, np.zeros(1, np.int64)),
    )
    live, memory, done = _live(state), _memory(state), False
    if wide_enough:
        done = run_wide(given, live, memory, how, out, scratch(net.inputs, net.cells))
    if not done:
        kernels.run(given, live, memory, how, out, _room(net))
    found = torch.from_numpy(cells[: starts[-1]].copy())
    return Spikes(Events(torch.from_numpy(starts), found, net.cells), int(out[2][0]))


@lru_cache(maxsize=16)
def _made(net: DiehlCook, learn: bool) -> tuple[int, tuple[kernels.Cells, kernels.Rule], bool]:
    """The shortest refractory time in steps, what kernels take, whether it suits the wide one."""
    cells, k = _cells(net, learn=learn), _rule(net)
    decay, rest, threshold = cells.decay[1], cells.rest[1], cells.threshold[1]
    # An inhibitory cell at its threshold or below stays there without pushes; roundings are kept.
    stays = (threshold - rest) * decay + rest <= threshold and cells.reset[1] <= threshold
    single = k.down_power == 0.0 and k.up_triplet == 0.0 and k.down_triplet == 0.0
    short = k.slow_fades[-1] == 0.0 and k.post_slow == 0.0 and k.fades[-1] < 1e-37
    return min(cells.hold), (cells, k), bool(net.cells >= 16 and single and short and stays)


def _room(net: DiehlCook) -> Any:
    size = net.cells
    doubles = (np.zeros(size), np.zeros(size), np.zeros((2, size)))
    return (*doubles, np.zeros((3, size), np.float32), np.zeros(net.inputs, np.float32))


def _live(state: NetworkState) -> kernels.Live:
    v, wait, sent, theta = (one.numpy() for one in (state.v, state.wait, state.sent, state.theta))
    return kernels.Live(v, wait, sent, theta, *state.y.numpy())


def _memory(state: NetworkState) -> kernels.Memory:
    last, before, clock = (one.numpy() for one in (state.last, state.before, state.clock))
    x, slow = state.x.numpy()
    return kernels.Memory(state.weight.numpy(), x, slow, last, before, clock)


def _cells(net: DiehlCook, *, learn: bool) -> kernels.Cells:
    both = (net.excitatory, net.inhibitory)

    def pair(name: str) -> tuple[float, ...]:
        return tuple(float(getattr(one, name)) for one in both)

    return kernels.Cells(
        decay=tuple(math.exp(-net.dt_s / one.tau_s) for one in both),
        rest=pair("rest_v"),
        reset=pair("reset_v"),
        threshold=pair("threshold_v"),
        hold=tuple(round(one.refractory_s / net.dt_s) for one in both),
        theta_decay=math.exp(-net.dt_s / float(net.theta.tau_s)),
        jump=float(net.theta.jump_v),
        gain=float(net.gain_v),
        excite=float(net.excite_v),
        inhibit=float(net.inhibit_v),
        learn=learn,
    )


def _rule(net: DiehlCook) -> kernels.Rule:
    k, single = net.law(), np.float32
    both = k.least is not None and k.most is not None
    least, most = (k.least, k.most) if both else (-np.inf, np.inf)
    narrow = 1.0 / (most - least) if both else 0.0  # type: ignore[operator]
    return kernels.Rule(
        fades=_powers(float(k.pre)),
        slow_fades=_powers(float(k.pre_slow)),
        least=single(least),
        most=single(most),
        narrow=single(narrow),
        up_power=float(k.up_power),
        down_power=float(k.down_power),
        nearest=k.nearest,
        pre_now=k.pre_now,
        post_now=k.post_now,
        **{
            name: single(float(getattr(k, name)))
            for name in (
                "post", "post_slow", "up", "up_triplet", "up_alone", "down", "down_triplet",
                "down_alone",
            )
        },
    )  # fmt: skip


@lru_cache(maxsize=16)
def _powers(decay: float) -> NDArray[np.float32]:
    """1, d, d d, ... as float32, multiplied one by one, to where they stop falling."""
    single = np.float32(decay)
    if not 0 < single < 1:
        return np.full(_LONGEST if single >= 1 else 2, single, np.float32)
    count = min(_LONGEST, 64 + math.ceil(-110 / math.log(float(single))))
    return np.multiply.accumulate(np.r_[np.float32(1.0), np.full(count, single)], dtype=np.float32)
