"""Streaming linear discriminant analysis: class means and one covariance, sample by sample."""

from typing import Any, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError, RunError, ShapeError

__all__ = ["SLDA"]


@final
class SLDA:
    """Gaussian classes with a shared covariance, over fixed features z.

    For each sample, in order: Sigma <- (n Sigma + n/(n+1) d d^T) / (n+1) with d = z - mu_y, then
    mu_y <- (c_y mu_y + z) / (c_y + 1). It answers w_k . z + b_k with Lambda the inverse of
    (1 - eps) Sigma + eps I, w_k = Lambda mu_k and b_k = -mu_k . Lambda mu_k / 2. A whole batch of
    one class at a time is folded in exactly, in the order of samples.

    Nothing is forgotten and no sample is kept. The features are not learned, so it measures
    what they already separate.

    Args:
        features: length of z.
        classes: number of classes.
        shrinkage: eps, in (0, 1].

    Source: Hayes & Kanan 2020, eq. 1 to 4.
    """

    def __init__(self, features: int, classes: int, *, shrinkage: float = 1e-4) -> None:
        if features < 1 or classes < 1 or not 0 < shrinkage <= 1:
            raise ConfigError(
                f"SLDA needs features, classes >= 1 and shrinkage in (0, 1], "
                f"got {features}, {classes} and {shrinkage}"
            )
        self._shrinkage = shrinkage
        # Sums over thousands of samples: float64.
        self._means = torch.zeros(classes, features, dtype=torch.float64)
        self._counts = torch.zeros(classes, dtype=torch.float64)
        self._scatter = torch.zeros(features, features, dtype=torch.float64)
        self._head: tuple[Tensor, Tensor] | None = None

    def learn(self, z: Tensor, cond: Tensor) -> None:
        """Take in samples in order.

        The covariance is kept as n Sigma, to which each sample adds n/(n+1) d d^T with its own
        d; the d of a batch are found class by class from cumulative sums, then added at once.

        Args:
            z: features, [B, F].
            cond: classes, int64 [B].

        Raises:
            ShapeError: features or classes do not fit.
        """
        if z.dim() != 2 or z.shape[1] != self._means.shape[1] or len(z) != len(cond):
            raise ShapeError(
                f"SLDA takes features [B, {self._means.shape[1]}] with a class each, "
                f"got {tuple(z.shape)} and {tuple(cond.shape)}"
            )
        if len(cond) and not 0 <= int(cond.min()) <= int(cond.max()) < len(self._counts):
            raise ShapeError(f"SLDA knows classes 0 to {len(self._counts) - 1}")
        z = z.detach().to("cpu", torch.float64)
        before = float(self._counts.sum()) + torch.arange(len(z), dtype=torch.float64)
        away = torch.empty_like(z)
        for c in cond.unique().tolist():
            rows = torch.nonzero(cond.cpu() == c).flatten()
            away[rows] = self._away(z[rows], int(c))
        self._scatter += (away * (before / (before + 1))[:, None]).T @ away
        self._head = None

    def _away(self, z: Tensor, c: int) -> Tensor:
        """Each sample less the mean of its class before it; the mean moves on."""
        count = self._counts[c] + torch.arange(len(z), dtype=torch.float64)
        sums = self._counts[c] * self._means[c] + z.cumsum(0)
        means = (sums - z) / count.clamp(min=1)[:, None]
        self._counts[c] += len(z)
        self._means[c] = sums[-1] / self._counts[c]
        return z - means

    def __call__(self, z: Tensor) -> Tensor:
        """Scores [B, classes], float64; a class never seen scores minus infinity.

        Raises:
            RunError: nothing was learned yet.
        """
        if not float(self._counts.sum()):
            raise RunError("SLDA has learned nothing yet")
        if self._head is None:
            self._head = self._solve()
        weight, bias = self._head
        scores = z.detach().to("cpu", torch.float64) @ weight + bias
        return scores.masked_fill(self._counts == 0, float("-inf"))

    def _solve(self) -> tuple[Tensor, Tensor]:
        sigma = self._scatter / self._counts.sum()
        eye = torch.eye(len(sigma), dtype=torch.float64)
        weight = torch.linalg.solve(
            (1 - self._shrinkage) * sigma + self._shrinkage * eye, self._means.T
        )
        return weight, -0.5 * (self._means.T * weight).sum(0)

    def state_dict(self) -> dict[str, Any]:
        """Means, counts and scatter."""
        return {
            "means": self._means.clone(),
            "counts": self._counts.clone(),
            "scatter": self._scatter.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state is of other features or classes.
        """
        if state["means"].shape != self._means.shape:
            raise RunError("this SLDA state was saved for other features or classes")
        self._means, self._counts = state["means"].clone(), state["counts"].clone()
        self._scatter, self._head = state["scatter"].clone(), None
