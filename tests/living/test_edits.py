"""One drawing is pulled to its edit, others are left alone."""

import copy

import pytest
import torch
from torch import Tensor

from clnf.continual.learner import Learner
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.living.edits import Edit, EditParams, Edits, EditSource
from clnf.media.flow import FlowModel, last, noise_for
from clnf.media.unet import UNet, UNetParams
from clnf.streams.sources import ArraySource

SHAPE, GUIDANCE, ROW = (3, 8, 8), 2.0, 1


def model() -> FlowModel:
    torch.manual_seed(0)
    sizes = UNetParams(fold=2, width=16, multipliers=(1,), embedding=32, concepts=4)
    net = UNet(sizes)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    return FlowModel(net)


def drawing(engine: FlowModel, noise: Tensor) -> Tensor:
    cond = torch.full((len(noise),), ROW)
    return last(engine.sample(cond, noise=noise, steps=4, guidance=GUIDANCE))


def lesson(noise: Tensor, picture: Tensor) -> Experience:
    company = ArraySource(torch.zeros(4, *SHAPE), ROW)
    edit = Edit(picture=picture, noise=noise, row=ROW, guidance=GUIDANCE)
    return Experience(name="edit", concept="faces", data=EditSource(company, edit), kind="feedback")


def taught(experience: Experience, params: EditParams, steps: int) -> FlowModel:
    engine = model()
    guard = Edits(engine.net, params)
    optimizer = torch.optim.Adam(engine.parameters(), lr=2e-3)
    learner = Learner(engine, optimizer, guards=[guard], seed=0)
    for info in learner.lesson(experience, steps=steps, batch_size=4):
        assert not info.refused
    return engine


def test_the_drawing_from_that_noise_comes_near_the_edit() -> None:
    noise, other = noise_for([5, 6], SHAPE).split(1)
    picture = torch.full((1, *SHAPE), 0.8)
    experience = lesson(noise, picture)

    def distances(params: EditParams) -> tuple[float, float]:
        engine = taught(experience, params, 60)
        return tuple(float((drawing(engine, n) - picture).square().mean()) for n in (noise, other))

    pulled = distances(EditParams(strength=1.0, enough=0.0))
    left = distances(EditParams(strength=0.0))
    assert pulled[0] < 0.3 * left[0]
    assert pulled[0] < 0.6 * pulled[1]


def test_pulling_ends_where_it_is_enough() -> None:
    engine, noise = model(), noise_for([5], SHAPE)
    guard = Edits(engine.net, EditParams(enough=1.0))
    experience = lesson(noise, torch.zeros(1, *SHAPE))
    guard.begin(experience)
    guard.mix(experience.data.take(torch.arange(2)), torch_rng(0, "mix"))
    penalty = guard.penalty()
    assert penalty is not None
    assert float(penalty.detach()) == 0.0
    guard = Edits(engine.net, EditParams(enough=0.9))
    guard.begin(experience)
    guard.mix(experience.data.take(torch.arange(2)), torch_rng(0, "mix"))
    penalty = guard.penalty()
    assert penalty is not None
    assert float(penalty.detach()) > 0.0


def test_other_lessons_are_not_touched() -> None:
    guard: Guard = Edits(model().net)
    assert guard.penalty() is None
    plain = Experience(name="x", concept="faces", data=ArraySource(torch.zeros(4, *SHAPE), ROW))
    guard.begin(lesson(noise_for([5], SHAPE), torch.zeros(1, *SHAPE)))
    guard.begin(plain)
    assert guard.penalty() is None


def test_a_resumed_lesson_goes_on_with_its_edit() -> None:
    engine, noise = model(), noise_for([5], SHAPE)
    experience = lesson(noise, torch.full((1, *SHAPE), 0.5))
    guard, other = Edits(engine.net), Edits(engine.net)
    batch: Batch = experience.data.take(torch.arange(2))
    guard.begin(experience)
    guard.mix(batch, torch_rng(0, "mix", 0))
    guard.penalty()
    other.load_state_dict(copy.deepcopy(guard.state_dict()))
    penalties = []
    for one in (guard, other):
        one.mix(batch, torch_rng(0, "mix", 1))
        penalty = one.penalty()
        assert penalty is not None
        penalties.append(float(penalty.detach()))
    assert penalties[0] == penalties[1] > 0
    guard.consolidate(experience)
    other.load_state_dict(guard.state_dict())
    assert other.penalty() is None


def test_an_edit_source_hands_out_its_samples() -> None:
    experience = lesson(noise_for([5], SHAPE), torch.zeros(1, *SHAPE))
    assert len(experience.data) == 4
    assert experience.data.take(torch.tensor([1, 1])).x.shape == (2, *SHAPE)
    with pytest.raises(IndexError):
        experience.data.take(torch.tensor([4]))
