"""Slopes are what they say, and a spike's gradient is its slope."""

import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.spiking.surrogates import (
    AbstractSurrogate,
    Arctan,
    Boxcar,
    FastSigmoid,
    Triangle,
    spike,
)

ALL = [FastSigmoid, Arctan, Triangle, Boxcar]


@pytest.mark.parametrize("kind", ALL)
def test_a_slope_is_highest_at_the_threshold_and_even(kind: type[AbstractSurrogate]) -> None:
    surrogate = kind(width_v=0.3, height_per_v=2.0)
    u = torch.arange(-200, 201) / 100
    slope = surrogate.slope(u)
    assert slope.max() == slope[200] == 2.0
    assert torch.equal(slope, slope.flip(0))
    assert slope[250] >= slope[260] >= slope[300] >= 0


@pytest.mark.parametrize("kind", ALL)
def test_compact_ones_are_zero_beyond_their_width_and_others_are_not(
    kind: type[AbstractSurrogate],
) -> None:
    far = kind(width_v=0.3).slope(torch.tensor([-0.31, 0.31, 5.0]))
    assert bool((far == 0).all()) == kind.compact


def test_widths_are_where_a_slope_has_fallen_as_it_should() -> None:
    at = torch.tensor([0.5])
    assert FastSigmoid(width_v=0.5).slope(at).item() == pytest.approx(1 / 4)
    assert Arctan(width_v=0.5).slope(at).item() == pytest.approx(1 / 2)
    assert Triangle(width_v=1.0).slope(at).item() == pytest.approx(1 / 2)
    assert Boxcar(width_v=0.6).slope(at).item() == 1.0


def test_the_gradient_of_a_spike_is_its_slope_also_under_vmap() -> None:
    surrogate, u = Triangle(width_v=0.8), torch.tensor([-0.4, 0.0, 0.4, 2.0])
    wanted = surrogate.slope(u)
    asked = u.clone().requires_grad_()
    spike(asked, surrogate).sum().backward()
    assert asked.grad is not None
    assert torch.equal(asked.grad, wanted)
    each = torch.func.vmap(torch.func.grad(lambda one: spike(one, surrogate)))(u)
    assert torch.equal(each, wanted)


def test_a_spike_is_strictly_above() -> None:
    assert spike(torch.tensor([0.0, 1e-40, -1e-40]), Boxcar()).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), float("nan")])
def test_a_width_or_height_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match="width"):
        Triangle(width_v=wrong)
    with pytest.raises(ConfigError, match="height"):
        Triangle(height_per_v=wrong)
