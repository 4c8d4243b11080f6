"""Sums and rates of each cell, and what cannot be scaled."""

from typing import Any

import pytest
import torch

from clnf.core.errors import ClnfError, ConfigError, DataError, ShapeError
from clnf.spiking.plasticity import Scaling, normalised

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("pre", [3, 4])
def test_each_cell_has_its_own_sum(pre: int) -> None:
    total = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    found = normalised(torch.ones(3, pre), total)
    torch.testing.assert_close(found.sum(1), total)
    # Were sums handed to the pre cells, rows would be alike.
    assert not torch.allclose(found[0], found[2])
    found[2].sum().backward()
    torch.testing.assert_close(total.grad, torch.tensor([0.0, 0.0, 1.0]))
    lives = torch.rand(2, 3, pre, generator=torch.Generator().manual_seed(0)) + 0.1
    each = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    torch.testing.assert_close(normalised(lives, each).sum(-1), each)
    torch.testing.assert_close(normalised(lives, each[0]).sum(-1), each[:1].expand(2, 3))


@pytest.mark.parametrize("total", [0.0, -1.0, NAN, INF, "a", None, torch.tensor([1.0, NAN, 1.0])])
def test_sums_are_above_0_and_finite(total: Any) -> None:
    with pytest.raises(ConfigError, match="total must be"):
        normalised(torch.ones(3, 3), total)


def test_sums_and_weights_that_do_not_fit_are_refused() -> None:
    for total in (torch.ones(4), torch.ones(3, 1), torch.ones(2, 3)):
        with pytest.raises(ShapeError, match=r"total must be a number, \[3\] \(post cells\)"):
            normalised(torch.ones(3, 4), total)
    with pytest.raises(ShapeError, match=r"\[..., post, pre\], got \[3\]"):
        normalised(torch.ones(3), 1.0)
    for bad, words in ((-0.5, r"got -0.5"), (NAN, r"got nan at \[1, 0\]"), (INF, r"got inf at")):
        weight = torch.ones(3, 4)
        weight[1, 0] = bad
        with pytest.raises(DataError, match=words):
            normalised(weight, 1.0)


def test_cells_are_scaled_by_what_is_their_own() -> None:
    """Each cell as if it were alone, also where post and pre cells are as many."""
    goal, speed = torch.tensor([5.0, 10.0, 20.0]), torch.tensor([0.1, 0.2, 0.3])
    z = (torch.rand(2, 3, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    weight, rate = torch.arange(1.0, 10.0).view(3, 3), torch.full((2, 3), 4.0)
    all_three, rates = Scaling(goal_hz=goal, speed=speed).step(weight, z, rate, dt_s=1e-2)
    for j in range(3):
        rule = Scaling(goal_hz=float(goal[j]), speed=float(speed[j]))
        own = (weight[j : j + 1], z[:, j : j + 1], rate[:, j : j + 1])
        alone, alone_rate = rule.step(*own, dt_s=1e-2)
        torch.testing.assert_close(all_three[j : j + 1], alone)
        torch.testing.assert_close(rates[:, j : j + 1], alone_rate)


def test_spikes_that_are_not_of_the_weights_are_refused() -> None:
    rule, two = Scaling(), torch.zeros(2, 3)
    for weight, z, rate in (
        ((3, 4), (3,), (3,)),
        ((3, 4), (2, 1), (2, 1)),
        ((3, 4), (2, 4), (2, 4)),
        ((3, 4), (2, 3), (1, 3)),
        ((1, 3, 4), (2, 3), (2, 3)),
        ((4,), (2, 4), (2, 4)),
    ):
        with pytest.raises(ShapeError, match="scaling takes weights"):
            rule.step(torch.ones(weight), torch.zeros(z), torch.zeros(rate), dt_s=1e-3)
    for bad in (torch.ones(4), torch.ones(3, 1), torch.ones(1, 2, 3)):
        with pytest.raises(ShapeError, match=r"goal_hz must be a number, \[3\]"):
            Scaling(goal_hz=bad).step(torch.ones(3, 4), two, two, dt_s=1e-3)
    with pytest.raises(ClnfError, match="spikes must be"):
        rule.step(torch.ones(3, 4), "z", two, dt_s=1e-3)  # type: ignore[arg-type]
    assert rule.step(torch.ones(2, 3, 4), two, two, dt_s=1e-3)[0].shape == (2, 3, 4)
