"""Which way gradients become pulses, and its numbers."""

from dataclasses import dataclass
from math import inf
from typing import Literal, final

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields
from clnf.core.units import quantity
from clnf.devices.materials import Material

__all__ = ["TRANSFERRING", "PulseRule", "Transfer"]

# Modes that gather gradients on fast cells first.
TRANSFERRING = ("tiki_taka", "tiki_taka_2", "chopped", "agad")


@final
@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How fast cells A gather gradients and hand them on to the slow cells C.

    Attributes:
        every: vectors between two transfers of one row.
        fast_lr: learning rate of A in weight units; None chooses it so that the largest product
            of a vector makes ``fast_pulses`` pulses, by running means of the largest input and
            gradient.
        fast_pulses: see there.
        gamma: share of A in the weight that is read, C + gamma A.
        chop: chance that a row's sign on A flips after its transfer (modes chopped and agad).
        chop_columns: chance that a column's sign flips after a round of all rows.
        memory: weight of the newest read in the running mean that becomes the reference (agad).
        shift_cycles: pulses up and down that bring A to its symmetry points before it is used,
            after which the reference cells are written to what A then reads (all but
            agad); None takes twice the states of a cell, at most 1000, and none where
            cells start at their symmetry points.
        material: catalogue row of the cells of A, or its name; None for the plastic ones.
    """

    every: int = quantity("1", 4)
    fast_lr: float | None = quantity("1", None)
    fast_pulses: float = quantity("1", 1.0)
    gamma: float = quantity("1", 0.0)
    chop: float = quantity("1", 0.1)
    chop_columns: float = quantity("1", 0.0)
    memory: float = quantity("1", 0.5)
    shift_cycles: int | None = quantity("1", None)
    material: str | Material | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if (
            not (isinstance(self.every, int) and self.every >= 1)
            or not 0 < self.fast_pulses < inf
            or not (self.fast_lr is None or 0 < self.fast_lr < inf)
        ):
            raise ConfigError(
                "a transfer needs every >= 1, fast_pulses and fast_lr above 0, got "
                f"{self.every}, {self.fast_pulses}, {self.fast_lr}"
            )
        shares = self.chop, self.chop_columns, self.memory
        if (
            not all(0 <= share <= 1 for share in shares)
            or self.memory == 0
            or not 0 <= self.gamma < inf
        ):
            raise ConfigError(
                "chop, chop_columns and memory must be in [0, 1], memory above 0 and gamma at "
                f"least 0, got {shares} and {self.gamma}"
            )


@final
@dataclass(frozen=True, kw_only=True)
class PulseRule:
    """How gradients become pulses.

    All modes but the mixed one work straight from the layer's inputs and output gradients. They
    have no digital accumulator of gradients, and in training mode no dense gradient of the weights
    is worked out: their ``.grad`` stays None. In evaluation mode it is there to be measured. What
    changes it does not reach the cells; use a fence there. ``zero_grad()`` drops the vectors of
    earlier backward passes as it drops gradients.

    Attributes:
        mode: ``mixed``: a digital accumulator pays out whole pulses. ``stochastic`` and
            ``deterministic``: outer products as coincidences of random, or evenly spread, bits.
            ``tiki_taka`` (v1), ``tiki_taka_2``, ``chopped`` and ``agad``: gradients gather on fast
            cells, see :mod:`clnf.chip.updates.tiki_taka`.
        precondition: of the mixed mode: none, momentum, or Adam's scaling (Kingma & Ba 2015).
        beta1: memory of the mean gradient.
        beta2: memory of its square.
        epsilon: added to the root of the square.
        threshold: pulses are paid out once what is owed reaches this many mean pulses, >= 1.
        longest: largest pulse train per cell and step.
        digital_lr: learning rate of digital parameters (Adam without decay); None as plastic.
        together: vectors of a batch are one operation; False takes them one after the other.
        transfer: fast cells, for the modes that have them.
    """

    mode: Literal[
        "mixed", "stochastic", "deterministic", "tiki_taka", "tiki_taka_2", "chopped", "agad"
    ] = "mixed"
    precondition: Literal["none", "momentum", "adam"] = "adam"
    beta1: float = quantity("1", 0.9)
    beta2: float = quantity("1", 0.999)
    epsilon: float = quantity("1", 1e-8)
    threshold: float = quantity("1", 1.0)
    longest: int = quantity("1", 31)
    digital_lr: float | None = quantity("1", None)
    together: bool = True
    transfer: Transfer = Transfer()

    def __post_init__(self) -> None:
        check_fields(self)
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.threshold >= 1):
            raise ConfigError(
                "betas must be in [0, 1) and the threshold at least 1, got "
                f"{self.beta1}, {self.beta2}, {self.threshold}"
            )
        if self.precondition not in ("none", "momentum", "adam"):
            raise ConfigError(f"precondition is none, momentum or adam, got {self.precondition!r}")
        rate = self.digital_lr
        if not (0 <= self.epsilon < inf and 1 <= self.longest <= 32767):
            raise ConfigError(
                "epsilon is at least 0 and finite and longest 1 to 32767, got "
                f"{self.epsilon} and {self.longest}"
            )
        if rate is not None and not 0 < rate < inf:
            raise ConfigError(f"the digital learning rate must be positive, got {rate}")
        if self.mode not in ("mixed", "stochastic", "deterministic", *TRANSFERRING):
            raise ConfigError(f"no such mode of pulses: {self.mode!r}; see PulseRule")
