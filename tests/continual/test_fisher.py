"""The Fisher is of single samples, whatever path computes it, and measuring moves nothing."""

import copy

import pytest
import torch
from torch import Tensor, nn

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams, diagonal_fisher
from clnf.core.errors import ConfigError, DataError
from clnf.core.records import Batch


def batch_of(size: int = 24, seed: int = 3) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    return Batch.of(torch.randn(size, 5, generator=rng), torch.randint(3, (size,), generator=rng))


def brute_force(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """One backward pass per sample, squares averaged by weight; written apart from the code."""
    model = copy.deepcopy(model).eval()
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters()}
    for i in range(len(batch)):
        model.zero_grad()
        model.loss(batch.select(torch.tensor([i])), torch.Generator()).backward()
        for name, p in model.named_parameters():
            sums[name] += float(batch.weight[i]) * p.grad.double() ** 2
    return {name: s / float(batch.weight.double().sum()) for name, s in sums.items()}


def assert_close(got: dict[str, Tensor], wanted: dict[str, Tensor], rtol: float = 1e-5) -> None:
    assert got.keys() == wanted.keys()
    for name, value in got.items():
        torch.testing.assert_close(
            value.double(), wanted[name].double(), rtol=rtol, atol=1e-9, msg=name
        )


class _Squared(torch.autograd.Function):
    """A custom function without a vmap rule, as analog layers have."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Square(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return _Squared.apply(x)


class Branching(nn.Module):
    """Decides by a value, which vmap cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.detach().sum()) > 0 else 2 * x


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_equals_brute_force(classifier, chunk):
    model, batch = classifier(), batch_of()
    got = diagonal_fisher(
        model, batch, dict(model.named_parameters()), torch.Generator(), chunk=chunk
    )
    assert_close(got, brute_force(model, batch))


@pytest.mark.parametrize("middle", [Square, Branching])
def test_equals_brute_force_where_vmap_fails(middle):
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Linear(5, 4), middle(), nn.Linear(4, 3)))
    batch = batch_of()
    got = diagonal_fisher(model, batch, dict(model.named_parameters()), torch.Generator())
    assert_close(got, brute_force(model, batch))


def test_custom_functions_run_once_per_sample_and_once_to_look():
    square = Square()
    model = Classifier(nn.Sequential(nn.Linear(5, 4), square, nn.Linear(4, 3)))
    diagonal_fisher(model, batch_of(6), dict(model.named_parameters()), torch.Generator())
    assert square.passes == 7
    square.passes = 0
    diagonal_fisher(model, batch_of(6), dict(model.named_parameters()), torch.Generator(), chunk=1)
    assert square.passes == 6


def test_plain_modules_take_the_fast_path(classifier):
    model = classifier()
    passes = []
    model.net[0].register_forward_hook(lambda *_: passes.append(1))
    diagonal_fisher(model, batch_of(20), dict(model.named_parameters()), torch.Generator())
    assert len(passes) == 2  # one look, one chunk


@pytest.mark.parametrize("chunk", [1, 3])
def test_weights_weigh_squares(chunk):
    torch.manual_seed(0)
    model = Classifier(nn.Linear(5, 3))
    batch = batch_of(8)
    weighted = Batch(x=batch.x, cond=batch.cond, weight=torch.arange(8.0))
    assert_close(
        diagonal_fisher(
            model, weighted, dict(model.named_parameters()), torch.Generator(), chunk=chunk
        ),
        brute_force(model, weighted),
    )
    with pytest.raises(AssertionError):
        assert_close(brute_force(model, weighted), brute_force(model, batch))


def test_exact_fisher_of_linear_softmax_has_its_closed_form():
    """F(W_ci) = E_x[p_c (1 - p_c) x_i^2]."""
    torch.manual_seed(1)
    model = Classifier(nn.Linear(5, 3, bias=False))
    batch = batch_of(30)
    got = diagonal_fisher(
        model, model.every_label(batch), dict(model.named_parameters()), torch.Generator()
    )
    chance = model(batch.x).softmax(-1).detach()
    wanted = torch.einsum("bc,bi->ci", chance * (1 - chance), batch.x**2) / 30
    torch.testing.assert_close(got["net.weight"], wanted, rtol=1e-5, atol=1e-8)
    empirical = diagonal_fisher(model, batch, dict(model.named_parameters()), torch.Generator())
    assert not torch.allclose(empirical["net.weight"], wanted, rtol=0.05)


@pytest.mark.parametrize("labels", ["true", "drawn", "exact"])
@pytest.mark.parametrize("chunk", [1, 7])
def test_every_variant_equals_its_own_sum_by_hand(classifier, labels, chunk):
    """Squares of single gradients; exact by sum_c p(c|x), drawn by the label that was drawn."""
    model, batch = classifier(), batch_of(12)
    relabel = {"true": lambda b: b, "drawn": model.drawn_label, "exact": model.every_label}[labels]
    got = diagonal_fisher(
        model, relabel(batch), dict(model.named_parameters()), torch.Generator(), chunk=chunk
    )
    wanted = {name: torch.zeros_like(p).double() for name, p in model.named_parameters()}
    for i in range(len(batch)):
        chance = model(batch.x[i : i + 1]).softmax(-1)[0].detach()
        drawn = model.drawn_label(batch).cond[i]
        weights = {"true": {int(batch.cond[i]): 1.0}, "drawn": {int(drawn): 1.0}}.get(
            labels, dict(enumerate(chance.tolist()))
        )
        for c, weight in weights.items():
            model.zero_grad()
            (-model(batch.x[i : i + 1]).log_softmax(-1)[0, c]).backward()
            for name, p in model.named_parameters():
                wanted[name] += weight * p.grad.double() ** 2 / len(batch)
    assert_close(got, wanted)
    if labels != "true":
        with pytest.raises(AssertionError):
            assert_close(got, brute_force(model, batch), rtol=0.05)


def test_many_draws_of_labels_mean_the_exact_fisher():
    torch.manual_seed(1)
    model = Classifier(nn.Linear(5, 3, bias=False))
    batch = batch_of(10)
    weights = dict(model.named_parameters())
    exact = diagonal_fisher(model, model.every_label(batch), weights, torch.Generator())
    rng = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(model(batch.x).softmax(-1), 4000, replacement=True, generator=rng)
    repeated = Batch.of(batch.x.repeat_interleave(4000, 0), drawn.flatten())
    mean = diagonal_fisher(model, repeated, weights, torch.Generator())
    torch.testing.assert_close(mean["net.weight"], exact["net.weight"], rtol=0.05, atol=1e-3)


def test_square_of_a_batch_gradient_is_not_a_fisher(classifier):
    """Pitfall: it shrinks about as 1/b; at b = 1 the two agree."""
    model, batch = classifier(), batch_of(256)
    traces = {}
    for size in (1, 32):
        total = 0.0
        for part in torch.arange(256).split(size):
            model.zero_grad()
            model.loss(batch.select(part), torch.Generator()).mean().backward()
            total += sum(float((p.grad**2).sum()) for p in model.parameters()) * size / 256
        traces[size] = total
    fisher = diagonal_fisher(model, batch, dict(model.named_parameters()), torch.Generator())
    trace = sum(float(value.sum()) for value in fisher.values())
    assert trace == pytest.approx(traces[1], rel=1e-5)
    assert traces[32] < 0.3 * trace


def test_batchnorm_statistics_and_modes_stay(classifier):
    """Pitfall: an estimate in training mode moves the running statistics."""
    model = classifier(norm=True)
    model.train()
    model.net[0].eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(dict(model.named_buffers()))
    batch = batch_of()
    for chunk in (1, 64):
        diagonal_fisher(
            model, batch, dict(model.named_parameters()), torch.Generator(), chunk=chunk
        )
    assert [module.training for module in model.modules()] == modes
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])
    model.loss(batch, torch.Generator())  # control: training does move them
    assert not torch.equal(model.net[1].running_mean, before["net.1.running_mean"])


def test_every_label_in_a_lesson_leaves_batchnorm_alone(classifier, lesson):
    model = classifier(norm=True).train()
    before = model.net[1].running_mean.clone()
    Fisher(model, seed=0, relabel=model.every_label).measure(lesson())
    assert torch.equal(model.net[1].running_mean, before)


class Noisy(nn.Module):
    """Draws noise in its loss, as a diffusion model does."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        noise = torch.randn(batch.x.shape, generator=rng)
        return ((self.scale * (batch.x + noise) - batch.x) ** 2).mean(1)


def test_noisy_losses_repeat_with_the_generator_and_agree_between_paths():
    model, batch = Noisy(), batch_of(4000)
    weights = dict(model.named_parameters())

    def measure(chunk: int, seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        return diagonal_fisher(model, batch, weights, rng, chunk=chunk)["scale"]

    fast = measure(64, 0)
    assert torch.equal(fast, measure(64, 0))
    assert not torch.equal(fast, measure(64, 1))
    torch.testing.assert_close(fast, measure(1, 0), rtol=0.2, atol=0)


def test_a_lesson_is_measured_once_until_weights_move(classifier, lesson):
    model = classifier()
    fisher = Fisher(model, seed=0, params=FisherParams(samples=10))
    first = fisher.measure(lesson("a"))
    assert fisher.measure(lesson("a")) is first
    with torch.no_grad():
        model.net[0].weight.data[0, 0] += 0.5
    again = fisher.measure(lesson("a"))
    assert again is not first
    assert not torch.equal(again["net.0.weight"], first["net.0.weight"])


def test_only_the_named_parameters_are_measured(classifier, lesson):
    fisher = Fisher(classifier(), ["net.3.weight"], seed=0)
    assert list(fisher.measure(lesson())) == ["net.3.weight"]


def test_bad_requests_are_named(classifier, lesson):
    model = classifier()
    with pytest.raises(ConfigError, match=r"no parameter named net\.9"):
        Fisher(model, ["net.9"], seed=0)
    with pytest.raises(ConfigError, match="samples >= 1"):
        FisherParams(samples=0)
    with pytest.raises(DataError, match="positive weight"):
        diagonal_fisher(model, Batch.of(torch.zeros(2, 5), 0, 0.0), {}, torch.Generator())
    with pytest.raises(DataError, match="no finite sample"):
        Fisher(model, seed=0).measure(lesson(x=torch.full((4, 5), torch.nan)))
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="frozen"):
        diagonal_fisher(model, batch_of(2), dict(model.named_parameters()), torch.Generator())


def test_broken_samples_have_no_say(classifier, lesson):
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    broken = torch.cat([x, torch.full((3, 5), torch.nan)])
    model = classifier()
    few, all_ = (Fisher(model, seed=0).measure(lesson(x=part)) for part in (x, broken))
    for name, value in few.items():
        torch.testing.assert_close(all_[name], value)


def test_large_models_go_sample_by_sample():
    torch.manual_seed(0)
    batch, forwards = batch_of(6), []
    for width in (8, 100_000):
        model = Classifier(nn.Sequential(nn.Linear(5, width), nn.Linear(width, 3)))
        model.net[0].register_forward_hook(lambda *_: forwards.append(1))
        named = {"net.1.bias": model.net[1].bias}
        diagonal_fisher(model, batch, named, torch.Generator())
    assert len(forwards) == 2 + 6
