"""The competing network in BindsNET, run by ``benchmarks/stdp.py`` with an interpreter of its own.

    python stdp_bindsnet.py FILE     parameters, first weights and input spikes of each lesson

Prints JSON lines: its version, then for each lesson processor seconds and spikes. BindsNET imports
packages that this network does not use (torchvision, cv2, gymnasium and others); empty modules
stand in for them. Its own model of the network is used as it is, but for one setting: all cells
over their threshold spike, not one of them drawn by chance.
"""

import importlib.abc
import importlib.machinery
import importlib.metadata
import json
import sys
import time
import types
from typing import Any, ClassVar

import numpy as np

UNUSED = (
    "torchvision", "cv2", "ale_py", "skimage", "gymnasium", "tensorboardX", "pandas", "sklearn",
    "foolbox", "requests", "tables",
)  # fmt: skip


class Empty(type):
    """A class that has every attribute."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name, (), {})


class EmptyModule(types.ModuleType):
    """A module that has every attribute."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds empty modules under the names of unused packages."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.split(".")[0] not in UNUSED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        return EmptyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def network(p: dict[str, Any], weight: np.ndarray) -> Any:
    """BindsNET's own model, in mV and ms."""
    import torch
    from bindsnet.models import DiehlAndCook2015

    net = DiehlAndCook2015(
        n_inpt=weight.shape[0],
        n_neurons=weight.shape[1],
        exc=p["excite_mv"],
        inh=p["inhibit_mv"],
        dt=p["dt_ms"],
        nu=(p["down"], p["up"]),
        norm=p["total"],
        theta_plus=p["jump_mv"],
        tc_theta_decay=p["theta_tau_ms"],
    )
    net.layers["Ae"].one_spike = False
    net.connections[("X", "Ae")].pipeline[0].value.data.copy_(torch.from_numpy(weight))
    return net


def main() -> None:
    """Time all lessons."""
    sys.meta_path.append(Finder())
    import torch
    from bindsnet.network.monitors import Monitor

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    given = np.load(sys.argv[1])
    p = json.loads(str(given["parameters"]))
    net = network(p, given["weight"])
    steps = int(p["steps"])
    watch = {name: Monitor(net.layers[name], ["s"], time=steps) for name in ("Ae", "Ai")}
    for name, one in watch.items():
        net.add_monitor(one, name)
    print(json.dumps({"version": importlib.metadata.version("bindsnet")}))
    for number in range(int(p["lessons"])):
        bits = np.unpackbits(given[f"lesson{number}"], axis=1, count=given["weight"].shape[0])
        trains = torch.from_numpy(bits)
        start = time.process_time()
        net.run(inputs={"X": trains[:, None].bool()}, time=steps * p["dt_ms"])
        seconds = time.process_time() - start
        spikes = [int(one.get("s").sum()) for one in watch.values()]
        print(json.dumps({"seconds": seconds, "excitatory": spikes[0], "inhibitory": spikes[1]}))
        net.reset_state_variables()
    weight = net.connections[("X", "Ae")].pipeline[0].value
    np.save(sys.argv[1] + ".weight.npy", weight.detach().numpy())


if __name__ == "__main__":
    main()
