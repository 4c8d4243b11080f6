"""A stream of named modules that can be added, muted and weighed.

Nothing is changed in place: every change gives a new set of modules, so what a run was made of
can be kept and compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from clnf.core.errors import ConfigError
from clnf.core.inputs import number, shown, whole
from clnf.core.records import Experience, Kind, Source
from clnf.core.rng import numpy_rng
from clnf.core.units import quantity
from clnf.streams.rights import RIGHTS
from clnf.streams.sources import JoinSource, SubsetSource
from clnf.streams.stream import Stream

__all__ = ["Modules", "StreamModule"]


@final
@dataclass(frozen=True, kw_only=True)
class StreamModule:
    """One named part of a stream.

    Attributes:
        name: unique among the modules.
        data: its samples, at least one.
        kind: core knowledge, something new, or feedback; see ``rights``.
        concept: what it is about; its name where empty.
        weight: its part in a blend, and the priority of its lesson, >= 0.
        muted: whether it is left out.
        provenance: where it came from.
    """

    name: str
    data: Source
    kind: Kind = "new"
    concept: str = ""
    weight: float = quantity("1", 1.0)
    muted: bool = False
    provenance: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in RIGHTS:
            raise ConfigError(
                f"module {self.name!r} needs a kind, one of {', '.join(RIGHTS)}, got "
                f"{shown(self.kind)}; name one"
            )
        rights = RIGHTS[self.kind]
        number(f"the weight of module {self.name!r}", self.weight, nan=True)
        if not len(self.data) or not 0.0 <= self.weight < float("inf"):
            raise ConfigError(
                f"module {self.name!r} needs samples and a finite weight of at least 0, got "
                f"{len(self.data)} samples and {self.weight}"
            )
        if not rights.removable and (self.muted or self.weight < 1.0):
            raise ConfigError(
                f"module {self.name!r} is {self.kind} knowledge and can be neither muted nor "
                f"weighed below 1, got {'muted' if self.muted else self.weight}"
            )


@final
class Modules:
    """Modules in the order they were added.

    Args:
        modules: with unique names.

    Raises:
        ConfigError: two modules have the same name.

    >>> import torch
    >>> from clnf.streams.sources import ArraySource
    >>> new = StreamModule(name="news", data=ArraySource(torch.zeros(3, 2), 0))
    >>> Modules([new]).mute("news").heard
    ()
    """

    def __init__(self, modules: Sequence[StreamModule] = ()) -> None:
        names = [module.name for module in modules]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"modules need unique names, {twice[0]!r} comes twice")
        self.modules = tuple(modules)

    def __len__(self) -> int:
        return len(self.modules)

    def __getitem__(self, name: str) -> StreamModule:
        for module in self.modules:
            if module.name == name:
                return module
        known = ", ".join(repr(module.name) for module in self.modules) or "none"
        raise ConfigError(f"there is no module {name!r}; there are {known}")

    @property
    def heard(self) -> tuple[str, ...]:
        """Names of the modules that take part: neither muted nor of weight 0."""
        return tuple(m.name for m in self.modules if not m.muted and m.weight > 0.0)

    def add(self, module: StreamModule) -> "Modules":
        """With one module more."""
        return Modules([*self.modules, module])

    def remove(self, name: str) -> "Modules":
        """Without one; core knowledge stays.

        Raises:
            ConfigError: no such module, or one of core knowledge.
        """
        gone = self[name]
        if not RIGHTS[gone.kind].removable:
            raise ConfigError(f"module {name!r} is {gone.kind} knowledge and cannot be removed")
        return Modules([module for module in self.modules if module is not gone])

    def mute(self, name: str, *, muted: bool = True) -> "Modules":
        """With one module left out, or heard again."""
        return self._changed(replace(self[name], muted=muted))

    def weigh(self, name: str, weight: float) -> "Modules":
        """With another weight for one module."""
        return self._changed(replace(self[name], weight=weight))

    def lessons(self) -> Stream:
        """One lesson a module, in order; weights become priorities.

        Raises:
            ConfigError: nothing is heard.
        """
        return Stream(
            [
                Experience(
                    name=module.name,
                    concept=module.concept or module.name,
                    data=module.data,
                    kind=module.kind,
                    priority=module.weight,
                    provenance=module.provenance,
                )
                for module in self._heard()
            ]
        )

    def shares(self) -> dict[str, float]:
        """Share of each heard module in a blend: by weight, no kind above its right.

        What feedback may not have goes to the others, in proportion.

        Raises:
            ConfigError: nothing but feedback is heard.
        """
        heard = self._heard()
        shares = {module.name: 0.0 for module in heard}
        rest, open_ = 1.0, heard
        for kind, rights in RIGHTS.items():
            mine = [module for module in heard if module.kind == kind]
            total = sum(module.weight for module in heard)
            if sum(module.weight for module in mine) <= rights.share * total:
                continue
            bound = sum(module.weight for module in mine)
            shares |= {module.name: rights.share * module.weight / bound for module in mine}
            rest -= rights.share
            open_ = [module for module in open_ if module.kind != kind]
        if not open_ and rest > 1e-12:
            raise ConfigError(
                f"a blend of feedback alone is not taught ({', '.join(shares)}); "
                "add core knowledge or something new, or teach it as a lesson"
            )
        total = sum(module.weight for module in open_)
        return shares | {module.name: rest * module.weight / total for module in open_}

    def blend(self, name: str, samples: int, *, seed: int) -> Experience:
        """One experience drawn from all that is heard, by :meth:`shares`.

        Numbers of samples are the shares rounded so that they add up. A module's samples come in
        shuffled passes, so none comes twice before all came once. What comes depends on (seed,
        name, module) alone: muting one module does not change which samples the others give first.

        Args:
            name: of the experience; another name draws other samples.
            samples: in all, >= 1.
            seed: of the draws.

        Raises:
            ConfigError: nothing is heard, nothing but feedback, or no samples are asked for.
        """
        samples = whole("samples of a blend", samples, least=1)
        shares = self.shares()
        counts = _apportion(list(shares.values()), samples)
        parts = []
        for module, count in zip(self._heard(), counts, strict=True):
            rng, size = numpy_rng(seed, "blend", name, module.name), len(module.data)
            passes = [rng.permutation(size) for _ in range(-(-count // size))]
            rows = np.concatenate([np.empty(0, np.int64), *passes])[:count]
            parts.append(SubsetSource(module.data, rows))
        order = numpy_rng(seed, "blend", name).permutation(samples)
        told = ", ".join(f"{count} {one}" for one, count in zip(shares, counts, strict=True))
        return Experience(
            name=name,
            concept=name,
            data=SubsetSource(JoinSource(parts), torch.from_numpy(order)),
            provenance=f"blend: {told}",
        )

    def _changed(self, new: StreamModule) -> "Modules":
        return Modules([new if module.name == new.name else module for module in self.modules])

    def _heard(self) -> list[StreamModule]:
        heard = [self[name] for name in self.heard]
        if not heard:
            raise ConfigError("no module is heard; add one, or unmute one of those there are")
        return heard


def _apportion(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to shares that add up to the total (largest remainder)."""
    exact = np.array(shares) * total
    counts = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return [int(count) for count in counts]
