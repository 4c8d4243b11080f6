"""The sentry: a look at every batch of a training step, in a few hundredths of its time.

The gate sees a lesson once and whole; a stream that never ends has no whole. The sentry keeps out
what would break the learner (NaN, values out of range, samples of one value, copies), and judges
each step by its loss and gradient norm, which the learner has computed anyway.
"""

import math
from bisect import bisect_left, insort
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ConfigError, DataError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity
from clnf.streams.byte_kernels import hash_words
from clnf.streams.features import words_of
from clnf.streams.kernels import look

__all__ = ["Sentry", "SentryParams", "Usual", "look_plain"]


@final
@dataclass(frozen=True, kw_only=True)
class SentryParams:
    """What the sentry lets pass.

    Attributes:
        low: smallest value allowed.
        high: largest value allowed; a thousandth of the range is tolerated at both ends.
        copies: samples looked back for exact copies; 0 where samples may come again, as in
            rehearsal and several passes.
        sigmas: robust deviations above which a loss or gradient norm is an outlier, > 0.
        window: steps that are usual, >= 8.
    """

    low: float = quantity("1", -1.0)
    high: float = quantity("1", 1.0)
    copies: int = quantity("1", 0)
    sigmas: float = quantity("1", 8.0)
    window: int = quantity("1", 128)

    def __post_init__(self) -> None:
        if not self.low < self.high or self.copies < 0 or not self.sigmas > 0 or self.window < 8:
            raise ConfigError(
                f"a sentry needs low < high, copies >= 0, sigmas > 0 and window >= 8, got {self}"
            )


@final
class Usual:
    """What a positive number usually is: median and quartiles of the last ones, of its logarithm.

    Losses and norms change by factors, so they are judged by factors. An outlier is not added:
    otherwise a burst of them would soon be usual. After ``window`` outliers in a row they are,
    and the memory begins anew.

    Args:
        window: numbers remembered, >= 8.
        sigmas: as in :class:`SentryParams`.
    """

    def __init__(self, window: int, sigmas: float) -> None:
        self.window = window
        self.sigmas = sigmas
        self.refused = 0
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, value: float) -> float:
        """Take a number; by how many robust deviations it lies above the usual ones.

        Zero until there are enough to compare with, and for numbers below the median; infinite
        where the value is not a finite number >= 0.
        """
        if not (math.isfinite(value) and value >= 0.0):
            return math.inf
        place = math.log(max(value, 1e-30))
        score = self._score(place)
        if score > self.sigmas and self.refused < self.window:
            self.refused += 1
            return score
        if self.refused >= self.window:
            self._order.clear()
            self._sorted.clear()
        self.refused = 0
        if len(self._order) == self.window:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        self._order.append(place)
        insort(self._sorted, place)
        return score

    def _score(self, place: float) -> float:
        count = len(self._sorted)
        if count < 8:
            return 0.0
        middle = self._sorted[count // 2]
        # Of a normal distribution the quartiles are 1.349 deviations apart; 5 % is no difference.
        spread = (self._sorted[3 * count // 4] - self._sorted[count // 4]) / 1.349
        return max(0.0, (place - middle) / max(spread, 0.05))

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart, as JSON values."""
        return {"order": list(self._order), "refused": self.refused}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._order = deque(float(value) for value in state["order"])
        self._sorted = sorted(self._order)
        self.refused = int(state["refused"])


@final
class Sentry:
    """Looks at batches before a step, and at the step after it.

    Before: :meth:`screen` gives the samples that may be learned. After: :meth:`judge` says what
    is odd about the loss or the gradient norm; what to do about it is ``policy``'s to say.

    It is a ``core.protocols.Guard``: first among a learner's guards, it screens every batch
    before others mix theirs in.

    Args:
        params: what may pass.
    """

    def __init__(self, params: SentryParams = SentryParams()) -> None:
        self.params = params
        self.counts: Counter[str] = Counter()
        self._loss = Usual(params.window, params.sigmas)
        self._norm = Usual(params.window, params.sigmas)
        slack = 1e-3 * (params.high - params.low)
        self._low, self._high = _key(params.low - slack), _key(params.high + slack)
        self._recent: deque[int] = deque()
        self._seen: set[int] = set()

    def screen(self, batch: Batch) -> Batch:
        """The samples of a batch that may be learned; the batch itself where all may.

        Refused samples are counted by reason in :attr:`counts`.

        Raises:
            DataError: the samples hold no values.
        """
        if not len(batch):
            return batch
        if not batch.x.numel():
            raise DataError(
                f"samples to look at hold values, got a batch of {list(batch.x.shape)}; give "
                "each sample at least one"
            )
        bits = _bits(batch.x)
        low, high = np.empty(len(bits), np.int32), np.empty(len(bits), np.int32)
        look(bits, low, high)
        # All keys inside the range and no row of one value: what nearly every batch is.
        sound = low.min() >= self._low and high.max() <= self._high and (low < high).all()
        if sound and not self.params.copies:
            return batch
        keep = (low >= self._low) & (high <= self._high) & (low < high)
        if not sound:
            broken = (low < _LEAST) | (high > _MOST)
            flat = ~broken & (low == high)
            self.counts["finite"] += int(broken.sum())
            self.counts["flat"] += int(flat.sum())
            self.counts["range"] += int((~keep & ~broken & ~flat).sum())
        if self.params.copies:
            prints = np.empty(len(bits), np.int64)
            even = bits.shape[1] % 2 == 0
            hash_words(bits.view(np.uint64) if even else words_of(bits), prints)
            self._drop_copies(prints, keep)
        return batch if keep.all() else batch.select(torch.from_numpy(keep))

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """As :meth:`screen`; where nothing may be learned, nothing weighs anything.

        The loss of such a batch is not a number, and a learner refuses the step.
        """
        kept = self.screen(batch)
        if len(kept):
            return kept
        return Batch(x=batch.x, cond=batch.cond, weight=torch.zeros_like(batch.weight))

    def begin(self, experience: Experience) -> None:
        """Nothing: every batch is judged alike."""

    def penalty(self) -> None:
        """Nothing."""
        return

    def constrain(self, lr: float) -> None:
        """Nothing."""

    def consolidate(self, experience: Experience) -> None:
        """Nothing."""

    def judge(self, loss: float, gradient_norm: float) -> str:
        """What is odd about a step, in words; empty where nothing is."""
        said = []
        for name, value, usual in (
            ("loss", loss, self._loss),
            ("gradient norm", gradient_norm, self._norm),
        ):
            score = usual.add(value)
            if score > self.params.sigmas:
                self.counts[name] += 1
                said.append(f"the {name} is {value:.3g}, {score:.0f} robust deviations off")
        return " and ".join(said)

    def _drop_copies(self, prints: NDArray[np.int64], keep: NDArray[np.bool_]) -> None:
        recent, seen, room = self._recent, self._seen, self.params.copies
        for row, (one, sound) in enumerate(zip(prints.tolist(), keep.tolist(), strict=True)):
            if not sound:
                continue
            if one in seen:
                keep[row] = False
                self.counts["duplicate"] += 1
                continue
            if len(recent) == room:
                seen.discard(recent.popleft())
            recent.append(one)
            seen.add(one)

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart: JSON values in a flat dict."""
        return {
            "counts": dict(self.counts),
            "loss": self._loss.state_dict(),
            "gradient_norm": self._norm.state_dict(),
            "recent": list(self._recent),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.counts = Counter(state["counts"])
        self._loss.load_state_dict(state["loss"])
        self._norm.load_state_dict(state["gradient_norm"])
        self._recent = deque(state["recent"])
        self._seen = set(self._recent)


def look_plain(x: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The plain twin of ``kernels.look``: keys of both ends of each row of [B, D]."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32)
    keys = bits ^ ((bits >> 31) & np.int32(2**31 - 1))
    return keys.min(1), keys.max(1)


def _bits(x: Tensor) -> NDArray[np.int32]:
    flat = x.detach().to("cpu", torch.float32).reshape(len(x), -1).contiguous()
    return flat.numpy().view(np.int32)


def _key(value: float) -> int:
    """Place of a float32 in the order of all of them."""
    bits = int(np.array(value, np.float32).view(np.int32))
    return bits if bits >= 0 else bits ^ (2**31 - 1)


_LEAST, _MOST = _key(float(np.finfo(np.float32).min)), _key(float(np.finfo(np.float32).max))
