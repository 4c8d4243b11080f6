"""Pictures as events, and the net behind them."""

import pytest
import torch
from torch import nn

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.rng import torch_rng
from clnf.spiking.tasks import EventClassifier, PictureCode


def pictures(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch_rng(0, "pictures")) * 2 - 1


@pytest.mark.parametrize("kind", ["latency", "rate", "delta"])
def test_events_depend_on_the_picture_alone(kind: str) -> None:
    code = PictureCode(kind=kind, steps=12, side=4)  # type: ignore[arg-type]
    x = pictures()
    events = code.events(x)
    assert events.shape == (12, 3, code.channels)
    assert {*events.unique().tolist()} == {0.0, 1.0}
    assert torch.equal(events[:, 1:2], code.events(x[1:2]))  # whatever stands beside it
    assert not code.events(torch.full((1, 1, 8, 8), -1.0)).any()  # darkness says nothing
    assert not torch.equal(events, code.events(x.flip(0)))


def test_bright_pixels_come_first_and_often() -> None:
    x = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    when = PictureCode(steps=20, side=8).events(x)[:, 0].argmax(0)[10:]
    assert bool((when.diff() <= 0).all())
    assert when[0] > when[-1]
    often = PictureCode(kind="rate", steps=200, side=8).events(x)[:, 0].sum(0)
    assert often[-8:].mean() > 3 * often[8:24].mean()


def test_logits_are_potentials_in_the_mean() -> None:
    net, x = EventClassifier(PictureCode(steps=12, side=4), hidden=6, classes=3, seed=1), pictures()
    potentials = net.potentials(net.code.events(x))
    assert torch.equal(net(x), potentials.mean(0))
    first, last = net.operations(net.code.events(x))
    assert first == int(net.code.events(x).sum()) * 6
    assert last == int(net.layer(net.code.events(x)).sum()) * 3
    ring = EventClassifier(PictureCode(steps=12, side=4), hidden=6, recurrent=True, seed=1)
    assert ring.operations(net.code.events(x))[0] > first
    assert isinstance(ring.layer.recurrent, nn.Parameter)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="sides that 5 divides"):
        PictureCode(side=5).events(pictures())
    for kind in ("latency", "rate", "delta"):
        broken = pictures()
        broken[0, 0, 0, 0] = float("nan")
        with pytest.raises(DataError, match="nan at"):
            PictureCode(kind=kind, side=4).events(broken)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must be one of"):
        PictureCode(kind="smell")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one spike a step"):
        PictureCode(highest_hz=2000.0)
    with pytest.raises(ConfigError, match="dark is below bright"):
        PictureCode(low=1.0, high=0.0)
