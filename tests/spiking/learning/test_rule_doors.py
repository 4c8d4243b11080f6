"""What rules for nets as they ran refuse, what they keep, and how gates go around them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ClnfError, ConfigError, DataError, RunError, ShapeError
from clnf.spiking import LI, LIF, EventLinear, Readout, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.learning import EProp, LocalLosses, OnlineRule, Tags, resume_change, watched
from clnf.spiking.memristive import Gate, GateRule
from clnf.spiking.profiles import Constrained, profile, trace_format

NAN = float("nan")
X = (torch.rand(12, 3, 6, generator=torch.Generator().manual_seed(5)) < 0.5).float()
KINDS = ["eprop", "local"]


def net(reset_v: float | None = None, dt_s: tuple[float, float] = (1e-3, 1e-3)) -> Chain:
    layers = [
        SpikingLinear(size, LIF(tau_s=10e-3, reset_v=reset_v), dt_s=step, seed=n)
        for n, (size, step) in enumerate(zip(((6, 8), (8, 4)), dt_s, strict=True))
    ]
    for layer in layers:
        layer.weight.data *= 4
    return Chain(*layers)


def error(y: Tensor) -> Tensor:
    return (y - 0.3) / y.numel()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda y: y.mean(), r"errors of outputs \[12, 3, 4\] have their shape, got \[\]"),
        (lambda y: y[0], r"got \[3, 4\]"),
        (lambda y: y[0, 0], r"got \[4\]"),
        (lambda y: y[..., :1], r"got \[12, 3, 1\]"),
        (lambda y: 0.1, "got 0.1; return it"),
        (lambda y: None, "got None"),
        (lambda y: y.double(), "errors of outputs of torch.float32 have their type, got torch.fl"),
        (lambda y: y * NAN, r"errors of outputs are finite, got nan at \[0, 0, 0\]"),
    ],
)
def test_errors_have_the_shape_of_outputs_and_are_finite(kind: Any, wrong: Any, words: str) -> None:
    made = net()
    rule = OnlineRule(kind, made)
    with pytest.raises(ClnfError, match=words):
        rule.lesson(X, wrong)
    assert rule.lessons == 0
    assert all(one.grad is None for one in made.parameters())
    rule.lesson(X, error)  # the control
    assert all(bool(one.grad.any()) for one in made.parameters() if one.grad is not None)


@pytest.mark.parametrize(
    ("x", "words"),
    [(X[:, 0], "inputs of a lesson"), (X[:0], "from one step"), (X[:, :0], "one sample"),
     (X.double(), "got .* of torch.float64"), (X.long(), "of torch.int64"), (X > 0, "torch.bool"),
     (X[..., :2], r"got \[12, 3, 2\]"), (X * NAN, r"finite, got nan at \[0, 0, 0\]"),
     (X.tolist(), "make a tensor"), (X.numpy(), "make a tensor"), (None, "make a tensor")],
)  # fmt: skip
def test_inputs_that_first_weights_cannot_take_are_refused(x: Any, words: str) -> None:
    for made in (net(), Constrained(net(), profile("memristive:cmo_hfox"))):
        with pytest.raises(ClnfError, match=words):
            OnlineRule("eprop", made).lesson(x, error)
        with pytest.raises(ClnfError, match=words):
            watched(made, x)


def test_rules_step_by_step_refuse_what_is_not_finite() -> None:
    layer, out = net()[0], EventLinear(8, 2, seed=1)
    assert isinstance(layer, SpikingLinear)
    for rule in (EProp(layer, out, Readout(LI(), dt_s=1e-3)), LocalLosses([layer], outputs=2)):
        with pytest.raises(DataError, match="inputs of a lesson are finite"):
            rule.lesson(X * NAN, lambda y, t: y)
        with pytest.raises(DataError, match="errors of outputs are finite"):
            rule.lesson(X, lambda y, t: y * NAN)
        with pytest.raises(ShapeError, match="have their type"):
            rule.lesson(X, lambda y, t: y.double())


@pytest.mark.parametrize(
    "wanted",
    [torch.zeros(3, 4), torch.zeros(4), torch.zeros(12, 3, 1), torch.zeros(11, 3, 4), 1.0, "a"],
)
def test_a_teacher_says_what_each_cell_does_at_each_step(wanted: Any) -> None:
    seen = watched(net(), X)[1]
    with pytest.raises(ShapeError, match="wanted spikes"):
        resume_change(seen, wanted)
    right = torch.zeros(12, 3, 4)
    with pytest.raises(DataError, match="finite, got nan"):
        resume_change(seen, right * NAN)
    for alone in (NAN, "a", None, float("inf")):
        with pytest.raises(ConfigError, match="alone"):
            resume_change(seen, right, alone=alone)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="watched"):
        resume_change(X, right)  # type: ignore[arg-type]
    found = resume_change(seen, right)
    assert torch.equal(resume_change(seen, right > 0), found)
    assert bool(found.any())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", [0, 1])
def test_frozen_weights_get_no_gradient(kind: Any, frozen: int) -> None:
    made = net()
    weights = list(made.parameters())
    weights[frozen].requires_grad_(False)
    OnlineRule(kind, made).lesson(X, error)
    assert [one.grad is None for one in weights] == [n == frozen for n in (0, 1)]


def test_layers_have_steps_of_one_length_and_weights_of_one_type() -> None:
    with pytest.raises(ConfigError, match=r"steps of one length, got 0.001 s and 0.002 s"):
        OnlineRule("eprop", net(dt_s=(1e-3, 2e-3))).lesson(X, error)
    with pytest.raises(ConfigError, match=r"torch.float32 for these rules, got torch.float64"):
        OnlineRule("eprop", net().double()).lesson(X, error)


@pytest.mark.parametrize(
    "tags",
    [(8, 1.0), 8, Tags(1.5, 1.0), Tags("a", 1.0), Tags(2000, 1.0), Tags(8, NAN), Tags(8, -1.0)],  # type: ignore[arg-type]
)
def test_parts_of_a_rule_are_what_they_say(tags: Any) -> None:
    with pytest.raises(ConfigError, match="tags"):
        OnlineRule("eprop", net(), tags=tags)
    with pytest.raises(ConfigError, match="trace_format"):
        OnlineRule("eprop", net(), traces="loihi")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="torch module"):
        OnlineRule("eprop", None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="seed"):
        OnlineRule("eprop", net(), seed="a")  # type: ignore[arg-type]


def test_a_rule_on_a_chip_resumes_to_the_same_bits() -> None:
    chip = profile("loihi")

    def made(seed: int = 0) -> tuple[Chain, OnlineRule]:
        two = net(reset_v=0.0)
        how = trace_format(chip)
        return two, OnlineRule(
            "eprop", Constrained(two, chip), traces=how, tags=Tags(8, 9.0), seed=seed
        )

    def second(two: Chain, rule: OnlineRule) -> Tensor:
        two.zero_grad()
        rule.lesson(X, error)
        found = two[0].weight.grad
        assert isinstance(found, Tensor)
        return found.clone()

    two, rule = made()
    rule.lesson(X, error)
    kept = rule.state_dict()
    wanted = second(two, rule)
    again, other = made()
    other.load_state_dict(kept)
    assert torch.equal(second(again, other), wanted)
    assert other.lessons == 2
    assert not torch.equal(second(*made()), wanted)  # the control: lesson 1 once more
    with pytest.raises(RunError, match="the saved rule has the seed 0, this one 1"):
        made(seed=1)[1].load_state_dict(kept)
    for bad in ({}, {"seed": 0}, {"seed": 0, "lessons": -1}, {"seed": 0, "lessons": "a"}, None):
        with pytest.raises(ConfigError, match="state|lessons"):
            other.load_state_dict(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_goes_around_errors_of_all_steps_as_around_those_of_each(kind: Any) -> None:
    def far(y: Tensor, *t: int) -> Tensor:
        """One sample of three is far off."""
        return torch.zeros_like(y) + torch.tensor([9.0, 1.0, 1.0])[:, None]

    made, gate = net(), Gate(GateRule(threshold=1.0))
    gates = 1 if kind == "eprop" else 2
    OnlineRule(kind, made).lesson(X, gate.over(far))
    assert (int(gate.seen), int(gate.passed)) == (12 * 3 * gates, 12 * gates)
    alone = net()
    OnlineRule(kind, alone).lesson(X[:, :1], lambda y: far(y.expand(-1, 3, -1))[:, :1])
    for one, other in zip(made.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    by_steps, layer = Gate(GateRule(threshold=1.0)), net()[0]
    assert isinstance(layer, SpikingLinear)
    LocalLosses([layer], outputs=2).lesson(X, by_steps.over(far))
    assert (int(by_steps.seen), int(by_steps.passed)) == (12 * 3, 12)
    with pytest.raises(ConfigError, match="errors must be of class Tensor"):
        gate.let([1.0])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rule must be of class GateRule"):
        Gate("x")  # type: ignore[arg-type]


def test_a_reset_to_0_makes_the_rule_an_approximation_and_a_subtracted_one_does_not() -> None:
    def far_off(reset_v: float | None) -> float:
        made = net(reset_v)
        made(X).mul(error(X.new_ones(12, 3, 4))).sum().backward()
        wanted = [one.grad.clone() for one in made.parameters() if one.grad is not None]
        made.zero_grad()
        OnlineRule("eprop", made).lesson(X, lambda y: error(torch.ones_like(y)))
        found = [one.grad for one in made.parameters()]
        return max(
            float((a - b).abs().max() / b.abs().max())
            for a, b in zip(found, wanted, strict=True)
            if a is not None
        )

    assert far_off(None) < 1e-4
    assert far_off(0.0) > 0.5
