"""Every guard and memory goes on to the same bits from any step; without its state it does not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from clnf.continual.bayes import MESU, BayesianClassifier, BayesianLinear
from clnf.continual.binary import MetaplasticAdam
from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import (
    AGEM,
    DER,
    ERACE,
    EWC,
    HAT,
    MAS,
    SI,
    AGEMParams,
    ContinualBackprop,
    ContinualBackpropParams,
    DERParams,
    ERACEParams,
    EWCParams,
    Fence,
    FenceParams,
    HATParams,
    LatentRehearsal,
    LwF,
    MASParams,
    Metaplastic,
    PackNet,
    PackNetParams,
    Rehearsal,
    RehearsalParams,
    SIParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir

STEPS = 9


def network() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)))


def momentum(model: nn.Module, more: Any = ()) -> torch.optim.Optimizer:
    return torch.optim.SGD([*model.parameters(), *more], lr=0.1, momentum=0.9)


def weights(model: nn.Module) -> dict[str, Any]:
    return dict(model.named_parameters())


def fisher(model: Any, of: Any = "loss") -> Fisher:
    return Fisher(model, params=FisherParams(samples=8, of=of), seed=0)


def usual(guard: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    def build() -> Any:
        model = network()
        optimizer = momentum(model)
        return model, Learner(model, optimizer, guards=[guard(model, optimizer)], seed=0)

    return build


def hat() -> Any:
    model = network()
    params = HATParams(lessons=3, steps=5, steepness=20.0)
    guard = HAT([model.net[0], model.net[2]], params, seed=0)
    return model, Learner(model, momentum(model, guard.parameters()), guards=[guard], seed=0)


def backprop(model: Any, optimizer: Any) -> ContinualBackprop:
    params = ContinualBackpropParams(rate=0.1, maturity=2, decay=0.9)
    layers = [model.net[0], model.net[2]]
    return ContinualBackprop(layers, [model.net[1]], params, optimizer=optimizer, seed=0)


def several() -> Any:
    model = network()
    optimizer = momentum(model)
    guards = [
        SI(weights(model)),
        DER(Reservoir(12, seed=1), model, DERParams(samples=4)),
        AGEM(Balanced(12, seed=2), model, weights(model)),
        EWC(fisher(model)),
        Fence(fisher(model), FenceParams(fraction=0.2), optimizer=optimizer),
    ]
    return model, Learner(model, optimizer, guards=guards, seed=0)


def metaplastic_adam() -> Any:
    model = network()
    return model, Learner(model, MetaplasticAdam(model.parameters(), lr=0.05), seed=0)


def mesu() -> Any:
    torch.manual_seed(0)
    layers = BayesianLinear(5, 9, sigma=0.1), BayesianLinear(9, 3, sigma=0.1)
    model = BayesianClassifier(nn.Sequential(layers[0], nn.ReLU(), layers[1]), draws=2)
    optimizer = MESU(model.pairs(), memory=100.0, prior_sigma=0.1)
    return model, Learner(model, optimizer, seed=0)


GUARDS: dict[str, Callable[[Any, Any], Any]] = {
    "agem": lambda m, o: AGEM(Balanced(12, seed=0), m, weights(m), AGEMParams(keep="batch")),
    "backprop": backprop,
    "der": lambda m, o: DER(Reservoir(12, seed=0), m, DERParams(samples=4, beta=0.0)),
    "der++": lambda m, o: DER(Reservoir(12, seed=0), m, DERParams(samples=4)),
    "der++ by lesson": lambda m, o: DER(Balanced(12, seed=0), m, DERParams(keep="lesson")),
    "er": lambda m, o: Rehearsal(Reservoir(12, seed=0), RehearsalParams(samples=4, keep="batch")),
    "er by lesson": lambda m, o: Rehearsal(Balanced(12, seed=0), RehearsalParams(samples=4)),
    "er-ace": lambda m, o: ERACE(Reservoir(12, seed=0), m, ERACEParams(samples=4)),
    "ewc": lambda m, o: EWC(fisher(m), EWCParams(strength=10.0)),
    "fence": lambda m, o: Fence(fisher(m), FenceParams(fraction=0.3), optimizer=o),
    "latent": lambda m, o: LatentRehearsal(Reservoir(12, seed=0), m, m.net[1], m.net[2]),
    "lwf": lambda m, o: LwF(m),
    "mas": lambda m, o: MAS(fisher(m, "outputs"), MASParams(strength=1.0)),
    "metaplastic": lambda m, o: Metaplastic(weights(m)),
    "packnet": lambda m, o: PackNet(weights(m), PackNetParams(at=4), optimizer=o),
    "si": lambda m, o: SI(weights(m), SIParams(strength=5.0)),
}
BUILDS: dict[str, Callable[[], Any]] = {
    **{name: usual(guard) for name, guard in GUARDS.items()},
    "hat": hat,
    "mesu": mesu,
    "metaplastic adam": metaplastic_adam,
    "several": several,
}
# All they know is in the weights.
WITHOUT_STATE = {"metaplastic", "mesu", "metaplastic adam"}


def finish(learner: Learner, lesson: Any, start: int) -> None:
    list(learner.lesson(lesson("b"), steps=STEPS, batch_size=8, start_step=start))
    learner.consolidate(lesson("b"))
    list(learner.lesson(lesson("c"), steps=3, batch_size=8))
    learner.consolidate(lesson("c"))


def until(build: Callable[[], Any], lesson: Any, stop: int) -> Any:
    """One lesson whole, the second up to and with step ``stop``."""
    model, learner = build()
    list(learner.lesson(lesson("a"), steps=STEPS, batch_size=8))
    learner.consolidate(lesson("a"))
    for info in learner.lesson(lesson("b"), steps=STEPS, batch_size=8):
        if info.step == stop:
            break
    return model, learner


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(v, two[k]) if isinstance(v, torch.Tensor) else v == two[k]
        for k, v in one.items()
    )


@pytest.mark.parametrize("stop", [0, 3, 4, STEPS - 1])
@pytest.mark.parametrize("name", sorted(BUILDS))
def test_resume_is_bit_identical(name, stop, lesson, through_disk):
    """Pitfall: buffer and its counters, importance, anchors, path, position: all must return."""
    model, learner = until(BUILDS[name], lesson, stop)
    saved = through_disk({f"model.{k}": v.clone() for k, v in model.state_dict().items()})
    state = through_disk(learner.state_dict())
    finish(learner, lesson, stop + 1)
    again, other = BUILDS[name]()
    again.load_state_dict({k.removeprefix("model."): v for k, v in saved.items()})
    other.load_state_dict(state)
    finish(other, lesson, stop + 1)
    assert same(model.state_dict(), again.state_dict())
    assert same(learner.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", sorted(BUILDS.keys() - WITHOUT_STATE))
def test_resume_without_the_guards_state_differs(name, lesson):
    model, learner = until(BUILDS[name], lesson, 4)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    saved = learner.state_dict()
    finish(learner, lesson, 5)
    again, other = BUILDS[name]()
    again.load_state_dict(state)
    fresh = {k: v for k, v in other.state_dict().items() if k.startswith("guard.")}
    other.load_state_dict({k: v for k, v in saved.items() if not k.startswith("guard.")} | fresh)
    if name in ("fence", "packnet", "si", "several", "hat"):  # their lesson must have begun
        for guard in other.guards:
            guard.begin(lesson("b"))
    finish(other, lesson, 5)
    assert not same(model.state_dict(), again.state_dict())
