"""Parameters at their ends: steps far longer or shorter than time constants, NaN, infinity."""

import math
from decimal import Decimal, getcontext

import pytest
import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.spiking.cells import IF, LI, LIF, AbstractCell, AdaptiveLIF, CubaLI, CubaLIF
from clnf.spiking.coefficients import shared_of
from clnf.spiking.layers import Neurons, Readout
from clnf.spiking.steps import start

NAN, INF = float("nan"), float("inf")
DT = 1e-3


def exact(tau_s: float, synapse_tau_s: float) -> float:
    """The closed form with 400 digits."""
    getcontext().prec = 400
    a, b = (Decimal(DT) / Decimal(one) for one in (tau_s, synapse_tau_s))
    return float(a * (-a).exp() if a == b else a / (b - a) * ((-a).exp() - (-b).exp()))


@pytest.mark.parametrize("tau", [1e-9, 1e-6, DT / 710, DT / 700, 1e-4, 5e-3, 5e-3 + 1e-9, 1e5])
@pytest.mark.parametrize("synapse", [1e-9, 1e-6, DT / 710, 5e-3, 5e-3 * (1 + 1e-7), 1.0, 1e5])
def test_a_current_s_share_is_its_closed_form_at_any_length_of_step(
    tau: float, synapse: float
) -> None:
    wanted = exact(tau, synapse)
    assert float(shared_of(tau, synapse, DT, "exact")) == pytest.approx(wanted, rel=2e-8)


def test_a_current_s_share_has_the_limits_of_its_closed_form() -> None:
    assert shared_of(1e-320, 1.0, DT, "exact") == pytest.approx(math.exp(-DT))
    assert shared_of(1.0, 1e-320, DT, "exact") < 1e-30
    assert shared_of(INF, 5e-3, DT, "exact") == 0.0
    assert shared_of(1e-320, 1e-320, DT, "exact") < 1e-30


@pytest.mark.parametrize("apart", [0.0, 1e-12, 1e-7, 1e-3, 0.5])
def test_slopes_of_a_current_s_share_are_those_of_its_closed_form(apart: float) -> None:
    tau = torch.tensor(5e-3, dtype=torch.float64, requires_grad=True)
    synapse = torch.tensor(5e-3 * (1 + apart), dtype=torch.float64, requires_grad=True)
    shared_of(tau, synapse, DT, "exact").backward()  # type: ignore[union-attr]
    for one, move in ((tau, (1e-8, 0.0)), (synapse, (0.0, 1e-8))):
        ends = [exact(5e-3 + s * move[0], 5e-3 * (1 + apart) + s * move[1]) for s in (1, -1)]
        assert one.grad is not None
        assert one.grad.item() == pytest.approx((ends[0] - ends[1]) / 2e-8, rel=1e-5)


def test_a_membrane_faster_than_the_step_follows_its_current() -> None:
    def count(tau: float) -> float:
        cell = CubaLIF(tau_s=tau, synapse_tau_s=1.0, reset_v=0.0, drive="hold")
        return float(Neurons(cell, dt_s=DT)(torch.full((50, 1, 1), 30.0)).sum())

    assert count(1e-6) == count(1e-5) > 0


@pytest.mark.parametrize("leak", [0.0, 0.1])
@pytest.mark.parametrize("tau", [1e5, INF])
def test_cells_that_lose_nothing_in_a_step_start_at_their_leak(tau: float, leak: float) -> None:
    for cell in (LIF(tau_s=torch.full((3,), tau), leak_v=leak), LIF(tau_s=tau, leak_v=leak)):
        z, state = Neurons(cell, dt_s=DT).run(torch.full((5, 1, 3), 0.6))
        rest = start(torch.zeros(1, 3), cell.coefficients(DT)).v
        torch.testing.assert_close(rest, torch.full((1, 3), leak))
        assert state.v.isfinite().all()
        assert z.sum() == 9
    mixed = LIF(tau_s=torch.tensor([1e5, 20e-3]), leak_v=torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(
        start(torch.zeros(1, 2), mixed.coefficients(DT)).v, torch.tensor([[0.1, 0.2]])
    )


def test_learnt_cells_that_lose_nothing_have_gradients() -> None:
    tau, leak = nn.Parameter(torch.tensor([1e5, 20e-3])), nn.Parameter(torch.tensor([0.1, 0.2]))
    start(torch.zeros(1, 2), LIF(tau_s=tau, leak_v=leak).coefficients(DT)).v.sum().backward()
    assert tau.grad is not None
    assert leak.grad is not None
    assert tau.grad.isfinite().all()
    torch.testing.assert_close(leak.grad, torch.ones(2))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("kind", [IF, LIF, CubaLIF, AdaptiveLIF, LI, CubaLI])
def test_numbers_that_are_not_finite_are_refused(kind: type[AbstractCell], bad: float) -> None:
    for name in ("gain", "leak_v", "reset_v", "jump_v"):
        if name in kind.__dataclass_fields__:
            with pytest.raises(ConfigError, match=f"{name} of {kind.__name__} must be a finite"):
                kind(**{name: bad})  # type: ignore[arg-type]


def test_thresholds_may_be_endless_and_no_nan() -> None:
    assert not Neurons(LIF(threshold_v=INF), dt_s=DT)(torch.full((5, 1, 1), 9.0)).any()
    with pytest.raises(ConfigError, match="threshold_v of LIF must be a finite number, got nan"):
        LIF(threshold_v=NAN)


@pytest.mark.parametrize("name", ["gain", "leak_v", "threshold_v", "reset_v"])
def test_tensors_are_looked_at_when_a_module_is_made(name: str) -> None:
    good: dict[str, Tensor] = {name: torch.tensor([1.0, 0.5])}
    Neurons(LIF(**good), dt_s=DT)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"{name} of LIF .* got nan at \[1\]"):
        Neurons(LIF(**{name: torch.tensor([1.0, NAN])}), dt_s=DT)  # type: ignore[arg-type]


@pytest.mark.parametrize("dt", [0.0, -1e-3, NAN, INF, "1 ms", None])
def test_steps_are_finite_times(dt: float) -> None:
    for cell in (IF(), LIF(), CubaLIF(), AdaptiveLIF()):
        with pytest.raises(ConfigError, match="dt_s must be"):
            cell.coefficients(dt)
    with pytest.raises(ConfigError, match="dt_s must be"):
        Readout(LI(), dt_s=dt)


def test_refractory_times_that_no_state_can_count_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 2147483647 steps"):
        LIF(refractory_s=1.0).coefficients(1e-320)
