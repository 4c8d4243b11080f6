"""Send-on-delta: what events say of a signal, how many there are, and what they cost."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.ledger import Ledger
from clnf.spiking.coding import ASYNC_DELTA_65NM, FrontEnd, SendOnDelta, quality

DT = 1e-4


def sine(periods: int = 2, steps: int = 20000) -> Tensor:
    return torch.sin(torch.arange(steps) * (2 * math.pi * periods / steps))[:, None]


@pytest.mark.parametrize(
    "code",
    [
        SendOnDelta(step_v=0.07),
        SendOnDelta(step_v=0.07, noise_v=0.05),
        SendOnDelta(step_v=0.07, hysteresis_v=0.04, noise_v=0.05, refractory_s=3e-3),
    ],
)
def test_the_kernel_is_the_plain_version(code: SendOnDelta) -> None:
    x = torch.randn(300, 5, 9, generator=torch.Generator().manual_seed(0)).cumsum(0) * 0.03
    found = code.encode(x, dt_s=1e-3, seed=2)
    assert torch.equal(found, code.encode(x, dt_s=1e-3, seed=2, kernels=False))
    assert found.unique().tolist() == [-1, 0, 1]
    other = replace(code, step_v=0.08)
    assert not torch.equal(found, other.encode(x, dt_s=1e-3, seed=2))


def test_a_sine_gives_four_amplitudes_of_events_a_period() -> None:
    step = 0.01
    events = SendOnDelta(step_v=step).encode(sine(periods=2), dt_s=DT)
    assert int(events.abs().sum()) == pytest.approx(2 * 4 / step, rel=0.02)


def test_a_receiver_is_wrong_by_a_step_at_most() -> None:
    code, x = SendOnDelta(step_v=0.05), sine()
    made = code.decode(code.encode(x, dt_s=DT), x[0])
    assert float((x - made).abs().max()) <= 0.05 + 1e-4
    fine = SendOnDelta(step_v=0.01)
    better = quality(x, fine.decode(fine.encode(x, dt_s=DT), x[0]), x, dt_s=DT)
    assert better.snr_db > quality(x, made, x, dt_s=DT).snr_db + 10


def test_hysteresis_keeps_noise_from_making_events() -> None:
    still = torch.zeros(5000, 4)
    noisy = SendOnDelta(step_v=0.1, noise_v=0.06)
    calm = SendOnDelta(step_v=0.1, noise_v=0.06, hysteresis_v=0.1)
    many, few = (int(code.encode(still, dt_s=DT).count_nonzero()) for code in (noisy, calm))
    assert few < 0.4 * many
    assert not SendOnDelta(step_v=0.1).encode(still, dt_s=DT).any()


def test_a_channel_rests_after_an_event() -> None:
    ramp = torch.arange(100.0)[:, None]
    at = SendOnDelta(step_v=0.5, refractory_s=4e-4).encode(ramp, dt_s=DT).nonzero()[:, 0]
    assert at.diff().unique().tolist() == [5]


def test_what_events_cost() -> None:
    code, x = SendOnDelta(step_v=0.05), sine()
    events = code.encode(x, dt_s=DT)
    found = quality(x, code.decode(events, x[0]), events, dt_s=DT, front=ASYNC_DELTA_65NM)
    count = int(events.count_nonzero())
    assert found.events_hz == pytest.approx(count / (len(x) * DT))
    assert found.energy_j == pytest.approx(count * 60.73e-9)
    assert quality(x, x, events, dt_s=DT).snr_db == math.inf
    assert quality(x, x, events, dt_s=DT).energy_j is None
    ledger = Ledger()
    ASYNC_DELTA_65NM.charge(ledger, events, tile="ear")
    assert ledger.total(op="event").count == count
    assert ledger.total().energy_j == pytest.approx(found.energy_j)


def test_events_up_and_down_are_two_cells() -> None:
    events = torch.tensor([[1.0], [-1.0], [0.0]])
    assert SendOnDelta().split(events).tolist() == [[[1, 0]], [[0, 1]], [[0, 0]]]


def test_the_plain_version_runs_elsewhere(far: torch.device) -> None:
    code, x = SendOnDelta(step_v=0.1), sine(steps=200)
    found = code.encode(x.to(far), dt_s=DT)
    assert found.device == far
    assert torch.equal(found.cpu(), code.encode(x, dt_s=DT))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="step is above 0"):
        SendOnDelta(step_v=0.0)
    with pytest.raises(ConfigError, match="hysteresis"):
        SendOnDelta(hysteresis_v=-1.0)
    with pytest.raises(ConfigError, match="dt_s"):
        SendOnDelta().encode([0.0], dt_s=0.0)
    with pytest.raises(ShapeError, match="steps"):
        SendOnDelta().encode(torch.zeros(0, 3), dt_s=1.0)
    with pytest.raises(ShapeError, match="one shape"):
        quality(sine(), sine(steps=10), sine(), dt_s=DT)
    with pytest.raises(ConfigError, match="source"):
        FrontEnd(event_j=1.0, source="")
