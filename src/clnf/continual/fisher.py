"""Diagonal Fisher information, one gradient per sample.

The square of a mini-batch's mean gradient is not a Fisher: it shrinks about as 1/b with the
batch size b. Every square here is of one sample's own gradient.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.func import functional_call, grad, vmap

from clnf.core.errors import ConfigError, DataError
from clnf.core.protocols import Answering, Learnable
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.core.units import quantity

__all__ = ["Fisher", "FisherParams", "diagonal_fisher", "output_sensitivity", "standing_still"]

# Per-sample gradients of a chunk are held at once: at most this many numbers (128 MB).
_MOST_NUMBERS = 2**25

# On the CPU one sample of a model this large keeps a core busy, and vmap only adds to it: three
# times the loop for a U-Net of 1.7 M parameters, a tenth of it for a small perceptron.
_LARGE_MODEL = 2**19


@final
@dataclass(frozen=True, kw_only=True)
class FisherParams:
    """How a lesson's Fisher is estimated.

    Attributes:
        samples: samples drawn from the lesson without replacement; 200 to 500 suffice.
        chunk: samples whose gradients are computed together, as far as memory allows. 1 goes
            sample by sample: right for any module, and needed where a forward pass has side
            effects that must be counted per sample, such as reads of a chip.
        of: ``"loss"`` for the Fisher. ``"outputs"`` for the importance of MAS, the mean over
            samples of |d_i ||f(x)||^2|, which needs no labels.
    """

    samples: int = quantity("1", 256)
    chunk: int = quantity("1", 64)
    of: Literal["loss", "outputs"] = "loss"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.chunk < 1:
            raise ConfigError(
                f"a Fisher needs samples >= 1 and chunk >= 1, got {self.samples} and {self.chunk}"
            )
        if self.of not in ("loss", "outputs"):
            raise ConfigError(f'importance is "of" the "loss" or the "outputs", got "{self.of}"')


@contextmanager
def standing_still(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, then give each its own mode back.

    Otherwise measuring would move BatchNorm statistics.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def diagonal_fisher(
    model: Learnable,
    batch: Batch,
    parameters: Mapping[str, nn.Parameter],
    rng: torch.Generator,
    *,
    chunk: int = 64,
) -> dict[str, Tensor]:
    """Weighted mean of squared per-sample gradients: F_i = sum_b w_b (d_i l_b)^2 / sum_b w_b.

    With true labels this is the empirical Fisher. With every label of each sample in the batch,
    weighted by the model's probability of it, it is the exact one (``Classifier.every_label``).

    Args:
        model: an ``nn.Module`` with a loss per sample; measured in evaluation mode.
        batch: samples; ``batch.weight`` weighs their squares, not their losses.
        parameters: what to differentiate by, named as in ``model.named_parameters()``.
        rng: for models whose loss draws noise.
        chunk: samples at a time under ``vmap``; 1, a large model on the CPU, or one that
            ``vmap`` cannot follow (custom autograd functions, data-dependent branches), goes
            sample by sample.

    Returns:
        One non-negative tensor per parameter, of its shape.

    Raises:
        ConfigError: a parameter does not require gradients.
        DataError: the batch is empty, has no weight, or gives a non-finite square.

    Source: Kunstner et al. 2019, Limitations of the empirical Fisher approximation.
    """
    return _mean_of(torch.square, model, batch, parameters, rng, chunk)


def output_sensitivity(
    model: Answering,
    batch: Batch,
    parameters: Mapping[str, nn.Parameter],
    rng: torch.Generator,
    *,
    chunk: int = 64,
) -> dict[str, Tensor]:
    """Weighted mean of |d_i ||f(x_b)||^2| over samples: how far outputs hang on each weight.

    The absolute value is of each sample's own gradient: of a batch's sum they would cancel.
    Arguments, result and errors as for :func:`diagonal_fisher`; labels are not looked at.

    Source: Aljundi et al. 2018 (MAS), eq. 3 with the squared norm of section 4.1.
    """
    inner = {f"model.{name}": parameter for name, parameter in parameters.items()}
    found = _mean_of(torch.abs, _SquaredNorm(model), batch, inner, rng, chunk)
    return {name.removeprefix("model."): value for name, value in found.items()}


def _mean_of(
    power: Callable[[Tensor], Tensor],
    model: Learnable,
    batch: Batch,
    parameters: Mapping[str, nn.Parameter],
    rng: torch.Generator,
    chunk: int,
) -> dict[str, Tensor]:
    if any(not p.requires_grad for p in parameters.values()):
        frozen = [name for name, p in parameters.items() if not p.requires_grad]
        raise ConfigError(f"no Fisher of frozen parameters: {', '.join(frozen)}")
    total = float(batch.weight.sum()) if len(batch) else 0.0
    if not total > 0:
        raise DataError("a Fisher needs at least one sample of positive weight")
    size = sum(p.numel() for p in parameters.values())
    chunk = min(chunk, max(1, _MOST_NUMBERS // max(1, size)))
    with standing_still(cast(nn.Module, model)):
        sums = None
        if (
            chunk > 1
            and not _is_large(model)
            and not _has_custom_function(model, batch.select(torch.arange(1)), rng)
        ):
            sums = _sums_by_vmap(power, model, batch, parameters, rng, chunk)
        if sums is None:
            sums = _sums_by_loop(power, model, batch, parameters, rng)
    fisher = {name: value.div_(total) for name, value in sums.items()}
    bad = [name for name, value in fisher.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise DataError(f"the Fisher is not finite in {', '.join(bad)}")
    return fisher


def _sums_by_loop(
    power: Callable[[Tensor], Tensor],
    model: Learnable,
    batch: Batch,
    parameters: Mapping[str, nn.Parameter],
    rng: torch.Generator,
) -> dict[str, Tensor]:
    leaves = list(parameters.values())
    sums = [torch.zeros_like(p) for p in leaves]
    for i, weight in enumerate(batch.weight.tolist()):
        loss = model.loss(batch.select(torch.tensor([i])), rng).sum()
        for total, gradient in zip(
            sums, torch.autograd.grad(loss, leaves, allow_unused=True), strict=True
        ):
            if gradient is not None:
                total.add_(power(gradient), alpha=weight)
    return dict(zip(parameters, sums, strict=True))


@final
class _SquaredNorm(nn.Module):
    """A model whose loss is ||f(x)||^2."""

    def __init__(self, model: Answering) -> None:
        super().__init__()
        self.model = cast(nn.Module, model)

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """The squared norm of each sample's outputs, shape [B]."""
        return cast(Answering, self.model).outputs(batch, rng).flatten(1).square().sum(1)


class _LossAsForward(nn.Module):
    """``functional_call`` swaps parameters around ``forward`` only."""

    def __init__(self, model: Learnable) -> None:
        super().__init__()
        self.model = cast(nn.Module, model)

    def forward(self, batch: Batch, rng: torch.Generator) -> Tensor:
        return cast(Learnable, self.model).loss(batch, rng).sum()


def _sums_by_vmap(
    power: Callable[[Tensor], Tensor],
    model: Learnable,
    batch: Batch,
    parameters: Mapping[str, nn.Parameter],
    rng: torch.Generator,
    chunk: int,
) -> dict[str, Tensor] | None:
    """None where vmap cannot follow the model; the generator is then as it was."""
    shell = _LossAsForward(model)
    values = {f"model.{name}": p.detach() for name, p in parameters.items()}
    one = torch.ones(1, device=batch.x.device)

    def loss_of_one(values: dict[str, Tensor], x: Tensor, cond: Tensor) -> Tensor:
        sample = Batch(x=x[None], cond=cond[None], weight=one)
        return cast(Tensor, functional_call(shell, values, (sample, rng)))

    gradients_of = vmap(grad(loss_of_one), in_dims=(None, 0, 0), randomness="different")
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    start = rng.get_state()
    try:
        for at in range(0, len(batch), chunk):
            part = batch.select(torch.arange(at, min(at + chunk, len(batch))))
            gradients = gradients_of(values, part.x, part.cond)
            for name, total in sums.items():
                each = power(gradients[f"model.{name}"])
                total.add_(torch.tensordot(part.weight, each, dims=1))
    except RuntimeError:
        # A true fault of the model shows again, with its own message, in the plain loop.
        rng.set_state(start)
        return None
    return sums


def _is_large(model: Learnable) -> bool:
    weights = list(cast(nn.Module, model).parameters())
    return weights[0].is_cpu and sum(p.numel() for p in weights) >= _LARGE_MODEL


def _has_custom_function(model: Learnable, batch: Batch, rng: torch.Generator) -> bool:
    """Whether a Python autograd function is in the graph: vmap would half run it, then fail."""
    start = rng.get_state()
    todo: list[Any] = [model.loss(batch, rng).grad_fn]
    rng.set_state(start)
    seen = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if isinstance(node, BackwardCFunction):
            return True
        seen.add(node)
        todo.extend(parent for parent, _ in node.next_functions)
    return False


@final
class Fisher:
    """Measures the Fisher of a lesson; guards share one so that it is computed once.

    Args:
        model: the model being taught.
        names: parameters to measure, such as adapters only; None takes all that learn.
        params: samples and chunk.
        seed: places the draw of samples and the model's noise.
        relabel: maps the drawn batch before measuring; ``Classifier.every_label`` makes the
            Fisher exact instead of empirical, ``Classifier.drawn_label`` its one-draw estimate.

    Raises:
        ConfigError: a name is not a parameter of the model, or outputs are asked of a model
            that gives none.
    """

    def __init__(
        self,
        model: Learnable,
        names: list[str] | None = None,
        params: FisherParams | None = None,
        *,
        seed: int,
        relabel: Callable[[Batch], Batch] | None = None,
    ) -> None:
        known = dict(cast(nn.Module, model).named_parameters())
        if names is None:
            names = [name for name, p in known.items() if p.requires_grad]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(f"the model has no parameter named {', '.join(unknown)}")
        if params is not None and params.of == "outputs" and not isinstance(model, Answering):
            raise ConfigError(
                "how far outputs hang on weights needs a model with outputs(batch, rng)"
            )
        self.parameters = {name: known[name] for name in names}
        self._model = model
        self.params = params or FisherParams()
        self._seed = seed
        self._relabel = relabel
        self._last: tuple[bytes, dict[str, Tensor]] | None = None

    def measure(self, experience: Experience) -> dict[str, Tensor]:
        """Diagonal Fisher of a lesson's data at the present weights.

        Asked again about the same lesson with unchanged weights it gives the same tensors
        without computing; do not change them in place. Samples that are not finite are left out.

        Raises:
            DataError: no finite sample was drawn.
        """
        key = self._key(experience)
        if self._last is None or self._last[0] != key:
            self._last = (key, self._compute(experience))
        return self._last[1]

    def _compute(self, experience: Experience) -> dict[str, Tensor]:
        rng = torch_rng(self._seed, "fisher", experience.name)
        index = torch.randperm(len(experience.data), generator=rng)[: self.params.samples]
        batch = experience.data.take(index)
        # The learner refuses steps on broken samples; they have no say in what matters either.
        whole = torch.nonzero(batch.x.flatten(1).isfinite().all(1)).flatten()
        if not len(whole):
            raise DataError(f"lesson {experience.name!r} gave no finite sample to measure")
        if len(whole) < len(index):
            batch = batch.select(whole)
        if self.parameters:
            batch = batch.to(next(iter(self.parameters.values())).device)
        if self._relabel is not None:
            with standing_still(cast(nn.Module, self._model)):
                batch = self._relabel(batch)
        params = self.params
        if params.of == "loss":
            return diagonal_fisher(self._model, batch, self.parameters, rng, chunk=params.chunk)
        model = cast(Answering, self._model)
        return output_sensitivity(model, batch, self.parameters, rng, chunk=params.chunk)

    def _key(self, experience: Experience) -> bytes:
        digest = hashlib.blake2b(f"{experience.name}\0{len(experience.data)}".encode())
        for parameter in cast(nn.Module, self._model).parameters():
            flat = parameter.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.digest()
