"""Shapes and promises of the U-Net."""

import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.media.unet import UNet, UNetParams, time_features


def test_default_size_is_about_two_million_and_all_weights_sit_in_hostable_leaves() -> None:
    net = UNet(UNetParams())
    total = sum(p.numel() for p in net.parameters())
    hosted = sum(
        m.weight.numel() for m in net.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))
    )
    assert 1.5e6 < total < 2.5e6
    assert hosted > 0.97 * total
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.stride == (1, 1)
            assert module.padding == (module.kernel_size[0] // 2,) * 2


def test_condition_and_time_reach_the_output() -> None:
    torch.manual_seed(0)
    net = UNet(UNetParams(width=8, embedding=16))
    for module in net.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            torch.nn.init.normal_(module.weight, std=0.1)
    x = torch.randn(1, 3, 32, 32)
    one = net(x, torch.tensor([0.2]), torch.tensor([1]))
    assert not torch.allclose(one, net(x, torch.tensor([0.2]), torch.tensor([2])))
    assert not torch.allclose(one, net(x, torch.tensor([0.8]), torch.tensor([1])))


def test_time_features_differ_at_close_times() -> None:
    a, b = time_features(torch.tensor([0.5, 0.501]), 32)
    assert float((a - b).abs().max()) > 0.1


def test_mean_velocity_is_refused_in_words() -> None:
    net = UNet(UNetParams(width=8, embedding=16))
    x, t, c = torch.zeros(1, 3, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ConfigError, match="without r"):
        net(x, t, c, r=t)


def test_a_width_that_groups_cannot_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        UNetParams(width=30)
