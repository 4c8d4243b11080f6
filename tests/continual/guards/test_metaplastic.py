"""Binary metaplasticity, as gradients and as Adam, equals entry-by-entry arithmetic."""

import math

import pytest
import torch
from torch import nn

from clnf.continual.binary import BinaryLinear, MetaplasticAdam, Sign
from clnf.continual.classifier import Classifier
from clnf.continual.guards import Metaplastic, MetaplasticParams
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError
from clnf.core.protocols import Guard

M, LR = 1.35, 0.05


@pytest.fixture
def binary():
    def build():
        torch.manual_seed(0)
        return Classifier(
            nn.Sequential(
                BinaryLinear(5, 16),
                nn.BatchNorm1d(16, track_running_stats=False),
                Sign(),
                BinaryLinear(16, 3),
                nn.BatchNorm1d(3, track_running_stats=False),
            )
        )

    return build


def hidden(model):
    return {n: p for n, p in model.named_parameters() if p.dim() == 2}


def adam_by_hand(weight, gradients, *, m=M, growing=False, by_gradient=False):
    """The rule, one entry at a time."""
    values = weight.double().flatten().tolist()
    for i, value in enumerate(values):
        first = second = 0.0
        for t, gradient in enumerate(gradients, 1):
            g = float(gradient.flatten()[i])
            first = 0.9 * first + 0.1 * g
            second = 0.999 * second + 0.001 * g * g
            move = first / (1 - 0.9**t) / (math.sqrt(second / (1 - 0.999**t)) + 1e-8)
            toward = g if by_gradient else first
            if growing or value * toward > 0:
                move *= 1 - math.tanh(m * abs(value)) ** 2
            value -= LR * move
        values[i] = value
    return torch.tensor(values).reshape(weight.shape)


@pytest.mark.parametrize("wrong", [{}, {"m": 0.0}, {"growing": True}, {"by_gradient": True}])
def test_adam_equals_brute_force_and_the_known_mistakes_show(wrong):
    """Pitfall: f on growing moves, or decided by the gradient instead of the first moment."""
    torch.manual_seed(1)
    weight = nn.Parameter(torch.randn(6, 4))
    start, gradients = weight.detach().clone(), [torch.randn(6, 4) for _ in range(8)]
    optimizer = MetaplasticAdam([weight], lr=LR, metaplasticity=M)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    gap = float((weight.detach() - adam_by_hand(start, gradients, **wrong)).abs().max())
    assert gap > 1e-3 if wrong else gap < 1e-5


def test_without_m_it_is_adam():
    torch.manual_seed(1)
    one, two = (nn.Parameter(torch.ones(5)) for _ in range(2))
    mine = MetaplasticAdam([one], lr=LR, metaplasticity=0.0)
    theirs = torch.optim.Adam([two], lr=LR)
    for _ in range(20):
        one.grad = torch.randn(5)
        two.grad = one.grad.clone()
        mine.step()
        theirs.step()
    assert torch.allclose(one, two, atol=1e-6)


def test_the_guard_weakens_only_what_would_shrink():
    weight = nn.Parameter(torch.tensor([0.5, 0.5, -0.5, -2.0, 0.0]))
    weight.grad = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    guard = Metaplastic({"w": weight}, MetaplasticParams(m=M))
    assert isinstance(guard, Guard)
    guard.constrain(LR)
    near, far = (1 - math.tanh(M * w) ** 2 for w in (0.5, 2.0))
    assert torch.allclose(weight.grad, torch.tensor([near, -1.0, 1.0, -far, 1.0]))


def test_binary_layers_read_signs_and_teach_hidden_weights(binary):
    model = binary()
    x = torch.randn(9, 5)
    weight = model.net[0].weight
    assert torch.equal(model.net[0](x), x @ torch.where(weight >= 0, 1.0, -1.0).T)
    z = torch.tensor([-2.0, -0.5, 0.0, 3.0], requires_grad=True)
    Sign()(z).sum().backward()
    assert torch.equal(z.grad, torch.tensor([0.0, 1.0, 1.0, 0.0]))


def test_signs_flip_less_with_metaplasticity(binary, lesson):
    def flipped(m):
        model = binary()
        groups = [
            {"params": list(hidden(model).values())},
            {"params": [p for p in model.parameters() if p.dim() < 2], "metaplasticity": 0.0},
        ]
        optimizer = MetaplasticAdam(groups, lr=0.02, metaplasticity=m)
        learner = Learner(model, optimizer, seed=0)
        list(learner.lesson(lesson("a"), steps=80, batch_size=16))
        first = {n: p.detach().sign().clone() for n, p in hidden(model).items()}
        list(learner.lesson(lesson("b"), steps=80, batch_size=16))
        return sum(int((p.detach().sign() != first[n]).sum()) for n, p in hidden(model).items())

    assert flipped(10.0) < 0.7 * flipped(0.0)


def test_running_statistics_shared_by_lessons_spoil_the_first(lesson):
    """Pitfall: BatchNorm with running statistics forgets even where no weight has moved."""
    torch.manual_seed(0)
    shared, own = nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)
    first, second = torch.randn(200, 4), torch.randn(200, 4) * 3 + 5

    def answer(norm):
        norm.eval()
        with torch.no_grad():
            said = norm(first)
        norm.train()
        return said

    changed = []
    for norm in (shared, own):
        for _ in range(50):
            norm(first)
        before = answer(norm)
        for _ in range(50):
            norm(second)
        changed.append(float((answer(norm) - before).abs().max()))
    assert changed[0] > 1
    assert changed[1] == 0


def test_bad_parameters_are_refused():
    with pytest.raises(ConfigError):
        MetaplasticParams(m=-1.0)
    with pytest.raises(ConfigError):
        MetaplasticAdam([nn.Parameter(torch.zeros(1))], lr=0.0)
