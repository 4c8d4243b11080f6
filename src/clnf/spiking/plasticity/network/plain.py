"""The same network as a dense loop in plain torch: what is right. Work is that of all synapses."""

import math

import torch
from torch import Tensor

from clnf.spiking.plasticity.law import PlasticState, Traces, plastic_step
from clnf.spiking.plasticity.network.diehl_cook import DiehlCook, Membrane, NetworkState
from clnf.spiking.plasticity.network.inputs import Events, events_of, trains_of

__all__ = ["plain_run"]


def plain_run(
    net: DiehlCook, state: NetworkState, events: Events, *, learn: bool
) -> tuple[Events, int]:
    """All steps: excitatory spikes, number of inhibitory ones.

    See :func:`clnf.spiking.plasticity.network.running.run`.
    """
    k, trains, sent, quiet = net.law(), trains_of(events), [], 0
    before = torch.zeros(net.inputs)
    before[state.before[: int(state.clock[1])].long()] = 1.0
    life = PlasticState(state.weight.t(), _dense(net, state))
    for s in trains:
        # A sum in the order of the inputs; what does not spike adds 0.
        drive = (before[:, None] * life.weight.t()).double().cumsum(0)[-1]
        z, calm = _excited(net, state, drive), _inhibited(net, state)
        state.sent.copy_(torch.stack([z, calm]))
        quiet += int(calm.sum())
        sent.append(z)
        if learn:
            life = plastic_step(s[None], z[None].float(), life, k)
        before = s
    state.weight.copy_(life.weight.t())
    _kept(state, life.traces, before, events.steps if learn else 0)
    return events_of(torch.stack(sent)), quiet


def _moved(cells: Membrane, state: NetworkState, row: int, push: Tensor, dt_s: float) -> Tensor:
    decay, rest = math.exp(-dt_s / cells.tau_s), cells.rest_v
    v = (state.v[row] - rest) * decay + rest
    return torch.where(state.wait[row] == 0, v + push, v)


def _spiked(cells: Membrane, state: NetworkState, row: int, fired: Tensor, dt_s: float) -> None:
    hold = round(cells.refractory_s / dt_s)
    state.v[row] = torch.where(fired, cells.reset_v, state.v[row])
    state.wait[row] = torch.where(fired, hold, (state.wait[row] - 1).clamp_min(0))


def _excited(net: DiehlCook, state: NetworkState, drive: Tensor) -> Tensor:
    others = state.sent[1].sum() - state.sent[1]
    push = net.gain_v * drive - net.inhibit_v * others
    state.v[0] = _moved(net.excitatory, state, 0, push, net.dt_s)
    state.theta.mul_(math.exp(-net.dt_s / float(net.theta.tau_s)))
    fired = state.v[0] > net.excitatory.threshold_v + state.theta
    _spiked(net.excitatory, state, 0, fired, net.dt_s)
    state.theta.add_(net.theta.jump_v * fired.double())
    return fired.double()


def _inhibited(net: DiehlCook, state: NetworkState) -> Tensor:
    push = net.excite_v * state.sent[0]
    state.v[1] = _moved(net.inhibitory, state, 1, push, net.dt_s)
    fired = state.v[1] > net.inhibitory.threshold_v
    _spiked(net.inhibitory, state, 1, fired, net.dt_s)
    return fired.double()


def _dense(net: DiehlCook, state: NetworkState) -> Traces:
    """Traces as they are now; those of inputs are kept as they were at their last spikes."""
    ages = (state.clock[0] - 1 - state.last).clamp_min(0)
    k = net.law()
    fast, slow = (float(d) ** ages.double() for d in (k.pre, k.pre_slow))
    x, x2 = state.x[0] * fast.float(), state.x[1] * slow.float()
    return Traces(x[None], state.y[:1].clone(), x2[None], state.y[1:].clone())


def _kept(state: NetworkState, traces: Traces, before: Tensor, steps: int) -> None:
    state.clock[0] += steps
    if steps:
        state.x.copy_(torch.cat([traces.pre, traces.pre_slow]))
        state.y.copy_(torch.cat([traces.post, traces.post_slow]))
        state.last.fill_(int(state.clock[0]) - 1)
    places = before.nonzero().flatten()
    state.before[: len(places)] = places.to(torch.int32)
    state.clock[1] = len(places)
