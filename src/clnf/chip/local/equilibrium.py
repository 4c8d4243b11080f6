"""Equilibrium propagation: states relax on the arrays, freely and then nudged.

    s_l <- clip(f_l(s_(l-1)) + f_(l+1)^T(s_(l+1)) - beta dloss/ds_l, 0, 1)

f_l is the product and bias of block l, f^T the same array read from the other side; only the last
hidden state feels the loss, through the last block: softmax read-out, cross-entropy. From the free
fixed point two more are relaxed, with +beta and -beta, and

    gradient of W_l = -(s_l+ s_(l-1)+ - s_l- s_(l-1)-) / (2 beta)
                    = -(ds_l mean(s_(l-1)) + mean(s_l) ds_(l-1)) / (2 beta),   ds = s+ - s-

The second form is what becomes pulses: two outer products with small differences, where the first
is two large ones that should cancel. As beta goes to 0 it is the gradient of the loss at the free
fixed point; with one hidden block that is backpropagation's.

Nonlinearities of the stack are replaced by the clip. What it cannot do: stacks with anything but
products, flattening, average pooling and one nonlinearity a block; and it settles by steps here,
each a read of every array both ways that moves every state to both neighbours, where an analog
circuit would settle by itself.

Source: Scellier & Bengio, Front. Comput. Neurosci. 2017; Laborieux et al., Front. Neurosci. 2021
(third phase, softmax read-out).
"""

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from clnf.chip.hosting import Chip
from clnf.chip.local.method import AbstractMethod, softmax_error
from clnf.chip.local.symmetric import TransposedRead, silent
from clnf.chip.local.traffic import held, unread
from clnf.core.errors import ConfigError
from clnf.core.inputs import number, whole

__all__ = ["Equilibrium", "Relaxation"]

_BENT = (nn.ReLU, nn.Hardtanh, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.GELU)
_KEPT = (nn.Flatten, nn.Identity, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class Relaxation(NamedTuple):
    """How states are relaxed.

    Attributes:
        beta: strength of the nudge, > 0.
        free: steps of the free phase.
        nudged: steps of each nudged phase.
    """

    beta: float = 0.5
    free: int = 12
    nudged: int = 6


@final
class Equilibrium(AbstractMethod):
    """Two nudged phases around a free one.

    Args:
        net: a hosted stack of linear layers and convolutions.
        chip: under it.
        relaxation: steps and nudge.

    Raises:
        ConfigError: a module has no place in an energy, or a number is out of range.
    """

    def __init__(self, net: nn.Module, chip: Chip, *, relaxation: Relaxation | None = None) -> None:
        super().__init__(net, chip)
        self.relaxation = relaxation or Relaxation()
        beta, *phases = self.relaxation
        least = min(whole("steps of a phase", steps) for steps in phases)
        if not 0 < number("beta", beta, nan=True) < float("inf") or least < 1:
            raise ConfigError(f"a nudge is above 0 and phases have steps, got {self.relaxation}")
        if len(self.blocks) < 2:
            raise ConfigError("states relax between two blocks at least, got one block")
        self.products = [_linear(block.modules) for block in self.blocks]
        self.reads = [
            TransposedRead(block.layer, product)
            for block, product in zip(self.blocks, self.products, strict=True)
        ]

    def teach(self, x: Tensor, labels: Tensor) -> Tensor:
        self.traffic.samples += len(x)
        for read in self.reads:
            read.forget()
        beta, free, _ = self.relaxation
        with silent(self.taught), self.traffic.counting("relaxation"):
            sensed, states = self._begin(x)
            start = self._relax(sensed, states, free)
            ends = self._nudged(sensed, start, labels)
        middle = [(a + b) / 2 for a, b in zip(*ends, strict=True)]
        change = [(a - b) / (-2 * beta * len(x)) for a, b in zip(*ends, strict=True)]
        with self.traffic.counting("activations"):
            for index, moved in enumerate(change):
                below = x if index == 0 else middle[index - 1]
                with unread([self.blocks[index].layer]):
                    self.products[index](below.detach()).backward(moved)
                if index:
                    self._second(index, [one[index - 1] for one in ends], middle[index])
            out = self.products[-1](middle[-1].detach())
        loss, error = softmax_error(out, labels)
        with self.traffic.counting("errors"):
            self.traffic.errors(self.blocks[-1].layer, error)
            out.backward(error)
        return loss

    def _nudged(self, sensed: Tensor, start: list[Tensor], labels: Tensor) -> list[list[Tensor]]:
        """States nudged up and down, one phase after the other; simulated as one batch of both."""
        beta, _, steps = self.relaxation
        both, twice = torch.cat([sensed, sensed]), [torch.cat([one, one]) for one in start]
        signs = torch.ones(len(both), device=both.device)
        signs[len(sensed) :] = -1.0
        states = self._relax(both, twice, steps, (beta * signs, torch.cat([labels, labels])))
        ends = [state.chunk(2) for state in states]
        return [[end[0] for end in ends], [end[1] for end in ends]]

    def _second(self, index: int, below: list[Tensor], middle: Tensor) -> None:
        """The outer product of a small difference below; the bias meets differences above only."""
        layer, (up, down) = self.blocks[index].layer, below
        for state in below:  # as they ended; during a phase the group has those of a step before
            self.traffic.activations(layer, state)
        bias = layer.bias
        before = None if bias is None or bias.grad is None else bias.grad.clone()
        with unread([layer]):
            out = self.products[index](up - down)
            out.backward(middle / (-2 * self.relaxation.beta * len(up)))
        if bias is not None:
            bias.grad = before

    @torch.no_grad()
    def _begin(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the inputs do to the first block, and states to begin with: one pass up.

        Inputs do not change, so one read of them is held for all phases.
        """
        sensed = self.products[0](x)
        states = [sensed.clamp(0.0, 1.0)]
        for product in self.products[1:-1]:
            states.append(product(states[-1]).clamp(0.0, 1.0))
        return sensed, states

    def _relax(
        self,
        sensed: Tensor,
        states: list[Tensor],
        steps: int,
        nudge: tuple[Tensor, Tensor] | None = None,
    ) -> list[Tensor]:
        """Hidden states after some steps, all moved at once; without a nudge the free phase."""
        if nudge is None and len(states) == 1:
            return states  # a single hidden state feels its input alone, and is there already
        for _ in range(steps):
            states = self._moved(sensed, states, nudge)
        return states

    def _moved(
        self, sensed: Tensor, states: list[Tensor], nudge: tuple[Tensor, Tensor] | None
    ) -> list[Tensor]:
        forces = [sensed]
        for index, state in enumerate(states[:-1]):
            up, down = self._both_ways(index + 1, state, states[index + 1])
            forces[index] = forces[index] + down
            forces.append(up)
        if nudge is not None:
            (beta, labels), state = nudge, states[-1]
            pull = self._pull(state, labels)
            forces[-1] = forces[-1] - beta.view(-1, *(1,) * (pull.dim() - 1)) * pull
        return [force.clamp(0.0, 1.0) for force in forces]

    def _both_ways(
        self, index: int, state: Tensor, drive: Tensor | Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Read a block from both sides: a state goes up to it, what it does to it comes down."""
        with held([self.blocks[index].layer], columns=True):
            up, down = self.reads[index](state, drive)
        self.traffic.activations(self.blocks[index - 1].layer, down)
        return up, down

    def _pull(self, state: Tensor, labels: Tensor) -> Tensor:
        """Gradient of each sample's loss to the last state, read through the last array."""

        def error(out: Tensor) -> Tensor:
            _, gradient = softmax_error(out, labels)
            self.traffic.errors(self.blocks[-1].layer, gradient)
            return gradient * len(state)

        return self._both_ways(len(self.blocks) - 1, state, error)[1]

    def numbers(self) -> dict[str, float]:
        return {f"{k}/{key}": v for k, one in enumerate(self.reads) for key, v in one.numbers()}

    def load_numbers(self, numbers: dict[str, float]) -> None:
        for k, one in enumerate(self.reads):
            one.load_numbers({key: numbers[f"{k}/{key}"] for key, _ in one.numbers()})

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        with silent(self.taught):
            states = self._relax(*self._begin(x), self.relaxation.free)
            out: Tensor = self.products[-1](states[-1])
        return out


def _linear(modules: nn.Sequential) -> nn.Sequential:
    """A block without its nonlinearity."""
    first = list(modules)
    kept = [one for one in first if not isinstance(one, _BENT)]
    plastic = [one for one in kept if not isinstance(one, _KEPT)]
    if len(plastic) != 1 or len(first) - len(kept) > 1:
        names = ", ".join(type(one).__name__ for one in first)
        raise ConfigError(
            "a block of equilibrium propagation is one layer, one nonlinearity, flattening and "
            f"average pooling, got {names}"
        )
    return nn.Sequential(*kept)
