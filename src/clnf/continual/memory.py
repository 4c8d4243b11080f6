"""Bounded memories of past samples.

Which sample stays is decided by a hash of (seed, number of the sample), so the content does not
depend on how samples were cut into batches, and nothing random is stored in a snapshot.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clnf.continual.ranks import first_in_rank, herd, integers, words
from clnf.continual.shelves import Ram, Shelf
from clnf.core.errors import ConfigError, DataError, RunError
from clnf.core.records import Batch
from clnf.core.rng import fold

__all__ = ["AbstractMemory", "Balanced", "Reservoir"]

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


class AbstractMemory(ABC):
    """Slots of samples; a subclass says which samples enter and which leave.

    What a model said to a sample may be kept beside it. Outputs of a head that has grown since
    fill new columns; older samples have 0 there.

    Args:
        capacity: M, the largest number of samples kept.
        seed: places the random choices.
        shelf: where samples lie, :mod:`clnf.continual.shelves`; None is memory, uncompressed.
    """

    policy: str
    # Whether outputs say which samples stay, and are not kept.
    _ranks_outputs = False
    # Whether a draw makes classes equally likely, or stored samples.
    _draws_classes = True

    def __init__(self, capacity: int, *, seed: int, shelf: Shelf | None = None) -> None:
        if capacity < 1:
            raise ConfigError(f"a memory needs room for at least one sample, got {capacity}")
        self.capacity = capacity
        self.n_seen = 0
        self.n_writes = 0
        self.n_refused = 0
        self._seed = seed
        self._size = 0
        self._shelf: Shelf = shelf or Ram(capacity)
        self._outputs: Tensor | None = None
        self._cond = torch.zeros(capacity, dtype=torch.int64)
        self._weight = torch.zeros(capacity)
        self._order: tuple[Indices, Indices, Indices] | None = None

    def __len__(self) -> int:
        return self._size

    @abstractmethod
    def _place(self, cond: Indices, outputs: Tensor | None) -> tuple[Indices, Indices]:
        """Which of the offered samples enter, and the slot of each; slots are distinct."""

    @abstractmethod
    def _policy_state(self) -> dict[str, Any]: ...

    @abstractmethod
    def _load_policy_state(self, state: dict[str, Any]) -> None: ...

    @final
    def add(self, batch: Batch, outputs: Tensor | None = None) -> None:
        """Offer samples; the policy decides which stay.

        A sample with a value that is not finite is refused and counted in ``n_refused``: it
        would come back in every later lesson.

        Args:
            batch: the samples.
            outputs: what a model said to each, shape [B, K], or None.

        Raises:
            DataError: the samples have another shape than those kept, or come without outputs
                where others had them.
        """
        self._check_outputs(outputs)
        outputs = None if outputs is None else outputs.detach()
        finite = _finite(batch.x, outputs)
        if finite is not None:
            self.n_refused += len(batch) - int(finite.sum())
            batch = batch.select(finite)
            outputs = None if outputs is None else outputs[finite]
        if not len(batch):
            return
        shape = self._shelf.shape
        if shape is not None and shape != batch.x.shape[1:]:
            raise DataError(
                f"this memory keeps samples of shape {tuple(shape)}, got {tuple(batch.x.shape[1:])}"
            )
        taken, slots = self._place(batch.cond.numpy(force=True), outputs)
        self.n_seen += len(batch)
        if not len(taken):
            return
        index = torch.from_numpy(taken).to(batch.cond.device)
        kept = batch.select(index).to("cpu")
        at = torch.from_numpy(slots)
        if outputs is not None and not self._ranks_outputs:
            self._store_outputs(outputs[index].cpu(), at)
        self._shelf.put(kept.x.detach(), at)
        self._cond[at] = kept.cond
        self._weight[at] = kept.weight
        self._size = max(self._size, int(slots.max()) + 1)
        self.n_writes += len(taken)
        self._order = None

    @final
    def draw(self, n: int, rng: torch.Generator) -> Batch:
        """``n`` samples with replacement, as the policy draws.

        Raises:
            DataError: the memory is empty.
        """
        return self._read(self._draw(n, rng))

    @final
    def draw_outputs(self, n: int, rng: torch.Generator) -> tuple[Batch, Tensor]:
        """The same draw as :meth:`draw`, with the outputs kept beside each sample, [n, K].

        Raises:
            DataError: the memory is empty or keeps no outputs.
        """
        slots = self._draw(n, rng)
        if self._outputs is None:
            raise DataError("this memory keeps no outputs; add samples together with outputs")
        return self._read(slots), self._outputs.index_select(0, slots)

    @final
    def draw_uniform(self, n: int, rng: torch.Generator) -> Batch:
        """``n`` samples with replacement, each stored sample equally likely."""
        self._need_samples()
        return self._read(torch.randint(self._size, (n,), generator=rng))

    @final
    def all(self) -> Batch:
        """Every stored sample, in order of slots."""
        self._need_samples()
        return self._read(torch.arange(self._size))

    @final
    def state_dict(self) -> dict[str, Any]:
        """Samples, counters and what the policy needs."""
        state: dict[str, Any] = {
            "policy": self.policy,
            "capacity": self.capacity,
            "n_seen": self.n_seen,
            "n_writes": self.n_writes,
            "n_refused": self.n_refused,
            **self._policy_state(),
        }
        state |= self._shelf.state_dict(self._size)
        if self._size:
            state["cond"] = self._cond[: self._size].clone()
            state["weight"] = self._weight[: self._size].clone()
        if self._outputs is not None:
            state["outputs"] = self._outputs[: self._size].clone()
        return state

    @final
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state is of another policy or capacity.
        """
        if (state["policy"], state["capacity"]) != (self.policy, self.capacity):
            raise RunError(
                f"the saved memory is {state['policy']} of {state['capacity']}, "
                f"this one is {self.policy} of {self.capacity}"
            )
        self.n_seen = state["n_seen"]
        self.n_writes = state["n_writes"]
        self.n_refused = state["n_refused"]
        self._load_policy_state(state)
        self._order, self._outputs = None, None
        self._size = len(state["cond"]) if "cond" in state else 0
        self._shelf.load_state_dict(state, self._size)
        if self._size:
            self._cond[: self._size] = state["cond"]
            self._weight[: self._size] = state["weight"]
        if "outputs" in state:
            self._store_outputs(state["outputs"], torch.arange(self._size))

    def _draw(self, n: int, rng: torch.Generator) -> Tensor:
        self._need_samples()
        if not self._draws_classes:
            return torch.randint(self._size, (n,), generator=rng)
        order, first, count = self._by_class()
        # One number chooses the class by its whole part, the sample by its fraction.
        place = torch.rand(n, generator=rng, dtype=torch.float64).numpy() * len(first)
        chosen = place.astype(np.int64)
        within = ((place - chosen) * count[chosen]).astype(np.int64)
        return torch.from_numpy(order[first[chosen] + within])

    def _check_outputs(self, outputs: Tensor | None) -> None:
        if self._ranks_outputs:
            if outputs is None:
                raise DataError("herding ranks by features; add samples together with them")
        elif len(self) and (outputs is None) != (self._outputs is None):
            raise DataError("a memory keeps outputs with all of its samples or with none")

    def _store_outputs(self, outputs: Tensor, at: Tensor) -> None:
        kept = self._outputs
        wide = outputs.shape[1:]
        if kept is None or (kept.shape[1:] != wide and kept.shape[1] < wide[0]):
            self._outputs = outputs.new_zeros((self.capacity, *wide))
            if kept is not None:
                self._outputs[:, : kept.shape[1]] = kept
        assert self._outputs is not None
        if outputs.shape[1] < self._outputs.shape[1]:
            raise DataError(
                f"this memory keeps {self._outputs.shape[1]} outputs a sample, got {wide[0]}; "
                "a head may grow but not shrink"
            )
        self._outputs[at] = outputs

    def _read(self, slots: Tensor) -> Batch:
        return Batch(
            x=self._shelf.get(slots),
            cond=self._cond.index_select(0, slots),
            weight=self._weight.index_select(0, slots),
        )

    def _need_samples(self) -> None:
        if not self._size:
            raise DataError("nothing to draw: the memory is empty")

    def _by_class(self) -> tuple[Indices, Indices, Indices]:
        """Slots sorted by class, and the first place and length of each class in that order."""
        if self._order is None:
            cond = self._cond[: self._size].numpy()
            order = np.argsort(cond, kind="stable")
            ordered = cond[order]
            starts = np.empty(len(ordered), dtype=bool)
            starts[:1], starts[1:] = True, ordered[1:] != ordered[:-1]
            first = np.flatnonzero(starts)
            self._order = (order, first, np.diff(first, append=self._size))
        return self._order


@final
class Reservoir(AbstractMemory):
    """Keeps a uniform sample of all that was offered: the n-th is stored with chance M/n.

    Expected writes over n samples are M + M (H_n - H_M), about M (1 + ln(n/M)): the number for
    a bill of wear. Frequent classes crowd out rare ones; :class:`Balanced` does not.

    It draws as it keeps, each stored sample equally likely, as the published methods do. With
    ``by_class`` a draw makes each class equally likely. Where the lesson under way is in the
    memory too, that shows its few new samples more often: ER-ACE gains by it, DER loses.

    Source: Vitter 1985, Algorithm R.
    """

    policy = "reservoir"

    def __init__(
        self, capacity: int, *, seed: int, shelf: Shelf | None = None, by_class: bool = False
    ) -> None:
        super().__init__(capacity, seed=seed, shelf=shelf)
        self._draws_classes = by_class
        self._key = fold(seed, "reservoir")

    def _place(self, cond: Indices, outputs: Tensor | None) -> tuple[Indices, Indices]:
        number = np.arange(self.n_seen, self.n_seen + len(cond), dtype=np.int64)
        slot = integers(self._key, number, number + 1)
        if self.n_seen < self.capacity:
            slot = np.where(number < self.capacity, number, slot)
        entering = np.flatnonzero(slot < self.capacity)
        if len(entering) < 2:
            return entering, slot[entering]
        # Where one slot is hit twice in a batch, the later sample replaces the earlier.
        slots, last = np.unique(slot[entering][::-1], return_index=True)
        return entering[::-1][last].copy(), slots

    def _policy_state(self) -> dict[str, Any]:
        return {}

    def _load_policy_state(self, state: dict[str, Any]) -> None:
        pass


@final
class Balanced(AbstractMemory):
    """Keeps as many samples of every class as fit, each class a uniform sample of its own.

    A draw makes each class equally likely.

    Each sample has a random priority; its rank within its class and then its class order all
    samples, and the first M stay. The n_c samples of class c so keep min(n_c, L) or one more,
    with one water level L for all classes. The content is the same for any cut into batches.

    With ``herding`` the rank is that of iCaRL instead: outputs given to :meth:`add` are features,
    used and not kept, and the first of each class have the mean nearest to the class's. It ranks
    what is offered together, so offer a lesson whole.

    Source: the aim is that of Chrysakis & Moens 2020 (class-balancing reservoir); the bottom-k
    form after Cohen & Kaplan 2007 replaces their sequential eviction.
    """

    policy = "balanced"

    def __init__(
        self, capacity: int, *, seed: int, shelf: Shelf | None = None, herding: bool = False
    ) -> None:
        super().__init__(capacity, seed=seed, shelf=shelf)
        self._herding = herding
        if herding:
            self.policy, self._ranks_outputs = "herding", True
        self._offered: dict[int, int] = {}
        self._priority = np.zeros(capacity, dtype=np.uint64)

    def _place(self, cond: Indices, outputs: Tensor | None) -> tuple[Indices, Indices]:
        priority = self._priorities(cond, outputs)
        all_cond = np.concatenate([self._cond[: self._size].numpy(), cond])
        all_priority = np.concatenate([self._priority[: self._size], priority])
        stays = np.zeros(len(all_cond), dtype=bool)
        stays[first_in_rank(all_cond, all_priority)[: self.capacity]] = True
        taken = np.flatnonzero(stays[self._size :])
        free = np.concatenate(
            [np.flatnonzero(~stays[: self._size]), np.arange(self._size, self.capacity)]
        )
        slots = free[: len(taken)]
        self._priority[slots] = priority[taken]
        return taken, slots

    def _priorities(self, cond: Indices, outputs: Tensor | None) -> Words:
        priority = np.empty(len(cond), dtype=np.uint64)
        for c in np.unique(cond).tolist():
            where = np.flatnonzero(cond == c)
            before = self._offered.get(c, 0)
            self._offered[c] = before + len(where)
            if self._herding:
                assert outputs is not None
                rank = herd(outputs[torch.from_numpy(where).to(outputs.device)], self.capacity)
                priority[where] = rank.astype(np.uint64)
            else:
                number = np.arange(before, before + len(where), dtype=np.int64)
                priority[where] = words(fold(self._seed, "balanced", c), number)
        return priority

    def _policy_state(self) -> dict[str, Any]:
        # int64 because not every format of tensors has unsigned words; the bits are the same.
        return {
            "offered": [[c, n] for c, n in self._offered.items()],
            "priority": torch.from_numpy(self._priority[: self._size].view(np.int64).copy()),
        }

    def _load_policy_state(self, state: dict[str, Any]) -> None:
        self._offered = {int(c): int(n) for c, n in state["offered"]}
        priority = state["priority"].numpy().view(np.uint64)
        self._priority[: len(priority)] = priority


def _finite(x: Tensor, outputs: Tensor | None) -> Tensor | None:
    """Which samples are finite; None where all are, which one sum mostly tells."""
    parts = [p for p in (x, outputs) if p is not None and p.is_floating_point() and p.numel()]
    if all(math.isfinite(float(part.sum())) for part in parts):
        return None
    return torch.stack([part.flatten(1).isfinite().all(1) for part in parts]).all(0)
