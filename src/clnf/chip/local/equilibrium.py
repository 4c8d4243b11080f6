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

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from clnf.chip.hosting import Chip
from clnf.chip.local.method import AbstractMethod, softmax_error
from clnf.chip.local.symmetric import TransposedRead, silent
from clnf.core.errors import ConfigError

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
        if self.relaxation.beta <= 0 or min(self.relaxation[1:]) < 1:
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
        beta, free, nudged = self.relaxation
        with silent(self.taught), self.traffic.counting("relaxation"):
            start = self.relax(x, self.rest(x), free)
            ends = [self.relax(x, start, nudged, (sign * beta, labels)) for sign in (1.0, -1.0)]
        middle = [(a + b) / 2 for a, b in zip(*ends, strict=True)]
        change = [(a - b) / (-2 * beta * len(x)) for a, b in zip(*ends, strict=True)]
        with self.traffic.counting("activations"):
            for index, moved in enumerate(change):
                below = x if index == 0 else middle[index - 1]
                self.products[index](below.detach()).backward(moved)
                if index:
                    out = self.products[index](ends[0][index - 1] - ends[1][index - 1])
                    self._without_bias(index, out, middle[index] / (-2 * beta * len(x)))
            out = self.products[-1](middle[-1].detach())
        loss, error = softmax_error(out, labels)
        with self.traffic.counting("errors"):
            self.traffic.errors(self.blocks[-1].layer, error)
            out.backward(error)
        return loss

    def _without_bias(self, index: int, out: Tensor, error: Tensor) -> None:
        """A way back for the weight alone: the bias meets differences of the state only."""
        bias = self.blocks[index].layer.bias
        before = None if bias is None or bias.grad is None else bias.grad.clone()
        out.backward(error)
        if bias is not None:
            bias.grad = before

    @torch.no_grad()
    def rest(self, x: Tensor) -> list[Tensor]:
        """States to begin with: one pass up."""
        states = []
        for product in self.products[:-1]:
            x = product(x).clamp(0.0, 1.0)
            states.append(x)
        return states

    def relax(
        self,
        x: Tensor,
        states: list[Tensor],
        steps: int,
        nudge: tuple[float, Tensor] | None = None,
    ) -> list[Tensor]:
        """Hidden states after some steps, all moved at once.

        Args:
            x: inputs, held.
            states: one for each block but the last.
            steps: number of them.
            nudge: its strength and the labels; None for the free phase.
        """
        if nudge is None and len(states) == 1:
            return states  # a single hidden state feels its input alone, and is there already
        with torch.no_grad():
            held = self.products[0](x)  # inputs do not change: one read, whose result is held
        for _ in range(steps):
            states = self._moved(held, states, nudge)
        return states

    def _moved(
        self, held: Tensor, states: list[Tensor], nudge: tuple[float, Tensor] | None
    ) -> list[Tensor]:
        forces = [held]
        for index, state in enumerate(states[:-1]):
            up, down = self.reads[index + 1](state, states[index + 1])
            forces[index] = forces[index] + down
            forces.append(up)
        if nudge is not None:
            beta, labels = nudge
            forces[-1] = forces[-1] - beta * self._pull(states[-1], labels)
        return [force.clamp(0.0, 1.0) for force in forces]

    def _pull(self, state: Tensor, labels: Tensor) -> Tensor:
        """Gradient of each sample's loss to the last state, read through the last array."""
        with torch.no_grad():
            _, error = softmax_error(self.products[-1](state), labels)
        self.traffic.errors(self.blocks[-1].layer, error)
        return self.reads[-1](state, error * len(state))[1]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        with silent(self.taught):
            states = self.relax(x, self.rest(x), self.relaxation.free)
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
