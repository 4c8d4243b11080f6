"""Known mistakes of continual learning code, each shown to differ from what is done here.

Others have their test beside what they concern: a batch's squared gradient taken for a Fisher,
BatchNorm moved while measuring, and labels against draws (test_fisher); lambda without its half,
stiffness that diverges, one anchor for all lessons (guards/test_ewc, guards/test_si); reservoir
against end-of-lesson memory (guards/test_rehearsal); stored logits padded (guards/test_replay);
running statistics under binary weights (guards/test_metaplastic); parts left out of a resume
(test_learner, test_resume); transfer without a baseline (test_metrics); draws by class where
papers draw evenly (test_memory).
"""

import math

import pytest
import torch
from torch import nn

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams, diagonal_fisher
from clnf.continual.guards import (
    EWC,
    MAS,
    SI,
    EWCParams,
    Rehearsal,
    RehearsalParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced
from clnf.core.errors import ShapeError
from clnf.media.kid import kid


def sizes(state):
    return sum(v.numel() for v in state.values() if isinstance(v, torch.Tensor))


@pytest.mark.parametrize("kind", ["ewc", "si", "mas"])
def test_memory_does_not_grow_with_lessons(kind, classifier, lesson):
    """Pitfall: one anchor and importance per task makes memory and time grow with the stream."""
    model = classifier()
    weights = dict(model.named_parameters())
    outputs = Fisher(model, params=FisherParams(samples=8, of="outputs"), seed=0)
    loss = Fisher(model, params=FisherParams(samples=8), seed=0)
    guard = {"ewc": lambda: EWC(loss), "si": lambda: SI(weights), "mas": lambda: MAS(outputs)}[
        kind
    ]()
    held = []
    for number in range(5):
        guard.begin(lesson(str(number)))
        guard.consolidate(lesson(str(number)))
        held.append(sizes(guard.state_dict()))
    assert held == [2 * sum(p.numel() for p in weights.values())] * 5


def test_importance_is_not_weighted_by_the_chance_of_the_true_label(classifier, lesson):
    """Pitfall: squares times p(y|x) are neither the empirical nor the exact Fisher."""
    model = classifier()
    batch = lesson().data.take(torch.arange(20))
    weights = dict(model.named_parameters())
    found = diagonal_fisher(model, batch, weights, torch.Generator())
    wanted = {n: torch.zeros_like(p) for n, p in weights.items()}
    damped = {n: torch.zeros_like(p) for n, p in weights.items()}
    for i in range(20):
        one = batch.select(torch.tensor([i]))
        loss = model.loss(one, torch.Generator()).sum()
        chance = float(torch.exp(-loss.detach()))
        for name, g in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            wanted[name] += g.square() / 20
            damped[name] += chance * g.square() / 20
    assert all(torch.allclose(found[n], wanted[n], atol=1e-5) for n in weights)
    assert not any(torch.allclose(found[n], damped[n], rtol=0.2) for n in weights)


def test_a_drawn_label_is_no_bias_but_one_draw_is_no_measure(classifier, lesson):
    """Pitfall: a single Monte Carlo draw can miss by half; the mean of many does not."""
    torch.manual_seed(0)
    model = Classifier(nn.Linear(5, 3))
    with torch.no_grad():
        model.net.weight.mul_(6)  # a confident model: rare labels weigh most
    weights = dict(model.named_parameters())
    batch = lesson(size=30).data.take(torch.arange(30))
    exact = diagonal_fisher(model, model.every_label(batch), weights, torch.Generator())
    total = float(sum(v.sum() for v in exact.values()))
    traces = []
    for i in range(200):
        # Noise far below any gradient gives every round a draw of its own.
        moved = batch.x + 1e-5 * torch.randn(
            batch.x.shape, generator=torch.Generator().manual_seed(i)
        )
        one = model.drawn_label(type(batch).of(moved, batch.cond))
        drawn = diagonal_fisher(model, one, weights, torch.Generator())
        traces.append(float(sum(v.sum() for v in drawn.values())) / total)
    mean = sum(traces) / len(traces)
    spread = (sum((t - mean) ** 2 for t in traces) / len(traces)) ** 0.5
    assert abs(mean - 1) < 4 * spread / len(traces) ** 0.5
    assert max(abs(t - 1) for t in traces) > 0.3
    again = [model.drawn_label(batch).cond for _ in range(2)]
    assert torch.equal(*again)


def test_a_class_without_a_logit_is_refused(lesson):
    """Pitfall: heads that grow later; importance measured before would index wrongly."""
    model = Classifier(nn.Linear(5, 2))
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), seed=0)
    with pytest.raises(ShapeError, match="no logit"):
        list(learner.lesson(lesson(), steps=2, batch_size=40))


def test_masked_outputs_are_another_question():
    """Pitfall: task-incremental accuracy, over a lesson's own classes, reported as class-IL."""
    torch.manual_seed(0)
    logits, cond = torch.randn(400, 10), torch.randint(2, (400,))
    class_il = float((logits.argmax(1) == cond).float().mean())
    task_il = float((logits[:, :2].argmax(1) == cond).float().mean())
    assert class_il < 0.2
    assert 0.4 < task_il < 0.6
    # What a plain model answers is over all outputs: nothing here masks them unasked.
    model = Classifier(nn.Linear(5, 10))
    assert model(torch.randn(4, 5)).shape == (4, 10)


def test_a_step_with_rehearsal_touches_more_samples(classifier, lesson):
    """Pitfall: equal steps are not equal work; compare at equal samples, writes or energy."""

    def touched(guards):
        model, seen = classifier(), []
        model.net[0].register_forward_hook(lambda m, args, out: seen.append(len(out)))
        learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), guards=guards, seed=0)
        list(learner.lesson(lesson("b"), steps=3, batch_size=8))
        return seen

    guard = Rehearsal(Balanced(20, seed=0), RehearsalParams(samples=8))
    guard.consolidate(lesson("a"))
    assert touched([]) == [8, 8, 8]
    assert touched([guard]) == [16, 16, 16]


def test_the_gap_inside_a_lesson_is_not_seen_at_its_end(lesson):
    """Pitfall: evaluated at ends of lessons only, the drop at their start does not exist."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=rng)
    first = lesson("a", x, (x[:, 0] > 0).long())
    second = lesson("b", x[:, [1, 0, 2, 3, 4]] * 3 + 1, 2 + (x[:, 1] > 0).long())
    model = Classifier(nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4)))
    guard = Rehearsal(Balanced(200, seed=0), RehearsalParams(samples=32, coefficient=1.0))
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.3), guards=[guard], seed=0)

    def known():
        with torch.no_grad():
            return float((model(first.data.x).argmax(1) == first.data.cond).float().mean())

    list(learner.lesson(first, steps=150, batch_size=32))
    learner.consolidate(first)
    before = known()
    during = [known() for _ in learner.lesson(second, steps=300, batch_size=32)]
    assert before > 0.95
    assert during[-1] > before - 0.1
    assert min(during) < during[-1] - 0.1


def test_lambda_of_libraries_without_the_half(classifier, lesson):
    """Pitfall: lambda (theta - theta*)^2 is twice as firm as (lambda/2) (theta - theta*)^2."""
    model = classifier()
    guard = EWC(Fisher(model, seed=0), EWCParams(strength=10.0))
    guard.consolidate(lesson())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    importance = [v for k, v in guard.state_dict().items() if k.startswith("importance.")]
    total = float(sum(v.sum() for v in importance)) * 0.1**2
    assert guard.energy() == pytest.approx(10.0 / 2 * total, rel=1e-4)
    assert guard.energy() != pytest.approx(10.0 * total, rel=0.1)


def test_bits_per_dimension_do_not_see_a_generator_forget():
    """Pitfall: a model that draws noise 98 times in 100 loses log2(50) bits a picture, no more.

    Source: Theis et al. 2016, section 3.2; as a measure of forgetting, Zajac et al. 2023.
    """
    size, rng = 768, torch.Generator().manual_seed(0)
    middle = torch.rand(size, generator=rng) * 2 - 1  # of a class, whose pictures scatter by 0.1

    def pictures(count, spread):
        return middle + spread * torch.randn(count, size, generator=rng)

    def bits(x, spread):
        far = (x - middle).double().square().sum(1) / (2 * spread**2)
        return (far + size * math.log(spread * math.sqrt(2 * math.pi))) / math.log(2) / size

    x, noise = pictures(200, 0.1), torch.randn(200, size, generator=rng)
    before = bits(x, 0.1)
    share = torch.tensor(0.02, dtype=torch.float64)
    # Density 0.02 p + 0.98 noise: on pictures of the class its second part adds nothing.
    forgotten = before - share.log2() / size
    wider = bits(x, 0.14)  # pictures a little rougher, all of them of the class
    assert float((forgotten - before).mean()) < 0.01
    assert float((wider - before).mean()) > 10 * float((forgotten - before).mean())

    def match(drawn):
        return float(((drawn - middle).square().mean(1).sqrt() < 0.3).float().mean())

    after = torch.cat([pictures(4, 0.1), noise[:196]])
    assert match(x) == match(pictures(200, 0.14)) == 1.0
    assert match(after) < 0.03  # what the matrices of this project hold: class match and KID
    assert kid(x, after) > 5 * abs(kid(x, pictures(200, 0.14)))
