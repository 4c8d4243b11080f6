"""Weights with an uncertainty, and the update that needs neither rate nor boundary."""

import math
from collections.abc import Callable, Iterable
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.classifier import label_loss
from clnf.core.errors import ConfigError
from clnf.core.records import Batch

__all__ = ["MESU", "BayesianClassifier", "BayesianLinear"]


@final
class BayesianLinear(nn.Module):
    """y = x w^T + b with w = mu + sigma eps, eps normal, drawn for each pass.

    In evaluation mode the weight is mu. In hardware mu is what a cell holds and sigma what its
    reads scatter by.

    Args:
        inputs: features in.
        outputs: features out.
        sigma: start of every sigma, > 0.
    """

    def __init__(self, inputs: int, outputs: int, *, sigma: float) -> None:
        super().__init__()
        if not 0 < sigma < math.inf:
            raise ConfigError(f"a weight's sigma is positive, got {sigma}")
        plain = nn.Linear(inputs, outputs)
        assert plain.bias is not None
        values = {"weight": plain.weight.detach(), "bias": plain.bias.detach()}
        self.mu = nn.ParameterDict({k: nn.Parameter(v) for k, v in values.items()})
        self.sigma = nn.ParameterDict(
            {k: nn.Parameter(torch.full_like(v, sigma)) for k, v in values.items()}
        )
        self._noise: dict[str, Tensor] = {}

    def draw(self, rng: torch.Generator) -> None:
        """New noise for the passes to come, until the next draw."""
        for name in ("weight", "bias"):
            mean = self.mu[name]
            noise = torch.randn(mean.shape, generator=rng, dtype=mean.dtype)
            self._noise[name] = noise.to(mean.device)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., inputs] to [..., outputs]."""
        weight, bias = (self._value(name) for name in ("weight", "bias"))
        return functional.linear(x, weight, bias)

    def _value(self, name: str) -> Tensor:
        if not self.training or not self._noise:
            return self.mu[name]
        return torch.addcmul(self.mu[name], self.sigma[name], self._noise[name])


@final
class BayesianClassifier(nn.Module):
    """Wraps a net of Bayesian layers; its loss is the mean over draws of the weights.

    Args:
        net: maps x [B, ...] to logits [B, K].
        draws: weights drawn for each loss, >= 1.
    """

    def __init__(self, net: nn.Module, *, draws: int = 1) -> None:
        super().__init__()
        if draws < 1:
            raise ConfigError(f"a Bayesian loss needs draws >= 1, got {draws}")
        self.net = net
        self.draws = draws

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape [B, K]; of the means in evaluation mode."""
        return self.net(x)

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Cross entropy of each sample, mean over draws, shape [B].

        Raises:
            ShapeError: a class has no logit, or labels are not int64.
            DataError: a label is below 0.
        """
        layers = [m for m in self.net.modules() if isinstance(m, BayesianLinear)]
        total = torch.zeros(len(batch), device=batch.x.device)
        for _ in range(self.draws):
            for layer in layers:
                layer.draw(rng)
            logits = self.net(batch.x)
            total = total + label_loss(logits, batch.cond)
        return total / self.draws

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """(mu, sigma) of every Bayesian weight, for :class:`MESU`."""
        layers = [m for m in self.net.modules() if isinstance(m, BayesianLinear)]
        return [(layer.mu[name], layer.sigma[name]) for layer in layers for name in layer.mu]


@final
class MESU(torch.optim.Optimizer):
    """Metaplasticity from synaptic uncertainty.

    Delta mu = -sigma^2 dC/dmu + sigma^2 / (N sigma_p^2) (mu_p - mu)
    Delta sigma = -(sigma^2 / 2) dC/dsigma + sigma / (2 N sigma_p^2) (sigma_p^2 - sigma^2)

    Both from the mu and sigma of before. There is no rate: each weight's own variance is one.
    N is the number of steps remembered; without end, what is certain never moves again. For
    digital weights, or cells whose scatter can be set: where the material fixes it, sigma cannot
    be learned.

    Args:
        pairs: (mu, sigma) parameters.
        memory: N, > 0.
        prior_sigma: sigma_p of the prior, > 0.
        prior_mu: mu_p of the prior.
        floor: least sigma.

    Source: Bonnet et al. 2025 (2504.13569), the update of mean and deviation.
    """

    def __init__(
        self,
        pairs: Iterable[tuple[Tensor, Tensor]],
        *,
        memory: float,
        prior_sigma: float,
        prior_mu: float = 0.0,
        floor: float = 1e-6,
    ) -> None:
        if not (memory > 0 and 0 < prior_sigma < math.inf and floor > 0):
            raise ConfigError(
                f"MESU needs memory, prior_sigma and floor > 0, "
                f"got {memory}, {prior_sigma} and {floor}"
            )
        both = list(pairs)
        groups = [{"params": [p for pair in both for p in pair]}]
        # "lr" is what guards ask an optimizer for; a step here is a whole one.
        defaults = {
            "lr": 1.0,
            "memory": float(memory),
            "prior_sigma": float(prior_sigma),
            "prior_mu": float(prior_mu),
            "floor": float(floor),
        }
        super().__init__(cast(Any, groups), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all pairs that have gradients."""
        for group in self.param_groups:
            means = [p for p in group["params"][::2] if p.grad is not None]
            sigmas = [
                s
                for p, s in zip(group["params"][::2], group["params"][1::2], strict=True)
                if p.grad is not None
            ]
            if means:
                self._move(group, means, sigmas)

    def _move(self, group: dict[str, Any], means: list[Tensor], sigmas: list[Tensor]) -> None:
        prior = group["prior_sigma"] ** 2
        pull = 1 / (group["memory"] * prior)
        variances = torch._foreach_mul(sigmas, sigmas)
        # (mu_p - mu) / (N sigma_p^2) - dC/dmu, times the variance.
        forces = torch._foreach_mul(means, -pull)
        torch._foreach_add_(forces, pull * group["prior_mu"])
        torch._foreach_sub_(forces, [cast(Tensor, m.grad) for m in means])
        # sigma (sigma_p^2 - sigma^2) / (2 N sigma_p^2) - (sigma^2 / 2) dC/dsigma
        widths = torch._foreach_mul(variances, -0.5 * pull)
        torch._foreach_add_(widths, 0.5 * pull * prior)
        torch._foreach_mul_(widths, sigmas)
        slopes = [torch.zeros_like(s) if s.grad is None else s.grad for s in sigmas]
        torch._foreach_addcmul_(widths, variances, slopes, value=-0.5)
        torch._foreach_addcmul_(means, variances, forces)
        torch._foreach_add_(sigmas, widths)
        torch._foreach_clamp_min_(sigmas, group["floor"])
