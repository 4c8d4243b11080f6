"""What C-LoRA and O-LoRA cost a step, against bare PyTorch loops that compute the same.

MLP 784-256-10 with an adapter of rank 8 on both layers, two earlier lessons, batch 32, SGD, one
thread, data in memory. Arms run interleaved in short blocks; each ratio is the median over rounds
of (block of the arm / block of its reference next to it). Process time, not wall clock.

    none                 Learner on adapters          / bare loop on adapters
    c_lora               Learner with the guard       / bare loop, penalty by autograd
    c_lora, by hand      the same                     / bare loop, gradient written by hand
    c_lora, no penalty   the same                     / bare loop without the penalty
    o_lora ...           as for C-LoRA

"""

import json
from collections.abc import Callable, Iterator

import torch
from peers.paired import Arm, ratio
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.adapters import CLoRA, CLoRAParams, OLoRA, OLoRAParams, Stack
from clnf.continual.classifier import Classifier
from clnf.continual.learner import Learner
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience

SAMPLES, BATCH, RANK = 4000, 32, 8
C_STRENGTH, O_STRENGTH = 10.0, 0.01
Layer = tuple[nn.Parameter, nn.Parameter, Tensor, Tensor]


class InMemory:
    """Tensors taken by index: the least a source can do."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.weight = torch.ones(len(x))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index``."""
        x, y = self.x.index_select(0, index), self.y.index_select(0, index)
        return Batch(x=x, cond=y, weight=self.weight.narrow(0, 0, len(index)))


def adapted() -> tuple[nn.Sequential, Stack]:
    """The MLP with a third adapter that learns; two earlier ones have values."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    stack = Stack(net, rank=RANK)
    for name in ("a", "b", "now"):
        stack.add(name)
    with torch.no_grad():
        for name in ("a", "b"):
            stack.weigh(name, 0.0)  # unheard: what is compared is the penalty alone
            for parameter in stack.parameters(name):
                parameter.normal_(std=0.02)
    return net, stack


def learner_arm(data: InMemory, guard: Callable[[nn.Module], Guard] | None) -> Arm:
    """A learner in its third lesson."""
    net, stack = adapted()
    model = Classifier(net)
    optimizer = torch.optim.SGD(stack.parameters(), lr=0.05)
    guards = [guard(model)] if guard else []
    learner = Learner(model, optimizer, guards=guards, seed=0)
    third = Experience(name="third", concept="digits", data=data)
    lesson = iter(learner.lesson(third, steps=10**9, batch_size=BATCH))
    return lambda: next(lesson)


def layers(net: nn.Sequential) -> list[Layer]:
    """Of each layer the factors that learn, the sum of earlier changes, the earlier directions."""
    found = []
    for part in (net[0], net[2]):
        held = part.held()
        up, down = held["now"].weights
        earlier = [held[name] for name in ("a", "b")]
        rows = torch.cat([other.weights[1].detach() for other in earlier])
        found.append((up, down, sum(other.change() for other in earlier), rows))
    return found


def by_autograd(kind: str, parts: list[Layer]) -> Tensor:
    """The penalty as its equation reads."""
    if kind == "c_lora":
        return C_STRENGTH * sum((s * (up @ down)).square().sum() for up, down, s, _ in parts)
    return O_STRENGTH * sum((rows @ down.t()).abs().sum() for _, down, _, rows in parts)


@torch.no_grad()
def by_hand(kind: str, squares: list[Tensor], parts: list[Layer]) -> None:
    """Add the penalty's gradient to what backward left."""
    for (up, down, _, rows), square in zip(parts, squares, strict=True):
        if kind == "c_lora":
            pushed = square * (up @ down)
            up.grad.addmm_(pushed, down.t(), alpha=2 * C_STRENGTH)
            down.grad.addmm_(up.t(), pushed, alpha=2 * C_STRENGTH)
        else:
            down.grad.addmm_((down @ rows.t()).sign_(), rows, alpha=O_STRENGTH)


def bare_arm(data: InMemory, kind: str = "", *, hand: bool = False) -> Arm:
    """The plain loop a careful person writes, with the plain form of the same adapter."""
    net, stack = adapted()
    stack.drop("a")
    stack.drop("b")
    base = [nn.Linear(784, 256), nn.Linear(256, 10)]
    for own, part in zip(base, (net[0], net[2]), strict=True):
        own.load_state_dict(part.base.state_dict())
        own.requires_grad_(False)
    parts = layers(adapted()[0])
    squares = [s.square() for _, _, s, _ in parts]
    weights = [w for up, down, _, _ in parts for w in (up, down)]
    optimizer = torch.optim.SGD(weights, lr=0.05)

    def answer(x: Tensor) -> Tensor:
        hidden = base[0](x).add(x @ parts[0][1].t() @ parts[0][0].t()).relu()
        return base[1](hidden).add(hidden @ parts[1][1].t() @ parts[1][0].t())

    def loop() -> Iterator[None]:
        while True:
            for index in torch.randperm(len(data)).split(BATCH):
                x, y = data.x.index_select(0, index), data.y.index_select(0, index)
                loss = functional.cross_entropy(answer(x), y)
                if kind and not hand:
                    loss = loss + by_autograd(kind, parts)
                optimizer.zero_grad()
                loss.backward()
                if kind and hand:
                    by_hand(kind, squares, parts)
                optimizer.step()
                yield

    steps = loop()
    return lambda: next(steps)


GUARDS: dict[str, Callable[[nn.Module], Guard]] = {
    "c_lora": lambda model: CLoRA(model, CLoRAParams(strength=C_STRENGTH)),
    "o_lora": lambda model: OLoRA(model, OLoRAParams(strength=O_STRENGTH)),
}


def main() -> None:
    """Print one JSON line per case."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(SAMPLES, 784, generator=generator) * 2 - 1
    data = InMemory(pixels, torch.randint(10, (SAMPLES,), generator=generator))
    cases: dict[str, tuple[Arm, Arm]] = {"none": (learner_arm(data, None), bare_arm(data))}
    for kind, guard in GUARDS.items():
        cases[kind] = learner_arm(data, guard), bare_arm(data, kind)
        cases[f"{kind}, by hand"] = learner_arm(data, guard), bare_arm(data, kind, hand=True)
        cases[f"{kind}, no penalty"] = learner_arm(data, guard), bare_arm(data)
    for name, (arm, reference) in cases.items():
        value, mine, other = ratio(arm, reference)
        row = {
            "benchmark": "adapter_penalties",
            "case": name,
            "ratio": round(value, 3),
            "learner_us": round(mine * 1e6, 1),
            "reference_us": round(other * 1e6, 1),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
