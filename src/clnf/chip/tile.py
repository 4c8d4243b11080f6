"""One tile by itself: a material, its converters and its bill, without a network around it."""

from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.chip.compensation import trim
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.spice import netlist
from clnf.chip.hosting import Chip, host
from clnf.chip.program import Verify, write_by_pulses, write_once
from clnf.chip.spec import ChipSpec
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.core.inputs import instance, number, whole
from clnf.core.ledger import Ledger
from clnf.core.tensors import dense, not_finite
from clnf.devices.cell import Unknown
from clnf.devices.families import cell
from clnf.devices.materials import Material
from clnf.devices.materials import material as named

__all__ = ["Tile"]

_MOST = 1e15  # of weights, inputs and gradients
_MOST_PULSES = 32767
_MOST_LINES = 1 << 16


@final
class Tile:
    """Cells of one material that hold a matrix of weights.

    Nothing is borrowed: what was not published about the material is left out
    (:attr:`left_out`), or an error where the tile cannot do without it. Supply it with
    ``material(name).supply(...)``.

    Args:
        material: a catalogue row or its name.
        rows: inputs, 1 to 65536.
        cols: outputs, 1 to 65536.
        seed: of every cell and every draw.
        spec: converters, wires, noise and technology, without a look at its materials; one pair
            of cells a weight where it is not given.
        ledger: an existing ledger to charge; None makes one.

    >>> tile = Tile("gst_pcm", 8, 4, seed=1)
    >>> error = tile.program(torch.linspace(-1, 1, 32).view(8, 4))
    >>> tile.mvm(torch.ones(2, 8)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        material: str | Material,
        rows: int,
        cols: int,
        *,
        seed: int,
        spec: ChipSpec | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.rows = whole("rows", rows, least=1, most=_MOST_LINES)
        self.cols = whole("cols", cols, least=1, most=_MOST_LINES)
        seed, spec = whole("seed", seed), ChipSpec(pairs=1) if spec is None else spec
        instance("spec", spec, ChipSpec, "write ChipSpec(pairs=1)")
        material = material if isinstance(material, Material) else named(material)
        plastic = not isinstance(cell(material).response, Unknown)
        own = replace(
            spec,
            core=material,
            plastic=material,
            relatives=False,
            tile_rows=self.rows,
            tile_columns=self.cols,
        )
        self._layer = nn.Linear(self.rows, self.cols, bias=False)
        self._layer.weight.data.zero_()
        module = nn.ModuleDict({"tile": self._layer})
        kind: Any = "plastic" if plastic else "core"
        self.chip: Chip = host(
            module, assign=lambda name, leaf: kind, seed=seed, spec=own, ledger=ledger
        )
        self._analog = self.chip.layers["tile"]

    @property
    def cells(self) -> Crossbar:
        """The cells and their state."""
        return self._analog.tiles[0]

    @property
    def ledger(self) -> Ledger:
        """What everything so far has cost."""
        return self.chip.ledger

    @property
    def left_out(self) -> dict[str, str]:
        """What is not known of the material and so not simulated: part -> why."""
        return self.cells.cell.left_out

    @property
    def weights(self) -> Tensor:
        """Weights as the cells hold them now, [rows, cols]."""
        return self.cells.view(self.chip.clock_s)[0].T

    @property
    def conductance_s(self) -> Tensor:
        """Conductance of every cell now, S, [cells per weight, rows, cols]."""
        return self.cells.conductance_s(self.chip.clock_s).transpose(1, 2)

    @property
    def wear(self) -> Tensor:
        """Pulses of every cell so far, [cells per weight, rows, cols]."""
        return self.cells.wear.view(-1, self.cols, self.rows).transpose(1, 2)

    def program(self, weights: Tensor, *, verify: Verify | None = None) -> float:
        """Write weights into the cells.

        Cells with a law of steps are pulsed until a read shows the weight; all others take the
        published error of programming, once unless ``verify`` asks for more rounds. Output
        converters take their range anew from the next product.

        Args:
            weights: [rows, cols]; full scale becomes the largest magnitude, for stored cells
                the largest of each column.
            verify: accepted error and rounds.

        Returns:
            Root-mean-square error left, over the root-mean-square weight.

        Raises:
            ShapeError: another shape, or values that are not finite or beyond 1e15.
            DeviceLimitError: a value this cannot do without was not published.
        """
        weights = self._fitting("weights", weights, (self.rows, self.cols))
        if verify is not None:
            instance("verify", verify, Verify, "write Verify(rounds=20)")
        target, now_s, bill = weights.T.contiguous(), self.chip.clock_s, self.chip.bill
        if self._analog.plastic:
            self.cells.scale.fill_(max(float(target.abs().max()), 1e-12))
            trim(self.cells, now_s, bill)
            write_by_pulses(self.cells, target, bill, verify or Verify(), now_s=now_s)
        else:
            write_once(self.cells, target, now_s, bill, verify or Verify(rounds=1))
        for adc in self._analog.adcs:
            adc.range = 0.0  # held for other weights; what is read next sets it anew
        self._analog.refresh()
        error = self.weights.T - target
        return float(error.square().mean().sqrt() / target.square().mean().sqrt().clamp(min=1e-12))

    @torch.no_grad()
    def mvm(self, x: Tensor) -> Tensor:
        """Product of inputs and weights, through converters, noise and wires.

        Args:
            x: [batch, rows], in the units of the weights' inputs.

        Returns:
            [batch, cols].

        Raises:
            ShapeError: another shape, or values that are not finite or beyond 1e15.
            DeviceLimitError: the tile was not programmed.
        """
        x = self._fitting("inputs", x, (None, self.rows))
        if not self.cells.is_programmed:
            raise DeviceLimitError("the tile holds nothing yet; call program() first")
        return self._analog(x) if len(x) else x.new_zeros(0, self.cols)

    def pulse(self, pulses: Tensor) -> int:
        """Give signed pulses to weights; positive ones raise them.

        Args:
            pulses: whole numbers, [rows, cols].

        Returns:
            Pulses given.

        Raises:
            DeviceLimitError: the material has no law of steps.
            ShapeError: another shape, or not whole numbers of at most 32767.
        """
        self._must_step()
        given = dense("pulses", pulses)
        shape, kind = (self.rows, self.cols), given.dtype
        good = given.shape == shape and kind != torch.bool
        whole_ones = good and not (kind.is_floating_point and bool((given != given.round()).any()))
        if not whole_ones or not bool(((given >= -_MOST_PULSES) & (given <= _MOST_PULSES)).all()):
            what = f" up to {given.abs().max()}" if given.numel() and kind != torch.bool else ""
            raise ShapeError(
                f"pulses of this tile are whole numbers of at most {_MOST_PULSES}, {[*shape]}, "
                f"got {kind} {[*given.shape]}{what}"
            )
        moved = self.cells.pulse(given.T, now_s=self.chip.clock_s)
        self.chip.bill.pulses(self.cells, *moved)
        self._analog.refresh()
        return moved[0]

    def update(self, x: Tensor, gradient: Tensor, *, lr: float) -> int:
        """Move weights by -lr x^T gradient on average, by random pulse trains.

        Args:
            x: inputs, [batch, rows].
            gradient: of the outputs, [batch, cols].
            lr: learning rate, > 0.

        Returns:
            Pulses given.

        Raises:
            DeviceLimitError: the material has no law of steps.
            ShapeError: shapes do not fit, or values are not finite.
            ConfigError: the learning rate is not above 0.
        """
        self._must_step()
        x = self._fitting("inputs", x, (None, self.rows))
        gradient = self._fitting("gradients", gradient, (len(x), self.cols))
        lr = number("lr", lr)
        if not 0 < lr < float("inf"):
            raise ConfigError(f"lr must be positive and finite, got {lr}; correct it")
        moved = self.cells.pulse_outer(x, gradient, lr, now_s=self.chip.clock_s)
        self.chip.bill.pulses(self.cells, *moved)
        self._analog.refresh()
        return moved[0]

    def netlist(self, x: Tensor, *, plane: int = 0) -> str:
        """The tile with its cells as they are now as a netlist for ngspice.

        Args:
            x: voltages of the row drivers, [rows].
            plane: which of the cells behind each weight; each plane is an array of its own.

        Raises:
            DeviceLimitError: the tile has no wires, or its window is not known.
            ConfigError: there is no such plane.
        """
        wires = self.cells.wires
        plane = whole("plane", plane, least=0, most=self.cells.planes - 1)
        return netlist(self.conductance_s[plane], x, 0.0 if wires is None else wires)

    def set_temperature(self, temperature_k: float | None) -> None:
        """Read at a temperature from now on; see :meth:`clnf.chip.Chip.set_temperature`."""
        self.chip.set_temperature(temperature_k)

    def age(self, seconds: float, *, temperature_k: float | None = None) -> None:
        """Let time pass; see :meth:`clnf.chip.Chip.advance`."""
        self.chip.advance(seconds, temperature_k=temperature_k)

    @staticmethod
    def _fitting(name: str, given: Tensor, shape: tuple[int | None, int]) -> Tensor:
        """A float32 matrix of finite numbers; None stands for any number of rows."""
        found = dense(f"{name} of this tile", given, dtype=torch.float32)
        words = f"[{'batch' if shape[0] is None else shape[0]}, {shape[1]}]"
        if found.dim() != 2 or found.shape[1] != shape[1] or shape[0] not in (None, len(found)):
            raise ShapeError(f"{name} of this tile are {words}, got {[*found.shape]}")
        bad = not_finite(found)
        if bad:
            raise ShapeError(f"{name} of this tile must be finite, got {bad}; mend that value")
        # The negative form costs one pass; squares of larger numbers are sums float32 cannot hold.
        if found.numel() and not float(found.abs().max()) <= _MOST:
            raise ShapeError(
                f"{name} of this tile reach {_MOST:g} at most, as their squares must fit into "
                f"float32, got {float(found.abs().max()):g}; scale them down"
            )
        return found

    def _must_step(self) -> None:
        self.cells.cell.need(self.cells.cell.response)
