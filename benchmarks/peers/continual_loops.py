"""The same methods as plain PyTorch loops, written from their papers and nothing of clnf.

    python benchmarks/peers/continual_loops.py   each on two lessons of dots, as a check

One network, one rate, one pass, as the setting says. The reservoir goes sample by sample
(Vitter's algorithm R) and is drawn from evenly, with replacement; new and remembered samples have
a mean loss each, and the means are added. EWC is online with gamma 1, its Fisher from 600 samples
with one drawn label each, one gradient a sample. ``joint`` trains lesson t on all lessons so far.
"""

import json
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[Tensor, Tensor]
REPLAY, ALPHA, PATH_DAMPING, FISHER_SAMPLES = 32, 0.5, 0.1, 600


@dataclass(kw_only=True)
class Loop:
    """A network, what its method keeps, and one generator for all draws."""

    net: nn.Module
    method: str
    rate: float
    memory: int
    seed: int
    strength: float = 0.0
    anchor: list[Tensor] = field(default_factory=list)
    importance: list[Tensor] = field(default_factory=list)
    kept: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.rng = torch.Generator().manual_seed(self.seed)
        self.weights = list(self.net.parameters())

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Samples, labels and what was said then."""
        at = torch.randint(len(self.kept), (REPLAY,), generator=self.rng).tolist()
        x, y, z = zip(*(self.kept[i] for i in at), strict=True)
        return torch.stack(x), torch.stack(y), torch.stack(z)

    def store(self, x: Tensor, y: Tensor, z: Tensor) -> None:
        """Algorithm R."""
        for one in zip(x, y, z.detach(), strict=True):
            if self.seen < self.memory:
                self.kept.append(one)
            else:
                at = int(torch.randint(self.seen + 1, (1,), generator=self.rng))
                if at < self.memory:
                    self.kept[at] = one
            self.seen += 1

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Of one step, with what the method adds to it."""
        said = self.net(x)
        total = functional.cross_entropy(said, y)
        if self.method in ("er", "der", "der++"):
            if self.kept and self.method == "er":
                old, label, _ = self.draw()
                total = total + functional.cross_entropy(self.net(old), label)
            elif self.kept:
                old, _, then = self.draw()
                total = total + ALPHA * functional.mse_loss(self.net(old), then)
                if self.method == "der++":
                    old, label, _ = self.draw()
                    total = total + 0.5 * functional.cross_entropy(self.net(old), label)
            self.store(x, y, said)
        return total

    def fisher(self, x: Tensor) -> list[Tensor]:
        """Mean square of single gradients, each with a label drawn from the model."""
        if not self.finite():
            return [torch.full_like(w, math.nan) for w in self.weights]
        total = [torch.zeros_like(w) for w in self.weights]
        at = torch.randperm(len(x), generator=self.rng)[:FISHER_SAMPLES]
        for one in x[at].split(1):
            said = self.net(one)
            label = torch.multinomial(said.detach().softmax(1), 1, generator=self.rng)[0]
            found = torch.autograd.grad(functional.cross_entropy(said, label), self.weights)
            for sum_, g in zip(total, found, strict=True):
                sum_ += g.square() / len(at)
        return total

    @torch.no_grad()
    def move(self, path: list[Tensor]) -> None:
        """One step down the gradients; explicit and proximal EWC, SI with its path."""
        for i, w in enumerate(self.weights):
            g, before = w.grad, w.clone() if path else w
            assert g is not None
            task = g.clone() if path else g
            if self.importance and self.method == "ewc, explicit":
                g = g + self.strength * self.importance[i] * (w - self.anchor[i])
            if self.importance and self.method == "si":
                g = g + 2 * self.strength * self.importance[i] * (w - self.anchor[i])
            w -= self.rate * g
            if self.importance and self.method == "ewc":
                pull = self.rate * self.strength * self.importance[i]
                w.copy_((w + pull * self.anchor[i]) / (1 + pull))
            if path:
                path[i] -= task * (w - before)

    def lesson(self, x: Tensor, y: Tensor, batch: int) -> None:
        """One pass over a lesson."""
        self.net.train()
        start = [w.detach().clone() for w in self.weights]
        path = [torch.zeros_like(w) for w in self.weights] if self.method == "si" else []
        for at in torch.randperm(len(x), generator=self.rng).split(batch):
            loss = self.loss(x[at], y[at])
            self.net.zero_grad()
            loss.backward()
            self.move(path)
        self.close(x, start, path)

    def close(self, x: Tensor, start: list[Tensor], path: list[Tensor]) -> None:
        """Importance of the lesson just learned joins what was known."""
        new = []
        if self.method.startswith("ewc"):
            new = self.fisher(x)
        elif self.method == "si":
            moved = [(w.detach() - s).square() for w, s in zip(self.weights, start, strict=True)]
            new = [p.clamp(min=0) / (m + PATH_DAMPING) for p, m in zip(path, moved, strict=True)]
        if new:
            old = self.importance or [torch.zeros_like(w) for w in self.weights]
            self.importance = [a + b for a, b in zip(old, new, strict=True)]
            self.anchor = [w.detach().clone() for w in self.weights]

    def finite(self) -> bool:
        """Whether all weights still are numbers."""
        return all(math.isfinite(float(w.detach().sum())) for w in self.weights)


def main() -> None:
    """Print what each method keeps of a first lesson of dots after a second one."""
    for method in ("naive", "er", "der", "der++", "ewc", "ewc, explicit", "si"):
        torch.manual_seed(0)
        x = torch.randn(400, 4)
        y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
        net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 4))
        loop = Loop(net=net, method=method, rate=0.1, memory=50, seed=0, strength=10.0)
        for half in (y < 2, y >= 2):
            loop.lesson(x[half], y[half], 8)
        kept = float((net(x[y < 2]).argmax(1) == y[y < 2]).float().mean())
        print(json.dumps({"method": method, "kept": round(kept, 3), "finite": loop.finite()}))


if __name__ == "__main__":
    main()
