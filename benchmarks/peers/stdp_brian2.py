"""The competing network in Brian2, run by ``benchmarks/stdp.py`` with an interpreter of its own.

    python stdp_brian2.py FILE numpy|cython     FILE.npz: parameters, first weights, input spikes

Prints JSON lines: its version, then for each lesson its spikes and the processor seconds from the
beginning of its first step to the end of its last; what Brian2 takes to make its code is not among
them. A spike arrives one step after it was sent, before thresholds are looked at, as in the other
two. Spikes of one step are no pair.
"""

import json
import sys
import tempfile
import time
from typing import Any

import brian2 as b
import numpy as np

INPUTS = """
dx/dt = -x / trace_tau : 1
offset : second (shared)
"""
CELLS = """
dv/dt = (rest - v) / tau : volt
dtheta/dt = -theta / theta_tau : volt
dy/dt = -y / trace_tau : 1
"""


def volts(cells: dict[str, float], dt_ms: float) -> dict[str, Any]:
    """Parameters of a population with units."""
    found = {name: cells[f"{name}_mv"] * b.mV for name in ("rest", "reset", "threshold")}
    # Brian2 counts the step of the spike itself.
    hold = (cells["refractory_ms"] + dt_ms) * b.ms
    return found | {"tau": cells["tau_ms"] * b.ms, "hold": hold}


def network(p: dict[str, Any], weight: np.ndarray, trains: np.ndarray) -> b.Network:
    """Inputs, both populations and what joins them, in mV and ms."""
    size, cells = weight.shape
    shared = {"trace_tau": p["trace_tau_ms"] * b.ms, "theta_tau": p["theta_tau_ms"] * b.ms}
    given = b.TimedArray(trains.astype(float), dt=p["dt_ms"] * b.ms)
    inputs = b.NeuronGroup(
        size, INPUTS, threshold="given(t + offset, i) > 0.5", reset="x = 1", method="exact",
        namespace=shared | {"given": given}, name="inputs",
    )  # fmt: skip
    exc = b.NeuronGroup(
        cells, CELLS, threshold="v > threshold + theta", refractory="hold", method="exact",
        reset="v = reset; theta += jump; y = 1", name="exc",
        namespace=shared | volts(p["exc"], p["dt_ms"]) | {"jump": p["jump_mv"] * b.mV},
    )  # fmt: skip
    inh = b.NeuronGroup(
        cells, "dv/dt = (rest - v) / tau : volt", threshold="v > threshold", reset="v = reset",
        refractory="hold", method="exact", namespace=volts(p["inh"], p["dt_ms"]), name="inh",
    )  # fmt: skip
    exc.v, inh.v = p["exc"]["rest_mv"] * b.mV, p["inh"]["rest_mv"] * b.mV
    plastic = learnt(p, inputs, exc)
    plastic.w = weight.flatten()
    up = kick((exc, inh), p["excite_mv"])
    up.connect(j="i")
    down = kick((inh, exc), -p["inhibit_mv"])
    down.connect(condition="i != j")
    watch = [b.SpikeMonitor(one, record=False, name=f"{one.name}_sent") for one in (exc, inh)]
    return b.Network(inputs, exc, inh, plastic, up, down, *watch)


def learnt(p: dict[str, Any], inputs: b.NeuronGroup, exc: b.NeuronGroup) -> b.Synapses:
    """Plastic synapses; the kick is late by a step, the rule is not."""
    found = b.Synapses(
        inputs, exc, "w : 1",
        on_pre={
            "kick": "v_post += gain * w * int(not_refractory_post)",
            "fall": "w = clip(w - down * y_post, 0, 1)",
        },
        on_post="w = clip(w + up * x_pre, 0, 1)",
        namespace={"up": p["up"], "down": p["down"], "gain": p["gain_mv"] * b.mV},
        name="plastic",
    )  # fmt: skip
    found.kick.when = "before_thresholds"
    found.connect()
    return found


def kick(ends: tuple[b.NeuronGroup, b.NeuronGroup], push_mv: float) -> Any:
    """Fixed synapses; before thresholds there are the spikes of the step before."""
    found = b.Synapses(
        *ends, on_pre="v_post += push * int(not_refractory_post)",
        namespace={"push": push_mv * b.mV},
    )  # fmt: skip
    found.pre.when = "before_thresholds"
    return found


class Watch:
    """Processor time at the beginning of the first step of a run and at the end of each."""

    def __init__(self) -> None:
        self.first, self.last = 0.0, 0.0
        begins, ends = (
            b.NetworkOperation(self.begin, when="start"),
            b.NetworkOperation(self.end, when="end"),
        )
        self.operations = [begins, ends]

    def begin(self) -> None:
        if not self.first:
            self.first = time.process_time()

    def end(self) -> None:
        self.last = time.process_time()

    def run(self, net: b.Network, steps: int, dt_ms: float) -> float:
        """Seconds of some steps."""
        self.first = 0.0
        net.run(steps * dt_ms * b.ms, namespace={})
        return self.last - self.first


def main() -> None:
    """Time all lessons."""
    b.prefs.codegen.target = sys.argv[2]
    b.prefs.codegen.runtime.cython.cache_dir = tempfile.mkdtemp()
    b.prefs.codegen.runtime.cython.delete_source_files = True
    given = np.load(sys.argv[1])
    p, weight = json.loads(str(given["parameters"])), given["weight"].astype(float)
    b.defaultclock.dt = p["dt_ms"] * b.ms
    steps, lessons = int(p["steps"]), int(p["lessons"])
    packed = [given[f"lesson{number}"] for number in range(lessons)]
    trains = np.concatenate([np.unpackbits(one, axis=1, count=len(weight)) for one in packed])
    net = network(p, weight, np.concatenate([trains, np.zeros_like(trains[:1])]))
    net["inputs"].offset = len(trains) * p["dt_ms"] * b.ms
    watch = Watch()
    net.add(*watch.operations)
    net.store("rest")
    watch.run(net, 1, p["dt_ms"])  # compiles, where there is something to
    print(json.dumps({"version": b.__version__}))
    theta = np.zeros(weight.shape[1])
    for number in range(lessons):
        net.restore("rest")
        net["plastic"].w, net["exc"].theta = weight.flatten(), theta * b.volt
        net["inputs"].offset = number * steps * p["dt_ms"] * b.ms
        seconds = watch.run(net, steps, p["dt_ms"])
        spikes = [int(net[f"{name}_sent"].num_spikes) for name in ("exc", "inh")]
        line = {"seconds": seconds, "excitatory": spikes[0], "inhibitory": spikes[1]}
        print(json.dumps(line), flush=True)
        weight = np.array(net["plastic"].w).reshape(weight.shape)
        weight *= p["total"] / weight.sum(0)
        theta = np.array(net["exc"].theta / b.volt)
    np.save(sys.argv[1] + ".weight.npy", weight)


if __name__ == "__main__":
    main()
