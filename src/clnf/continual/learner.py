"""Teaches a model one lesson after another."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor, nn

from clnf.continual.optimizer_state import pack, take_step, unpack
from clnf.continual.running import Running
from clnf.core.errors import ConfigError, DataError, RunError, ShapeError
from clnf.core.protocols import Answering, Guard, Learnable, Listener
from clnf.core.records import Batch, Experience
from clnf.core.rng import fold, torch_rng

__all__ = ["Learner", "StepInfo"]

# Refused steps are all counted, the last ones described.
_REFUSALS_KEPT = 100

# Steps whose samples are chosen together.
_WINDOW = 64


class StepInfo(NamedTuple):
    """What happened in one step.

    Attributes:
        lesson: name of the lesson.
        step: number of the step in the lesson, from 0.
        loss: weighted mean loss, penalties included.
        gradient_norm: Euclidean norm over all parameters, after guards, before clipping.
        refused: why nothing was written; empty where the step was taken.
    """

    lesson: str
    step: int
    loss: float
    gradient_norm: float
    refused: str = ""


@final
class Learner:
    """Drives a model's weights by an optimizer, under guards.

    One step: every guard mixes, in order; those that listen hear the model's outputs; the loss is
    sum_b w_b l_b / sum_b w_b plus penalties; backward; every guard constrains, in order;
    gradients are clipped; the optimizer steps. A weight common to a whole batch therefore changes
    nothing by itself: priority counts against the other samples of the batch, such as rehearsed
    ones.

    A loss or gradient that is not finite is never written: the step is refused, recorded, and
    normalisation statistics that its forward pass touched are put back.

    Args:
        model: an ``nn.Module`` with ``loss(batch, rng) -> Tensor[B]``.
        optimizer: over the parameters that learn; a chip's optimizer is one like any other.
        guards: asked in this order; put masks last so that nothing moves what they hold.
        seed: all draws are keyed by (seed, lesson, step), so a resumed lesson goes on exactly.
        clip_norm: largest gradient norm, or None.

    Raises:
        ConfigError: the model is not an ``nn.Module`` with a loss, clip_norm is not positive, or
            a guard listens to outputs that the model does not give.
    """

    def __init__(
        self,
        model: Learnable,
        optimizer: torch.optim.Optimizer,
        *,
        guards: Sequence[Guard] = (),
        seed: int,
        clip_norm: float | None = None,
    ) -> None:
        if not isinstance(model, nn.Module) or not isinstance(model, Learnable):
            raise ConfigError(
                "a learner needs an nn.Module with loss(batch, rng); "
                "wrap a classifier in clnf.continual.classifier.Classifier"
            )
        if clip_norm is not None and not clip_norm > 0:
            raise ConfigError(f"clip_norm must be positive, got {clip_norm}")
        self.model: nn.Module = model
        self.optimizer = optimizer
        self.guards = tuple(guards)
        self._listeners = tuple(g for g in self.guards if isinstance(g, Listener))
        given: object = model
        if self._listeners and not isinstance(given, Answering):
            raise ConfigError(
                f"{type(self._listeners[0]).__name__} listens to a model's outputs; "
                "give the model outputs(batch, rng) and loss_of(outputs, batch)"
            )
        self.refused_steps = 0
        self.refusals: list[StepInfo] = []
        self._seed = seed
        self._clip_norm = clip_norm
        self._rng = torch.Generator()
        self._weights: list[float] = []
        self._shares = torch.empty(0)
        self._enter("")
        self._running = Running(model)

    def lesson(
        self, experience: Experience, *, steps: int, batch_size: int, start_step: int = 0
    ) -> Iterator[StepInfo]:
        """Teach a lesson, one step per item taken from the iterator.

        Batches walk through shuffled passes over the data, so each sample is used once before
        any is used twice, whatever the batch size. Stop taking items to cancel; after loading a
        snapshot made when step k had been yielded, go on with ``start_step=k + 1``.

        Args:
            experience: the lesson.
            steps: number of the step at which the lesson ends.
            batch_size: samples per step, before guards mix others in.
            start_step: first step to do; guards begin the lesson only where it is 0.

        Raises:
            ConfigError: steps, batch_size or start_step is out of range.
            DataError: the lesson has no samples.
        """
        if batch_size < 1 or not 0 <= start_step <= steps:
            raise ConfigError(
                f"a lesson needs batch_size >= 1 and 0 <= start_step <= steps, got "
                f"batch_size={batch_size}, start_step={start_step}, steps={steps}"
            )
        if not len(experience.data):
            raise DataError(f'lesson "{experience.name}" has no samples')
        return self._teach(experience, range(start_step, steps), batch_size)

    def _teach(self, experience: Experience, steps: range, size: int) -> Iterator[StepInfo]:
        if steps.start == 0:
            for guard in self.guards:
                guard.begin(experience)
        self._enter(experience.name)
        batches = _Batches(experience, size, self._seed)
        for step in steps:
            self._step = step
            info = self._update(batches.take(step))
            self._step = step + 1
            yield info

    def step(self, batch: Batch) -> float:
        """Take one step on a batch of the caller's own; NaN or inf says that it was refused.

        Returns:
            The weighted mean loss, penalties included.
        """
        info = self._update(batch)
        self._step += 1
        return info.loss

    def consolidate(self, experience: Experience) -> None:
        """Let every guard keep what a committed lesson taught, in order."""
        for guard in self.guards:
            guard.consolidate(experience)

    def _enter(self, lesson: str, step: int = 0) -> None:
        self._lesson = lesson
        self._step = step
        self._mix_key = fold(self._seed, "mix", lesson)
        self._loss_key = fold(self._seed, "loss", lesson)

    def _update(self, batch: Batch) -> StepInfo:
        if not self.model.training:
            self.model.train()
        rng = self._rng
        for number, guard in enumerate(self.guards):
            rng.manual_seed(_mix(self._mix_key + number, self._step))
            batch = guard.mix(batch, rng)
        share = self._share(batch.weight)
        device = self.optimizer.param_groups[0]["params"][0].device
        if batch.x.device != device:
            batch, share = batch.to(device), share.to(device)
        rng.manual_seed(_mix(self._loss_key, self._step))
        statistics = self._running.now()
        losses = self._losses(batch, rng)
        if losses.shape != batch.weight.shape:
            raise ShapeError(
                f"a loss per sample has shape {tuple(batch.weight.shape)}, got "
                f"{tuple(losses.shape)}; do not average in the model"
            )
        total = torch.dot(losses, share.to(losses.dtype))
        for guard in self.guards:
            penalty = guard.penalty()
            if penalty is not None:
                total = total + penalty
        value = total.item()
        self._clear_gradients()
        total.backward()
        norm = self._constrain()
        refused = "" if math.isfinite(value) and math.isfinite(norm) else _reason(value, norm)
        if refused:
            self._clear_gradients()
            for buffer, before in statistics:
                buffer.copy_(before)
        else:
            take_step(self.optimizer)
        info = StepInfo(self._lesson, self._step, value, norm, refused)
        if refused:
            self.refused_steps += 1
            self.refusals = [*self.refusals, info][-_REFUSALS_KEPT:]
        return info

    def _losses(self, batch: Batch, rng: torch.Generator) -> Tensor:
        if not self._listeners:
            return cast(Learnable, self.model).loss(batch, rng)
        model = cast(Answering, self.model)
        outputs = model.outputs(batch, rng)
        losses = model.loss_of(outputs, batch)
        for guard in self._listeners:
            losses = guard.hear(outputs, losses, batch)
        return losses

    def _constrain(self) -> float:
        """Let guards constrain, then clip; the norm between the two."""
        if self.guards:
            lr = max(float(group["lr"]) for group in self.optimizer.param_groups)
            for guard in self.guards:
                guard.constrain(lr)
        norm = self._gradient_norm()
        if self._clip_norm is not None and self._clip_norm < norm < math.inf:
            torch._foreach_mul_(self._gradients(), self._clip_norm / norm)
        return norm

    def _share(self, weight: Tensor) -> Tensor:
        """Each weight by their sum.

        Most batches weigh alike, and comparing numbers costs less than another tensor operation.
        """
        weights = weight.tolist()
        if weights != self._weights:
            self._weights, self._shares = weights, weight / weight.sum()
        return self._shares

    def _clear_gradients(self) -> None:
        """What ``optimizer.zero_grad()`` does, without its profiling, which costs 5 % here."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _gradients(self) -> list[Tensor]:
        groups = self.optimizer.param_groups
        return [p.grad for group in groups for p in group["params"] if p.grad is not None]

    def _gradient_norm(self) -> float:
        gradients = self._gradients()
        if not gradients:
            return 0.0
        norms = torch._foreach_norm(gradients)
        # Off the CPU one transfer for all; on it, reading each is cheaper than joining them.
        on_cpu = norms[0].is_cpu
        return math.hypot(*(map(float, norms) if on_cpu else torch.stack(norms).tolist()))

    def state_dict(self) -> dict[str, Any]:
        """Position, optimizer, guards and refusals: tensors and JSON values in a flat dict.

        The weights are not in it: they belong to the model, or to a chip.
        """
        state: dict[str, Any] = {
            "seed": self._seed,
            "lesson": self._lesson,
            "step": self._step,
            "refused_steps": self.refused_steps,
            "refusals": json.dumps(self.refusals),
            "guards": [type(guard).__name__ for guard in self.guards],
        }
        state |= {f"optimizer.{k}": v for k, v in pack(self.optimizer.state_dict()).items()}
        for number, guard in enumerate(self.guards):
            state |= {f"guard.{number}.{k}": v for k, v in guard.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state has another seed or other guards than this learner.
        """
        names = [type(guard).__name__ for guard in self.guards]
        if state["seed"] != self._seed or state["guards"] != names:
            raise RunError(
                f"the saved learner has seed {state['seed']} and guards {state['guards']}, "
                f"this one has seed {self._seed} and guards {names}"
            )
        self._enter(state["lesson"], state["step"])
        self.refused_steps = state["refused_steps"]
        self.refusals = [StepInfo(*row) for row in json.loads(state["refusals"])]
        self.optimizer.load_state_dict(unpack(_under("optimizer.", state)))
        for number, guard in enumerate(self.guards):
            guard.load_state_dict(_under(f"guard.{number}.", state))


class _Batches:
    """Cuts an endless row of shuffled passes into batches, each known by its number."""

    def __init__(self, experience: Experience, size: int, seed: int) -> None:
        self._experience = experience
        self._size = size
        self._seed = seed
        self._pass = -1
        self._order = torch.empty(0, dtype=torch.int64)
        self._window = -1
        self._rows: tuple[Tensor, ...] = ()

    def take(self, step: int) -> Batch:
        window, row = divmod(step, _WINDOW)
        if window != self._window:
            self._rows = self._indices(window)
            self._window = window
        batch = self._experience.data.take(self._rows[row])
        if self._experience.priority == 1.0:
            return batch
        weight = batch.weight * self._experience.priority
        return Batch(x=batch.x, cond=batch.cond, weight=weight)

    def _indices(self, window: int) -> tuple[Tensor, ...]:
        total = len(self._experience.data)
        at, end = window * _WINDOW * self._size, (window + 1) * _WINDOW * self._size
        parts = []
        while at < end:
            number, first = divmod(at, total)
            taken = min(total - first, end - at)
            parts.append(self._shuffled(number)[first : first + taken])
            at += taken
        return torch.cat(parts).view(_WINDOW, self._size).unbind()

    def _shuffled(self, number: int) -> Tensor:
        if number != self._pass:
            rng = torch_rng(self._seed, "lesson", self._experience.name, "pass", number)
            self._order = torch.randperm(len(self._experience.data), generator=rng)
            self._pass = number
        return self._order


def _under(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _mix(key: int, step: int) -> int:
    """SplitMix64's last stage: an independent seed per step at a tenth of the cost of a fold."""
    z = (key + (step + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return z ^ (z >> 31)


def _reason(loss: float, norm: float) -> str:
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    return f"the gradient norm is {norm}"
