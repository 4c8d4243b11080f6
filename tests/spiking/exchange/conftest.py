"""One node of every kind of NIR, and a graph around each."""

import numpy as np
import pytest

from clnf.spiking.exchange import Graph, Node
from clnf.spiking.exchange.shapes import shape_after


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)


def conv(axes: int, padding: object) -> dict[str, object]:
    one = {1: lambda value: value, 2: lambda value: [value, value]}[axes]
    return {
        "weight": weights(4, 2, *(3,) * axes),
        "bias": weights(4),
        "stride": one(1),
        "padding": padding if isinstance(padding, str) else one(padding),
        "dilation": one(1),
        "groups": 1,
    }


def of_every_kind() -> dict[str, tuple[Node, tuple[int, ...]]]:
    tau, r = np.float32([0.01, 0.02, 0.03]), np.float32([1.5, 2.0, 20.0])
    leak, level, reset = np.float32([0, 0.1, 0]), np.float32([1, 0.5, 1]), np.float32([0, -1, 0.2])
    slow = {"tau_mem": tau, "tau_syn": tau / 4, "r": r, "v_leak": leak, "w_in": r * 2}
    pool = {"kernel_size": [2, 2], "stride": [2, 2], "padding": [1, 0]}
    spiking = {"v_threshold": level, "v_reset": reset}
    pictures, row = (2, 8, 6), (3,)
    found = {
        "Affine": (Node.of("Affine", {"weight": weights(4, 3), "bias": weights(4)}), row),
        "Linear": (Node.of("Linear", {"weight": weights(4, 3)}), row),
        "Linear of matrices": (Node.of("Linear", {"weight": weights(2, 4, 3)}), (2, 3)),
        "Scale": (Node.of("Scale", {"scale": r}), row),
        "Conv1d": (Node.of("Conv1d", {**conv(1, 1), "input_shape": 8}), (2, 8)),
        "Conv2d": (Node.of("Conv2d", {**conv(2, 1), "input_shape": [8, 6]}), pictures),
        "Conv2d same": (Node.of("Conv2d", {**conv(2, "same"), "input_shape": [8, 6]}), pictures),
        "Conv2d valid": (Node.of("Conv2d", {**conv(2, "valid"), "input_shape": [8, 6]}), pictures),
        "SumPool2d": (Node.of("SumPool2d", pool), pictures),
        "AvgPool2d": (Node.of("AvgPool2d", pool), pictures),
        "Flatten": (
            Node.of("Flatten", {"input_type": [*pictures], "start_dim": 0, "end_dim": -1}),
            pictures,
        ),
        "Delay": (Node.of("Delay", {"delay": np.float32([0, 1e-3, 3e-3])}), row),
        "Threshold": (Node.of("Threshold", {"threshold": level}), row),
        "I": (Node.of("I", {"r": r}), row),
        "IF": (Node.of("IF", {"r": r, **spiking}), row),
        "LI": (Node.of("LI", {"tau": tau, "r": r, "v_leak": leak}), row),
        "LIF": (Node.of("LIF", {"tau": tau, "r": r, "v_leak": leak, **spiking}), row),
        "CubaLI": (Node.of("CubaLI", slow), row),
        "CubaLIF": (Node.of("CubaLIF", {**slow, **spiking}, {"from": "a test", "n": 3}), row),
    }  # fmt: skip
    return found


def around(node: Node, shape: tuple[int, ...]) -> Graph:
    nodes = {
        "input": Node.of("Input", {"shape": shape}),
        "node": node,
        "output": Node.of("Output", {"shape": shape_after(node, shape)}),
    }
    return Graph(nodes, [("input", "node"), ("node", "output")])


@pytest.fixture(params=[*of_every_kind()])
def each(request: pytest.FixtureRequest) -> Graph:
    return around(*of_every_kind()[request.param])


@pytest.fixture
def all_kinds() -> dict[str, Graph]:
    return {name: around(*one) for name, one in of_every_kind().items()}
