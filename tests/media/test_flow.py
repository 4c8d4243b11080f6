"""Flow matching against closed forms."""

from itertools import pairwise

import pytest
import torch

from clnf.core.records import Batch
from clnf.core.rng import torch_rng
from clnf.media.flow import FlowModel, heun, last, noise_for
from clnf.media.unet import UNet, UNetParams

SMALL = UNetParams(width=8, embedding=16)


def test_loss_of_a_silent_network_is_the_mean_square_of_data_plus_one() -> None:
    model = FlowModel(UNet(SMALL))
    torch.nn.init.zeros_(model.net.leave.bias)
    x = 0.5 * torch.ones(512, 3, 32, 32)
    loss = model.loss(Batch.of(x, 1), torch_rng(0, "t")).detach()
    assert loss.shape == (512,)
    assert float(loss.mean()) == pytest.approx(1.25, abs=0.01)


def gaussian_velocity(spread: float):  # type: ignore[no-untyped-def]
    """Optimal field for data N(0, spread^2), and the factor by which it stretches noise."""

    def field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        time = t[0]
        variance = time**2 * spread**2 + (1 - time) ** 2
        return (time * spread**2 - (1 - time)) * x / variance

    return field


def end_error(steps: int) -> float:
    start = torch.tensor([[0.7]], dtype=torch.float64)
    return abs(float(last(heun(gaussian_velocity(0.5), start, steps))) - 0.35)


def test_heun_follows_the_exact_flow_and_converges_faster_than_euler() -> None:
    errors = [end_error(n) for n in (8, 16, 32, 64)]
    assert errors[-1] < 2e-3
    # The last step is Euler's, so the order lies between one and two; Euler alone halves.
    assert all(a / b > 2.0 for a, b in pairwise(errors))


def test_a_flow_entered_on_its_way_ends_where_the_whole_one_does() -> None:
    on_its_way = torch.tensor([[0.7]], dtype=torch.float64) * (0.25 * 0.25 + 0.25) ** 0.5
    frames = list(heun(gaussian_velocity(0.5), on_its_way, 64, first=32))
    assert len(frames) == 32
    assert float(frames[-1]) == pytest.approx(0.35, abs=2e-3)
    wrong = last(heun(gaussian_velocity(0.5), on_its_way, 64, first=16))
    assert abs(float(wrong) - 0.35) > 0.02


def test_start_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    alone = noise_for([11], (3, 8, 8))
    together = noise_for([10, 11, 12], (3, 8, 8))
    assert torch.equal(alone[0], together[1])
    assert not torch.equal(together[0], together[1])


def test_what_it_is_given_follows_the_model_and_pictures_come_back(far: torch.device) -> None:
    results = []
    for device in ("cpu", far):
        torch.manual_seed(0)
        model = FlowModel(UNet(SMALL)).eval()
        for module in model.net.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                torch.nn.init.normal_(module.weight, std=0.1)
        model.to(device)
        assert model.device == torch.device(device)
        batch = Batch.of(torch.linspace(-1, 1, 6144).view(2, 3, 32, 32), 3)
        loss = model.loss(batch, torch_rng(0, "t"))
        assert loss.device == model.device
        noise, cond = noise_for([1, 2], (3, 32, 32)), torch.tensor([1, 2])
        frames = list(model.sample(cond, noise=noise, steps=2, guidance=2.0))
        assert [frame.device for frame in frames] == [noise.device] * 2
        results.append((loss.detach().cpu(), frames[-1]))
    assert torch.allclose(results[0][0], results[1][0], rtol=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-5)
    with pytest.raises(RuntimeError, match="same device"):
        model.net(noise, torch.zeros(2), cond)


def test_guidance_one_asks_only_the_condition() -> None:
    model = FlowModel(UNet(SMALL)).eval()
    for module in model.net.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            torch.nn.init.normal_(module.weight, std=0.1)
    noise = noise_for([1, 2], (3, 32, 32))
    cond = torch.tensor([1, 2])
    plain = list(model.sample(cond, noise=noise, steps=2, guidance=1.0))
    near = list(model.sample(cond, noise=noise, steps=2, guidance=1.0001))
    far = list(model.sample(cond, noise=noise, steps=2, guidance=5.0))
    assert len(plain) == 2
    assert torch.allclose(plain[-1], near[-1], atol=1e-3)
    assert not torch.allclose(plain[-1], far[-1], atol=1e-3)


def small_model() -> FlowModel:
    torch.manual_seed(0)
    model = FlowModel(UNet(SMALL)).eval()
    for module in model.net.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            torch.nn.init.normal_(module.weight, std=0.1)
    return model


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_walk_is_the_way_the_sampler_takes_and_says_what_the_field_says(guidance: float) -> None:
    model, cond = small_model(), torch.tensor([1, 2])
    noise = noise_for([3, 4], (3, 32, 32))

    def guided(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        null = model.net(x, t, torch.zeros_like(cond))
        return null + guidance * (model.net(x, t, cond) - null)

    with torch.no_grad():
        way = list(model.walk(cond, noise=noise, steps=3, guidance=guidance))
        assert [t.tolist() for _, t, _ in way] == [pytest.approx([k / 3] * 2) for k in range(3)]
        x = noise
        for at, t, v in way:  # Heun's steps, written out
            assert torch.allclose(at, x, atol=1e-5)
            assert torch.allclose(v, model.net(at, t, cond), atol=1e-5)
            assert torch.equal(model.velocity(at, t, cond), model.net(at, t, cond))
            first = guided(x, t)
            ahead = guided(x + first / 3, t + 1 / 3)
            x = x + (first if float(t[0]) > 0.5 else 0.5 * (first + ahead)) / 3
    drawn = last(model.sample(cond, noise=noise, steps=3, guidance=guidance))
    assert torch.allclose(x.clamp(-1, 1), drawn, atol=1e-4)
    assert guidance == 1.0 or not torch.allclose(way[1][2], guided(way[1][0], way[1][1]), atol=1e-3)
