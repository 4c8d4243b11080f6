"""Continual backprop: units of little use start anew, so that learning never slows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.core.units import quantity

__all__ = ["ContinualBackprop", "ContinualBackpropParams"]


@final
@dataclass(frozen=True, kw_only=True)
class ContinualBackpropParams:
    """Which units start anew, and how often.

    Attributes:
        rate: rho, part of the eligible units of a layer replaced per step.
        decay: eta of the running utility and of the running mean activation.
        maturity: steps a unit is safe after it was replaced.
    """

    rate: float = quantity("1", 1e-4)
    decay: float = quantity("1", 0.99)
    maturity: int = quantity("1", 100)

    def __post_init__(self) -> None:
        if not (0 <= self.rate <= 1 and 0 <= self.decay < 1 and self.maturity >= 0):
            raise ConfigError(
                f"continual backprop needs rate in [0, 1], decay in [0, 1) and maturity >= 0, "
                f"got {self.rate}, {self.decay} and {self.maturity}"
            )


@final
class ContinualBackprop:
    """Replaces, step by step, the least useful units of each hidden layer.

    Utility u <- eta u + (1 - eta) mean_batch |h_i| mean_k |w_ki|, divided by 1 - eta^age when
    units are compared; age counts steps. Of the units older than ``maturity`` the part ``rate``
    of lowest utility is replaced, fractions adding up over steps: incoming weights are drawn
    anew, incoming bias 0, and the next layer's bias takes over what the unit gave on average,
    w_out h_mean / (1 - eta^age); then outgoing weights, age and utility are 0, and the
    optimizer's moments of these entries too, with their own step where it counts one each.

    It happens before the step whose forward pass was looked at, and that step leaves the new
    entries alone. Weights are overwritten, so this is not for a chip as it is: there a unit must
    be programmed anew by write-verify, and the bill says so.

    Args:
        layers: linear layers from input to head.
        activations: the modules between them, one less, whose output is h.
        params: rate, decay and maturity.
        optimizer: whose moments are reset.
        seed: places the draws of new weights, uniform as torch's own start.

    Source: Dohare et al. 2024, eq. 1 and algorithm 1; mean over k and batch as in their code.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        activations: Sequence[nn.Module],
        params: ContinualBackpropParams | None = None,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        seed: int,
    ) -> None:
        if len(activations) != len(layers) - 1 or not activations:
            raise ConfigError(
                f"{len(layers)} layers have {len(layers) - 1} activations between them, "
                f"got {len(activations)}"
            )
        self.params = params or ContinualBackpropParams()
        self.replaced = 0
        self._layers = list(layers)
        self._optimizer = optimizer
        self._seed = seed
        units = [len(cast(Tensor, layer.weight)) for layer in self._layers[:-1]]
        device = cast(Tensor, self._layers[0].weight).device
        self._utility = [torch.zeros(n, device=device) for n in units]
        self._mean = [torch.zeros(n, device=device) for n in units]
        self._age = [torch.zeros(n, device=device) for n in units]
        self._owed = [0.0] * len(units)
        self._heard: list[Tensor | None] = [None] * len(units)
        for number, activation in enumerate(activations):
            activation.register_forward_hook(self._listen(number))

    def _listen(self, number: int) -> Any:
        def hook(module: nn.Module, _: Any, output: Tensor) -> None:
            if module.training:
                self._heard[number] = output.detach()

        return hook

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> None:
        """None: units are replaced."""

    @torch.no_grad()
    def constrain(self, lr: float) -> None:
        """Look at the pass just made; replace what is due."""
        for number, heard in enumerate(self._heard):
            self._heard[number] = None
            # A pass that is not finite will be refused and tells nothing about units.
            if heard is not None and math.isfinite(float(heard.sum())):
                self._look(number, heard)
                self._replace(number)

    def _look(self, number: int, heard: Tensor) -> None:
        keep = self.params.decay
        following = cast(Tensor, self._layers[number + 1].weight)
        worth = heard.abs().mean(0) * following.abs().mean(0)
        self._age[number].add_(1)
        self._utility[number].lerp_(worth, 1 - keep)
        self._mean[number].lerp_(heard.mean(0), 1 - keep)

    def _replace(self, number: int) -> None:
        age = self._age[number]
        eligible = torch.nonzero(age > self.params.maturity).flatten()
        self._owed[number] += self.params.rate * len(eligible)
        due = min(int(self._owed[number]), len(eligible))
        if not due:
            return
        self._owed[number] -= due
        grown = self._grown(number)
        order = torch.argsort(self._utility[number][eligible] / grown[eligible], stable=True)
        units = eligible[order[:due]]
        self._hand_over(number, units, grown)
        self._start_anew(number, units)
        for values in (self._utility, self._mean, self._age):
            values[number][units] = 0
        self.replaced += due

    def _grown(self, number: int) -> Tensor:
        """1 - eta^age, what a running mean that began at 0 has reached."""
        return 1 - self.params.decay ** self._age[number]

    def _hand_over(self, number: int, units: Tensor, grown: Tensor) -> None:
        following = self._layers[number + 1]
        weight, bias = cast(Tensor, following.weight), cast("Tensor | None", following.bias)
        if bias is not None:
            mean = self._mean[number][units] / grown[units]
            bias.add_(weight[:, units] @ mean)

    def _start_anew(self, number: int, units: Tensor) -> None:
        layer, following = self._layers[number], self._layers[number + 1]
        weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", layer.bias)
        outgoing = cast(Tensor, following.weight)
        rng = torch_rng(self._seed, "continual backprop", number, self.replaced)
        bound = 1 / math.sqrt(weight.shape[1])
        fresh = torch.rand(len(units), weight.shape[1], generator=rng) * (2 * bound) - bound
        weight[units] = fresh.to(weight)
        outgoing[:, units] = 0
        self._forget(weight, (units,))
        self._forget(outgoing, (slice(None), units))
        if bias is not None:
            bias[units] = 0
            self._forget(bias, (units,))

    def _forget(self, weight: Tensor, at: tuple[Any, ...]) -> None:
        """No gradient and no moment at these entries."""
        if weight.grad is not None:
            weight.grad[at] = 0
        if self._optimizer is not None and weight in self._optimizer.state:
            for value in self._optimizer.state[weight].values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value[at] = 0

    def consolidate(self, experience: Experience) -> None:
        """Nothing to keep."""

    def state_dict(self) -> dict[str, Any]:
        """Utility, mean activation and age of each unit, and what is owed."""
        state: dict[str, Any] = {"replaced": self.replaced, "owed": list(self._owed)}
        for kind, values in self._kinds():
            state |= {f"{kind}.{i}": value.clone() for i, value in enumerate(values)}
        return state

    def _kinds(self) -> list[tuple[str, list[Tensor]]]:
        return [("utility", self._utility), ("mean", self._mean), ("age", self._age)]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state is of other layers.
        """
        own = [list(value.shape) for value in self._age]
        found = [list(state[k].shape) for k in sorted(state) if k.startswith("age.")]
        if own != found:
            raise RunError("this continual backprop state was saved for other layers")
        self.replaced, self._owed = state["replaced"], list(state["owed"])
        for kind, values in self._kinds():
            for number, value in enumerate(values):
                value.copy_(state[f"{kind}.{number}"])
