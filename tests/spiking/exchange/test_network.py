"""Graphs that run: against closed forms, against torch, and against the modules they came from."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.core.errors import ClnfError, ConfigError, DataError, ShapeError
from clnf.spiking import (
    IF,
    LI,
    LIF,
    AdaptiveLIF,
    Convolution,
    CubaLI,
    CubaLIF,
    EventConv2d,
    EventLinear,
    Neurons,
    Readout,
    RecurrentNeurons,
    SpikingConv2d,
    SpikingLinear,
)
from clnf.spiking.exchange import (
    Graph,
    Network,
    Node,
    Reading,
    graph_of,
    identical,
    read_nir,
    write_nir,
)
from clnf.spiking.exchange.reading import Meaning

FINE = Reading(dt_s=1e-6)


def port(kind: str, *shape: int) -> Node:
    return Node.of(kind, {"shape": shape})


def alone(node: Node, *shape: int) -> Graph:
    nodes = {"in": port("Input", *shape), "node": node, "out": port("Output", *shape)}
    return Graph(nodes, [("in", "node"), ("node", "out")])


def ran(graph: Graph, x: Tensor, how: Reading = FINE) -> Tensor:
    out = Network(graph, how, dtype=x.dtype)(x)
    assert isinstance(out, Tensor)
    return out.detach()


def driven(values: list[float], steps: int) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).expand(steps, 1, len(values)).contiguous()


def impulse(steps: int, cells: int) -> Tensor:
    x = torch.zeros(steps, 1, cells, dtype=torch.float64)
    x[0] = 1
    return x


def test_leaky_integrators_follow_their_closed_forms() -> None:
    tau, r, leak = np.array([2e-3, 5e-3]), np.array([1.5, -2.0]), np.array([0.1, -0.3])
    t = (torch.arange(4000, dtype=torch.float64) + 1)[:, None] * 1e-6
    li = Node.of("LI", {"tau": tau, "r": r, "v_leak": leak})
    decay = torch.exp(-t / torch.from_numpy(tau))
    steady = torch.from_numpy(leak) + torch.from_numpy(r) * 0.8 * (1 - decay)
    assert (ran(alone(li, 2), driven([0.8, 0.8], 4000))[:, 0] - steady).abs().max() < 1e-9
    integrator = Node.of("I", {"r": r})
    ramp = torch.from_numpy(r) * 0.8 * t
    assert (ran(alone(integrator, 2), driven([0.8, 0.8], 4000))[:, 0] - ramp).abs().max() < 1e-9


def test_a_current_follows_its_closed_form_after_one_event() -> None:
    slow, fast, r, w = 4e-3, np.array([1e-3, 2e-3]), 1.3, 0.7
    one = np.ones(2)
    values = {"tau_mem": slow * one, "tau_syn": fast, "r": r * one, "w_in": w * one}
    node = Node.of("CubaLI", {**values, "v_leak": 0.2 * one})
    found = ran(alone(node, 2), impulse(9000, 2), Reading(dt_s=1e-6, drive="dirac"))[:, 0]
    # The event comes as the first step ends.
    t = torch.arange(9000, dtype=torch.float64)[:, None] * 1e-6
    fast_t = torch.from_numpy(fast)
    waves = torch.exp(-t / slow) - torch.exp(-t / fast_t)
    closed = 0.2 + r * w / (slow - fast_t) * waves
    assert (found - closed).abs().max() < 1e-6 * closed.abs().max()
    peak = slow * fast / (slow - fast) * np.log(slow / fast)
    assert np.allclose(found.argmax(0) * 1e-6, peak, atol=1e-6)


def first_crossing(slow: float, fast: float, drive: float, level: float) -> float:
    """When a membrane behind a current that rises to ``drive`` reaches a level, by halving."""

    def v(t: float) -> float:
        waves = slow * math.exp(-t / slow) - fast * math.exp(-t / fast)
        return drive * (1 - waves / (slow - fast))

    low, high = 0.0, 1.0
    for _ in range(80):
        half = (low + high) / 2
        low, high = (half, high) if v(half) < level else (low, half)
    return low


def test_spikes_come_when_closed_forms_say() -> None:
    """To the step, 1e-6 s; between spikes ISI = tau ln((v_inf - reset)/(v_inf - threshold))."""
    one = np.ones(1)
    level, leak, reset, tau, drive = 1.0, 0.2, -0.3, 4e-4, 1.5
    spiking = {"v_threshold": level * one, "v_reset": reset * one}
    lif = Node.of("LIF", {"tau": tau * one, "r": 1.2 * one, "v_leak": leak * one, **spiking})
    end = leak + 1.2 * drive
    first = tau * math.log((end - leak) / (end - level))
    later = tau * math.log((end - reset) / (end - level))
    check(lif, drive, first, later)
    integrate = Node.of("IF", {"r": 2000.0 * one, **spiking})
    check(integrate, drive, level / (2000 * drive), (level - reset) / (2000 * drive))
    fast = {"tau_mem": tau * one, "tau_syn": 2e-4 * one, "r": one, "w_in": one}
    cuba = Node.of("CubaLIF", {**fast, "v_leak": 0.0 * one, **spiking})
    check(cuba, drive, first_crossing(tau, 2e-4, drive, level), None)
    silent = Node.of("LIF", {**lif.values, "r": (level - leak) / drive * one})
    assert not ran(alone(silent, 1), driven([drive], 1800)).any()


def check(node: Node, drive: float, first: float, later: float | None) -> None:
    times = ran(alone(node, 1), driven([drive], 1800)).flatten().nonzero().flatten()
    seconds = (times + 1).double() * 1e-6
    assert abs(float(seconds[0]) - first) <= 1.001e-6
    if later is not None:
        assert (seconds.diff() - later).abs().max() <= 1.001e-6
        assert len(seconds) >= 2


def test_a_wrong_time_constant_is_seen() -> None:
    one = np.ones(1)
    node = Node.of("LIF", {"tau": 4.1e-4 * one, "r": one, "v_leak": 0 * one, "v_threshold": one})
    with pytest.raises(AssertionError):
        check(node, 1.5, 4e-4 * math.log(3), None)


@pytest.mark.parametrize(
    ("drive", "wanted"),
    [("hold", 3 * (1 - math.exp(-0.05))), ("kick", 3 * 0.05), ("dirac", 3 / 0.02)],
)
def test_what_a_value_stands_for(drive: Meaning, wanted: float) -> None:
    one = np.ones(1)
    node = Node.of("LI", {"tau": 0.02 * one, "r": 3 * one, "v_leak": 0 * one})
    found = ran(alone(node, 1), impulse(1, 1), Reading(dt_s=1e-3, drive=drive))
    assert found.item() == pytest.approx(wanted, rel=1e-12)
    euler = ran(alone(node, 1), impulse(1, 1), Reading(dt_s=1e-3, method="euler"))
    assert euler.item() == pytest.approx(3 * 0.05, rel=1e-12)


X = {
    shape: torch.randn(4, 2, *shape, generator=torch.Generator().manual_seed(1))
    for shape in ((3,), (2, 3), (2, 8), (2, 8, 6))
}


def test_weights_and_windows_are_those_of_torch(all_kinds: dict[str, Graph]) -> None:
    def values(name: str) -> dict[str, Tensor]:
        node = all_kinds[name].nodes["node"]
        assert isinstance(node, Node)
        return {
            key: torch.from_numpy(np.array(one))
            for key, one in node.values.items()
            if not isinstance(one, str)
        }

    row, matrix, line, picture = X.values()
    flat = picture.flatten(0, 1)
    a, c1, c2 = values("Affine"), values("Conv1d"), values("Conv2d")
    pool = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (1, 0)}
    average = functional.avg_pool2d(flat, **pool)
    wanted = {
        "Affine": (row, row @ a["weight"].T + a["bias"]),
        "Linear": (row, row @ values("Linear")["weight"].T),
        "Linear of matrices": (
            matrix,
            torch.einsum("tbki,koi->tbko", matrix, values("Linear of matrices")["weight"]),
        ),
        "Scale": (row, row * values("Scale")["scale"]),
        "Threshold": (row, (row > values("Threshold")["threshold"]).float()),
        "Conv1d": (
            line,
            functional.conv1d(line.flatten(0, 1), c1["weight"], c1["bias"], padding=1),
        ),
        "Conv2d": (picture, functional.conv2d(flat, c2["weight"], c2["bias"], padding=1)),
        "Conv2d same": (picture, functional.conv2d(flat, c2["weight"], c2["bias"], padding="same")),
        "Conv2d valid": (picture, functional.conv2d(flat, c2["weight"], c2["bias"])),
        "SumPool2d": (picture, average * 4),
        "AvgPool2d": (picture, average),
        "Flatten": (picture, picture.flatten(2)),
    }
    for name, (x, y) in wanted.items():
        found = ran(all_kinds[name], x, Reading(dt_s=1e-3))
        assert torch.allclose(found, y.reshape(found.shape), atol=1e-5), name


def test_a_delay_gives_what_came_before(all_kinds: dict[str, Graph]) -> None:
    x, how = torch.randn(7, 2, 3), Reading(dt_s=1e-3)
    found = ran(all_kinds["Delay"], x, how)
    for cell, steps in enumerate((0, 1, 3)):
        assert torch.equal(found[steps:, :, cell], x[: 7 - steps, :, cell])
        assert not found[:steps, :, cell].any()


def test_all_kinds_go_on_where_they_stopped(all_kinds: dict[str, Graph]) -> None:
    for name, graph in all_kinds.items():
        net = Network(graph, Reading(dt_s=1e-3))
        shape = tuple(graph.nodes["input"].array("shape").tolist())  # type: ignore[union-attr]
        x = torch.rand(6, 2, *shape) * 3
        whole = net(x)
        first, states = net.run(x[:2])
        second, _ = net.run(x[2:], states)
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        assert torch.allclose(torch.cat([first, second]), whole, atol=1e-6), name


SOME = 0.5 + torch.rand(6, generator=torch.Generator().manual_seed(5))
MODELS: dict[str, Any] = {
    "kick": lambda: LIF(tau_s=10e-3),
    "hold": lambda: LIF(drive="hold", reset_v=0.0, gain=3.0, method="euler"),
    "cuba": lambda: CubaLIF(refractory_s=2e-3, leak_v=0.1),
    "if": lambda: IF(gain=0.3, reset_v=-0.2),
    "many": lambda: LIF(tau_s=torch.linspace(5e-3, 2e-2, 6), threshold_v=SOME),
}


@pytest.mark.parametrize("name", [*MODELS])
def test_a_model_comes_back_as_it_went(name: str, tmp_path: Path) -> None:
    """Not one spike differs, and not one potential; cells all unlike, only by roundings."""
    cell = MODELS[name]()
    read_out = (CubaLI if name == "cuba" else LI)(drive=cell.drive, method=cell.method)
    net = nn.Sequential(
        SpikingLinear((20, 6), cell, dt_s=1e-3, recurrent=True, seed=1),
        EventLinear(6, 6, bias=True),
        nn.Sequential(RecurrentNeurons(cell, 6, dt_s=1e-3), nn.Linear(6, 4)),
        Readout(read_out, dt_s=1e-3),
    )
    net[0].weight.data *= 8
    graph = read_nir(write_nir(tmp_path / "a.nir", graph_of(net)))
    again = Network(graph)
    kinds = sorted(type(stage).__name__ for stage in again.stages.values())
    assert {"SpikingLinear", "RecurrentNeurons", "Readout"} <= set(kinds)
    x = (torch.rand(40, 3, 20, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    assert net[0](x).any()
    # Time constants of their own are read from a file of 32-bit numbers, and so are thresholds.
    off = 1e-6 if name == "many" else 0.0
    assert torch.allclose(again(x), net(x), rtol=0.0, atol=off)
    assert identical(graph_of(again), graph)
    sum(one.square().mean() for one in again(x)).backward()
    assert all(one.grad is not None for one in again.parameters())


def test_pictures_come_back_as_they_went(tmp_path: Path) -> None:
    net = nn.Sequential(
        SpikingConv2d((2, 4), 3, LIF(), dt_s=1e-3, how=Convolution(padding=(1, 1))),
        EventConv2d((4, 5), 3, how=Convolution(stride=(2, 2))),
        Neurons(LIF(), dt_s=1e-3),
        nn.Flatten(2),
        nn.Linear(45, 3),
        Neurons(IF(), dt_s=1e-3),
    )
    for weight in (net[0].weight, net[1].weight):
        weight.data *= 5
    net[4].weight.data.fill_(0.25)
    again = Network(read_nir(write_nir(tmp_path / "a.nir", graph_of(net, (2, 8, 8)))))
    assert [type(one).__name__ for one in again.stages.values()].count("SpikingConv2d") == 2
    x = (torch.rand(20, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    assert net(x).any()
    assert torch.equal(again(x), net(x))


def test_what_was_learned_is_written(tmp_path: Path) -> None:
    net = Network(graph_of(nn.Sequential(SpikingLinear((4, 3), LIF(), dt_s=1e-3))))
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(1)
    again = Network(read_nir(write_nir(tmp_path / "a.nir", net.learned())))
    assert torch.equal(next(again.parameters()), next(net.parameters()))
    assert not identical(net.learned(), net.graph)


def ring_of(delay: Node | None, weight: float) -> Graph:
    """A cell that hears itself, by a matrix and perhaps a delay."""
    one = np.ones(1, np.float32)
    nodes = {
        "in": port("Input", 1),
        "lif": Node.of("IF", {"r": 1000 * one, "v_threshold": 0.5 * one}),
        "ring": Node.of("Affine", {"weight": weight * one[None], "bias": 0 * one}),
        "out": port("Output", 1),
    }
    edges = [("in", "lif"), ("lif", "out"), ("lif", "ring")]
    if delay is None:
        return Graph(nodes, [*edges, ("ring", "lif")])
    return Graph({**nodes, "late": delay}, [*edges, ("ring", "late"), ("late", "lif")])


def test_a_ring_arrives_one_step_later_and_a_delay_when_it_says() -> None:
    x, how = torch.zeros(9, 1, 1), Reading(dt_s=1e-3)
    x[1] = 1
    late = Node.of("Delay", {"delay": np.array([3e-3])})
    assert ran(ring_of(None, 1.0), x, how).flatten().tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert ran(ring_of(late, 1.0), x, how).flatten().tolist() == [0, 1, 0, 0, 1, 0, 0, 1, 0]
    assert ran(ring_of(None, 0.1), x, how).flatten().tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0]


def test_a_ring_step_by_step_is_the_compiled_one() -> None:
    """An Affine ring goes step by step, a Linear one does not."""
    rng, size = np.random.default_rng(0), 5
    weight = (np.round(rng.normal(0, 32, (size, size))) / 64).astype(np.float32)
    one = np.ones(size, np.float32)
    lif = Node.of("LIF", {"tau": 0.01 * one, "r": 9 * one, "v_leak": 0 * one, "v_threshold": one})
    x, how = (torch.rand(30, 2, size) < 0.5).float(), Reading(dt_s=1e-3)
    found = []
    for kind in ("Linear", "Affine"):
        more = {"bias": 0 * one} if kind == "Affine" else {}
        ring = Node.of(kind, {"weight": weight, **more})
        nodes = {"in": port("Input", size), "lif": lif, "w": ring, "out": port("Output", size)}
        edges = [("in", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "out")]
        net = Network(Graph(nodes, edges), how)
        assert ("RecurrentNeurons" in {type(s).__name__ for s in net.stages.values()}) == (not more)
        first, states = net.run(x[:10])
        second, _ = net.run(x[10:], states)
        assert torch.equal(torch.cat([first, second]), net(x))
        found.append(net(x))
    assert found[0].any()
    assert torch.equal(*found)


def test_a_subgraph_is_what_is_in_it(all_kinds: dict[str, Graph]) -> None:
    inner = all_kinds["Affine"]
    outer = Graph(
        {"input": port("Input", 3), "part": inner, "output": port("Output", 4)},
        [("input", "part"), ("part", "output")],
    )
    x = torch.randn(3, 2, 3)
    assert torch.equal(ran(outer, x), ran(inner, x))


def test_several_inputs_and_outputs_go_by_name() -> None:
    graph = Graph(
        {"a": port("Input", 2), "b": port("Input", 2), "c": port("Output", 2),
         "d": port("Output", 2)},
        [("a", "c"), ("b", "c"), ("b", "d")],
    )  # fmt: skip
    net, a, b = Network(graph, FINE), torch.ones(1, 1, 2), torch.full((1, 1, 2), 2.0)
    found = net({"a": a, "b": b})
    assert isinstance(found, dict)
    assert torch.equal(found["c"], a + b)
    assert torch.equal(found["d"], b)
    with pytest.raises(ShapeError, match="inputs are tensors for a, b"):
        net(a)


def test_bad_inputs_get_a_sentence(all_kinds: dict[str, Graph]) -> None:
    net = Network(all_kinds["LIF"], FINE)
    for x, told in [
        (torch.ones(3, 3), "Input 'input' takes"),
        (torch.ones(3, 1, 3, dtype=torch.float64), "as the network"),
        (torch.ones(0, 1, 3), "Input 'input' takes"),
    ]:
        with pytest.raises(ShapeError, match=told):
            net(x)
    with pytest.raises(DataError, match="does not say how long a step is"):
        Network(all_kinds["LIF"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tau": np.float32([0, 0, 0])}, "tau must be above 0 s"),
        ({"tau": np.float32([np.nan] * 3)}, "finite"),
        ({"r": np.float64([1e300] * 3)}, "finite float32"),
        ({"r": np.ones(4)}, "parameters of one population have one shape"),
        ({"v_threshold": np.ones((0,))}, "one shape|no cells"),
    ],
)
def test_numbers_that_make_no_cell(
    change: dict[str, Any], told: str, all_kinds: dict[str, Graph]
) -> None:
    node = all_kinds["LIF"].nodes["node"]
    assert isinstance(node, Node)
    with pytest.raises(ClnfError, match=told):
        Network(alone(Node("LIF", {**node.values, **change}), 3), FINE)


def test_what_nir_has_no_node_for() -> None:
    adaptive = Neurons(AdaptiveLIF(), dt_s=1e-3)
    with pytest.raises(ConfigError, match="threshold that moves"):
        graph_of(adaptive, (3,))
    with pytest.raises(ConfigError, match="no node for"):
        graph_of(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    with pytest.raises(ConfigError, match="one step and one method"):
        graph_of(nn.Sequential(Neurons(LIF(), dt_s=1e-3), Neurons(LIF(), dt_s=2e-3)), (3,))
    with pytest.raises(ConfigError, match="give shape"):
        graph_of(Neurons(LIF(), dt_s=1e-3))
