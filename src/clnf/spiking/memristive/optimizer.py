"""Gradients become pulses on cells; what is no cell takes a plain step.

    owed   chi <- chi - lr g; a cell gets trunc(chi / step) pulses and chi keeps the rest
    drawn  floor(|lr g| / step + u) pulses, u uniform in [0, 1): right on average, nothing is kept

The first keeps one digital number a weight; the second is what a cell alone can do. Under a gate on
worth those of the first wait that are worth too little, and stay owed; a running gradient is then a
second number a weight,

    m <- running m + (1 - running) g

Source: Nandakumar et al., Frontiers in Neuroscience 14, 406 (2020) (owed); Gokmen & Vlasov,
Frontiers in Neuroscience 10, 333 (2016) (drawn, there by coincidences of bits).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, DataError
from clnf.core.inputs import check_fields, instance, number, shown, whole
from clnf.core.ledger import Ledger
from clnf.core.units import quantity
from clnf.devices.cell import Cell
from clnf.devices.draws import hash_key
from clnf.devices.reference import uniform
from clnf.devices.worth import offer
from clnf.spiking.memristive.cells import CellArray, Lay
from clnf.spiking.memristive.gate import Gate

__all__ = ["PulseSGD", "PulseUpdate", "laid"]


@final
@dataclass(frozen=True, kw_only=True)
class PulseUpdate:
    """How gradients become pulses.

    Attributes:
        mode: see the head of this module.
        least: owed pulses at which a cell is written; with more, some cancel out first.
        longest: most pulses of a cell in a step.
        running: what a step keeps of the running gradient that says what pulses are worth.
    """

    mode: Literal["owed", "drawn"] = "owed"
    least: float = quantity("1", 1.0)
    longest: int = quantity("1", 31)
    running: float = quantity("1", 0.9)

    def __post_init__(self) -> None:
        check_fields(self)
        whole("longest", self.longest, least=1, most=32767)
        if self.mode not in ("owed", "drawn") or not 1.0 <= self.least < float("inf"):
            raise ConfigError(
                "pulses are owed or drawn, and written from 1 or more on, got "
                f"{self.mode!r} and {self.least}"
            )
        if self.mode == "drawn" and self.least != 1.0:
            raise ConfigError(f"drawn pulses are owed to nobody, got least {self.least}; leave it")
        if not 0 <= self.running < 1:
            raise ConfigError(f"a running gradient keeps from 0 to below 1, got {self.running}")


@final
class PulseSGD(torch.optim.Optimizer):
    """Gradient descent on cells.

    Cells are not in ``state_dict()``: keep that of their arrays beside it.

    Args:
        parameters: those that learn.
        arrays: cells behind some of them; :func:`laid` makes these.
        lr: learning rate, in volts of weight for each unit of gradient.
        rule: how gradients become pulses.
        gate: told how many writes each step took; one on worth chooses among those that are owed.

    Raises:
        ConfigError: a rate that is not above 0, no parameters, or parts of another kind.

    >>> from clnf.devices.families import cell
    >>> from clnf.devices.materials import material
    >>> row = material("ecram_li").supply(conductance_min_s=1e-6, conductance_max_s=1e-5)
    >>> one = cell(row.supply(write_voltage_v=1.0, write_time_s=1e-6))
    >>> net = nn.Linear(3, 2, bias=False)
    >>> arrays = laid(net, one, seed=1)
    >>> optimizer = PulseSGD(net.parameters(), arrays, lr=0.1)
    >>> net(torch.ones(1, 3)).sum().backward()
    >>> before = net.weight.detach().clone()
    >>> optimizer.step(); bool((net.weight < before).all()), optimizer.pulses > 0
    (True, True)
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        arrays: Mapping[nn.Parameter, CellArray],
        *,
        lr: float,
        rule: PulseUpdate | None = None,
        gate: Gate | None = None,
    ) -> None:
        if not 0 < number("a learning rate", lr) < float("inf"):
            raise ConfigError(f"a learning rate is above 0, got {lr}; correct it")
        if not isinstance(arrays, Mapping):
            raise ConfigError(
                f"arrays are cells by parameter, got {shown(arrays)}; give laid(net, cell, seed=1)"
            )
        if gate is not None:
            instance("gate", gate, Gate)
        learning = list(parameters)
        if not learning:
            raise ConfigError("an optimizer needs parameters, got none; give net.parameters()")
        super().__init__(learning, {"lr": lr, "pulses": 0})
        self.arrays, self.gate, self.rule = dict(arrays), gate, rule or PulseUpdate()
        self._chosen = gate is not None and gate.rule.on == "worth"
        if self._chosen and self.rule.mode != "owed":
            raise ConfigError(
                f"a gate on worth chooses among owed pulses, which {self.rule.mode!r} has not; "
                "take the mode 'owed', or put the gate on samples"
            )

    @property
    def pulses(self) -> int:
        """Given so far."""
        return int(self.param_groups[0]["pulses"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Pulse what has a gradient.

        Raises:
            DataError: a gradient is not finite; no cell was pulsed and nothing is owed for it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for one in group["params"]:
                if one.grad is not None and not bool(one.grad.isfinite().all()):
                    raise DataError(
                        f"a gradient of shape {tuple(one.shape)} has values that are not finite; "
                        "no cell was pulsed: leave out the samples that gave it"
                    )
        dues: dict[nn.Parameter, Tensor] = {}
        rate = 1.0 if self.gate is None else float(self.gate.rate)
        for group in self.param_groups:
            lr = float(group["lr"])
            for one in group["params"]:
                if one.grad is not None and one in self.arrays:
                    dues[one] = self._due(one, lr * rate)
                elif one.grad is not None:
                    one.add_(one.grad, alpha=-lr)
        if self._chosen and dues:
            self._choose(dues)
        given = sum(self._give(one, due) for one, due in dues.items())
        self.param_groups[0]["pulses"] += given
        if self.gate is not None:
            self.gate.wrote(given)
        return loss

    def _due(self, one: nn.Parameter, lr: float) -> Tensor:
        """Signed whole pulses that a gradient calls for."""
        array, state, rule = self.arrays[one], self.state[one], self.rule
        assert one.grad is not None
        if rule.mode == "owed":
            if "owed" not in state:
                state["owed"] = torch.zeros_like(one)
            owed: Tensor = state["owed"].add_(one.grad, alpha=-lr)
            due = (owed / array.weight_step).trunc_().clamp_(-rule.longest, rule.longest)
            return due.mul_(owed.abs() >= rule.least * array.weight_step)
        wanted = one.grad * (-lr / array.weight_step)
        key = hash_key(array.seed, "rounding", int(array.done))
        draws = uniform(torch.arange(wanted.numel()), int(key[0]), int(key[1]))
        due = (wanted.abs() + draws.view_as(wanted)).floor_().clamp_(max=rule.longest)
        return due * wanted.sign()

    def _choose(self, dues: Mapping[nn.Parameter, Tensor]) -> None:
        """Set to 0 what the gate does not find worth a write."""
        assert self.gate is not None
        offers = []
        # One cell that is owed more than a step may take would be in the way of all others.
        most = max(int(min(self.gate.left, self.rule.longest)), 1)
        for one, due in dues.items():
            due.clamp_(-most, most)
            state = self.state[one]
            assert one.grad is not None
            if "mean" not in state:
                state["mean"] = torch.zeros_like(one)
            mean: Tensor = state["mean"].lerp_(one.grad, 1 - self.rule.running)
            offers.append(offer(due, mean, self.arrays[one].weight_step))
        least = self.gate.affordable(offers)
        for each in offers:
            each.due.mul_(each.worth >= least)

    def _give(self, one: nn.Parameter, due: Tensor) -> int:
        array = self.arrays[one]
        if self.rule.mode == "owed":
            self.state[one]["owed"].sub_(due, alpha=array.weight_step)
        given = array.pulse(due)
        if given:
            one.copy_(array.weight())
        return given


def laid(
    net: nn.Module,
    cell: Cell,
    *,
    seed: int,
    write: bool = True,
    lay: Lay | None = None,
    ledger: Ledger | None = None,
) -> dict[nn.Parameter, CellArray]:
    """Cells behind every matrix of a net that learns; its weights become what these read.

    Args:
        net: whose parameters with two axes get cells.
        cell: of all of them.
        seed: of spreads and noise; each matrix folds its own name into it.
        write: whether the net's weights are written to the cells first.
        lay: how weights lie on cells.
        ledger: what is charged; None makes one for all of them.

    Returns:
        Cells by parameter.

    Raises:
        ConfigError: there is no matrix.
    """
    instance("net", net, nn.Module, "give a torch module")
    made: dict[nn.Parameter, CellArray] = {}
    ledger = ledger or Ledger()
    for name, one in net.named_parameters():
        if one.dim() != 2 or not one.requires_grad:
            continue
        own = int(hash_key(seed, "cells", name)[0])
        rows, columns = one.shape
        array = CellArray((rows, columns), cell, seed=own, name=name, lay=lay, ledger=ledger)
        if write:
            array.write(one)
        with torch.no_grad():
            one.copy_(array.weight())
        made[one] = array
    if not made:
        raise ConfigError("a net needs a matrix that learns, and has none; give another")
    return made
