"""Put a module's layers on tiles, in place, and keep the handle to the chip under them."""

from collections.abc import Callable, Collection, Iterable, Iterator
from math import inf
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.chip.circuit import Circuit
from clnf.chip.compensation import compensate, trim
from clnf.chip.convolutions import AnalogConv, AnalogTransposedConv
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.together import solve_together
from clnf.chip.layers import AnalogLinear
from clnf.chip.program import write_all, write_by_pulses
from clnf.chip.spec import ChipSpec
from clnf.chip.stored import below, check_state, left_out
from clnf.chip.updates import PulseOptimizer, PulseRule
from clnf.chip.wear import TileWear, worn
from clnf.core.errors import ConfigError
from clnf.core.inputs import instance, number, shown, whole
from clnf.core.ledger import Ledger
from clnf.core.tensors import shares
from clnf.devices.temperature import kelvin

__all__ = ["Assign", "Chip", "host"]

_KINDS: dict[type[nn.Module], Callable[..., AbstractAnalog]] = {
    nn.Linear: AnalogLinear,
    nn.Conv1d: AnalogConv,
    nn.Conv2d: AnalogConv,
    nn.Conv3d: AnalogConv,
    nn.ConvTranspose1d: AnalogTransposedConv,
    nn.ConvTranspose2d: AnalogTransposedConv,
    nn.ConvTranspose3d: AnalogTransposedConv,
}

Assign = Callable[[str, nn.Module], Literal["core", "plastic"] | None]


@final
class Chip:
    """The hardware under a hosted module. Made by :func:`host`.

    Attributes:
        layers: by name in the module.
        circuit: what they share.
        bill: what writes and calibrations are charged with.
    """

    def __init__(self, layers: dict[str, AbstractAnalog], circuit: Circuit) -> None:
        self.layers = layers
        self.circuit = circuit
        self.bill = Bill(circuit.ledger, circuit.costs)

    @property
    def ledger(self) -> Ledger:
        """What everything so far has cost."""
        return self.circuit.ledger

    @property
    def spec(self) -> ChipSpec:
        """What kind of chip this is."""
        return self.circuit.spec

    @property
    def clock_s(self) -> float:
        """Simulated time since the chip was made."""
        return self.circuit.now_s

    @property
    def temperature_k(self) -> float | None:
        """Of reads, of the first tile where tiles differ; None for that of each measurement."""
        return next(iter(self.layers.values())).tiles[0].temperature_k

    @property
    def tiles(self) -> dict[str, Crossbar]:
        """All tiles by name, and after each the fast cells beside it."""
        found: dict[str, Crossbar] = {}
        for layer in self.layers.values():
            found |= {tile.name: tile for tile in _cells(layer)}
        return found

    @property
    def blank(self) -> frozenset[str]:
        """Names of the tiles whose cells are as they were made, see :func:`host`."""
        waiting = (layer for layer in self.layers.values() if layer.blank)
        return frozenset(tile.name for layer in waiting for tile in layer.tiles)

    def program_core(self) -> dict[str, float]:
        """Write the weights now in the module's core layers into their cells.

        Returns:
            Relative root-mean-square weight error per layer.
        """
        errors: dict[str, float] = {}
        for name, layer in self.layers.items():
            if layer.plastic:
                continue
            flat = layer.matrix(layer.weight.detach()).clone()
            targets = [flat[tile.columns, tile.rows] for tile in layer.tiles]
            write_all(layer.tiles, targets, self.clock_s, self.bill, self.spec.verify)
            layer.refresh()
            left = (layer.matrix(layer.weight.detach()) - flat).square().mean().sqrt()
            errors[name] = float(left / flat.square().mean().sqrt().clamp(min=1e-12))
        return errors

    def program_plastic(self, names: Collection[str] | None = None) -> None:
        """Bring plastic cells to the weights now in the module, by write-verify pulses.

        Args:
            names: of the layers to write; None for all that learn.

        Raises:
            ConfigError: no such layer learns.
        """
        learn = {name: layer for name, layer in self.layers.items() if layer.plastic}
        if unknown := [name for name in names or () if name not in learn]:
            raise ConfigError(
                f"no layer {', '.join(map(shown, unknown))} learns on this chip; it has "
                f"{', '.join(learn) or 'none'}"
            )
        asked = [layer for name, layer in learn.items() if names is None or name in names]
        solve_together((tile for layer in asked for tile in layer.tiles), self.clock_s)
        for layer in asked:
            flat = layer.matrix(layer.weight.detach())
            for tile in layer.tiles:
                target = flat[tile.columns, tile.rows]
                trim(tile, self.clock_s, self.bill)
                write_by_pulses(tile, target, self.bill, self.spec.verify, now_s=self.clock_s)
            layer.waiting = False
            layer.refresh()

    def optimizer(
        self, params: Iterable[nn.Parameter], *, lr: float, rule: PulseRule | None = None
    ) -> PulseOptimizer:
        """An optimizer that turns plastic gradients into pulses, others into plain steps.

        Args:
            params: trainable parameters; those of plastic layers are found among them.
            lr: learning rate in weight units.
            rule: how gradients become pulses.

        Raises:
            ConfigError: nothing among ``params`` can be trained, or ``lr`` is not above 0.
        """
        number("lr", lr)
        if isinstance(params, Tensor) or not isinstance(params, Iterable):
            raise ConfigError(f"params are a list, got {shown(params)}; give module.parameters()")
        tensors = [instance("a parameter", p, Tensor, "give module.parameters()") for p in params]
        wanted = [cast(nn.Parameter, p) for p in tensors if p.requires_grad]
        if not wanted:
            raise ConfigError(
                "an optimizer needs a parameter that requires a gradient, got none; give "
                "module.parameters()"
            )
        rule = PulseRule() if rule is None else instance("rule", rule, PulseRule)
        owners = {id(layer.weight): layer for layer in self.layers.values() if layer.plastic}
        plastic = [owners[id(p)] for p in wanted if id(p) in owners]
        digital = [p for p in wanted if id(p) not in owners]
        return PulseOptimizer(plastic, digital, lr=lr, rule=rule, bill=self.bill)

    def noise(self, on: bool) -> None:
        """Switch read noise."""
        self.circuit.noisy = instance("on", on, bool) and self.spec.read_noise != "off"

    def converters(self, on: bool) -> None:
        """Switch quantisation."""
        self.circuit.converting = instance("on", on, bool)

    def calibrating(self, on: bool) -> None:
        """While on, converters widen their ranges to whatever passes through the module."""
        self.circuit.calibrating = instance("on", on, bool)

    def advance(self, seconds: float, *, temperature_k: float | None = None) -> None:
        """Let simulated time pass: cells drift, and with a temperature also lose their states.

        Args:
            seconds: >= 0.
            temperature_k: of the cells meanwhile; None leaves retention out.

        Raises:
            ConfigError: a time below 0 or without an end.
            DeviceLimitError: no temperature, or retention at that one is not known; the sentence
                says why.
        """
        if not 0 <= number("seconds", seconds) < float("inf"):
            raise ConfigError(f"seconds must be at least 0 and finite, got {seconds}; correct it")
        if temperature_k is not None:
            kelvin(temperature_k)
        # All of them first: a tile whose retention is unknown must not leave the others aged.
        held = [tile for one in self.layers.values() if not one.blank for tile in _cells(one)]
        warm = held if temperature_k is not None else ()
        kept = [
            (tile, tile.cell.need(tile.cell.retention).kept(seconds, temperature_k))
            for tile in warm
        ]
        for tile, share in kept:
            tile.relax(share)
        self.circuit.now_s += seconds
        for layer in self.layers.values():
            moved = temperature_k is not None or any(tile.drifts for tile in layer.tiles)
            if moved and layer.is_programmed:
                layer.refresh()

    def set_temperature(self, temperature_k: float | None) -> None:
        """Read all cells and wires at a temperature from now on.

        Drift and noise stay those of the temperature of their measurement; what states lose in
        warmth is :meth:`advance`'s.

        Args:
            temperature_k: > 0; None for the temperature of each measurement.

        Raises:
            DeviceLimitError: how a material's conductance changes is not known; the sentence
                names the value to supply.
        """
        if temperature_k is not None:
            kelvin(temperature_k)
        for kind in {id(tile.cell): tile.cell for tile in self.tiles.values()}.values():
            if temperature_k is not None:
                kind.need(kind.temperature).factor(temperature_k)
        for tile in self.tiles.values():
            tile.set_temperature(temperature_k)
        for layer in self.layers.values():
            if layer.is_programmed:
                layer.refresh()

    def recalibrate(self, kind: Literal["global", "column", "learned"] = "column") -> None:
        """Undo the mean drift of stored cells digitally and let plastic converters settle anew.

        Args:
            kind: what the digital factor is for and made from, see
                :mod:`clnf.chip.compensation`.
        """
        if not isinstance(kind, str) or kind not in ("global", "column", "learned"):
            raise ConfigError(f"kind must be global, column or learned, got {shown(kind)}")
        for layer in self.layers.values():
            for tile in layer.tiles:
                if not layer.plastic and tile.is_programmed:
                    compensate(tile, self.clock_s, self.bill, kind)
            if layer.plastic:
                for converter in (layer.dac, *layer.adcs):
                    converter.range = 0.0
            elif layer.is_programmed:
                layer.refresh()

    def restore_plastic(self, snapshot: dict[str, Any]) -> float:
        """Roll plastic weights back physically to a snapshot of :meth:`state_dict`.

        Only weights whose cells were pulsed since are pulsed again, by write-verify; the
        pulses are charged and wear the cells, and what error stays is the hardware's. Where
        half-selected cells move, every weight is verified. Layers that were blank then stay as
        they are now.

        Returns:
            Root-mean-square error left over the touched weights, in full scales.

        Raises:
            ConfigError: the snapshot lacks a layer's cells; no cell is pulsed then.
        """
        held = instance("snapshot", snapshot, dict, "give what state_dict() returned")
        out = left_out(self.layers, held)
        learn = {n: one for n, one in self.layers.items() if one.plastic and n not in out}
        for name, layer in learn.items():
            for tile in layer.tiles:
                if f"{name}/{tile.name}/wear" not in held:
                    raise ConfigError(
                        f"the snapshot lacks the cells of {tile.name} in {name}; give what "
                        "state_dict() of this chip returned"
                    )
        total, count = 0.0, 0
        for name, layer in learn.items():
            for tile in layer.tiles:
                prefix = f"{name}/{tile.name}/"
                if tile.fast is not None and f"{prefix}fast/wear" in snapshot:
                    self._roll_back(tile.fast, snapshot, f"{prefix}fast/")
                left, touched = self._roll_back(tile, snapshot, prefix)
                total, count = total + left**2 * touched, count + touched
            layer.waiting = False
            layer.refresh()
        return float((total / count) ** 0.5) if count else 0.0

    def _roll_back(
        self, tile: Crossbar, snapshot: dict[str, Any], prefix: str
    ) -> tuple[float, int]:
        """Pulse a tile's touched weights back; returns the error left and their number."""
        before = snapshot[f"{prefix}wear"].to(tile.wear.device)
        worn = (tile.wear != before).any(0).view(tile.shape)
        if tile.make.half_select:  # pulses of neighbours move cells that no counter saw
            worn = torch.ones_like(worn)
        own = {k.removeprefix(prefix): v for k, v in snapshot.items() if k.startswith(prefix)}
        target = tile.read_of(own, self.clock_s)
        left = write_by_pulses(tile, target, self.bill, self.spec.verify, only_CR=worn)
        return left, int(worn.sum())

    def set_fence(self, name: str, mask: Tensor) -> None:
        """Fence a plastic layer's cells: 0 shut, 1 open, between lets pulses through in part.

        Args:
            name: the layer's name in the module.
            mask: [shape of its weight], values in [0, 1].
        """
        plastic = {key: layer for key, layer in self.layers.items() if layer.plastic}
        if not isinstance(name, str) or name not in plastic:
            known = ", ".join(plastic) or "none"
            raise ConfigError(f"no plastic layer {shown(name)} on this chip; it has {known}")
        layer = plastic[name]
        mask = shares(f"a fence for {name}", mask, layer.weight.shape)
        flat = layer.matrix(mask.detach())
        for tile in layer.tiles:
            tile.set_fence(flat[tile.columns, tile.rows])

    def wear(self) -> dict[str, TileWear]:
        """Wear of every tile, see :func:`clnf.chip.wear.worn`."""
        return worn(self.tiles, self.ledger)

    def state_dict(self) -> dict[str, Any]:
        """Everything the chip remembers: a flat dict of JSON values and copies on the CPU.

        Of layers whose cells are as they were made it has the names, under "blank".
        """
        blank = [name for name, layer in self.layers.items() if layer.blank]
        return {name: _kept(value) for name, value in self._state(blank).items()}

    def _state(self, blank: Collection[str]) -> dict[str, Any]:
        """All that is remembered, without the layers left out."""
        state: dict[str, Any] = {"clock_s": self.clock_s, "ledger": self.ledger.state()}
        state["lesson"] = self.ledger.lesson
        new = {tile.name for name in blank for tile in self.layers[name].tiles}
        state["temperature_k"] = {
            name: tile.temperature_k
            for name, tile in self.tiles.items()
            if name not in new or tile.temperature_k is not None
        }
        for name, layer in self.layers.items():
            if name not in blank:
                state |= {f"{name}/{key}": value for key, value in layer.state().items()}
        return state | ({"blank": list(blank)} if blank else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; weights are refreshed from the cells.

        Raises:
            ConfigError: the state is incomplete, damaged or another chip's, or of a time before
                cells were written that this chip has written; nothing is changed.
        """
        out = left_out(self.layers, state)
        check_state(self._state(out), state)
        if written := [name for name in out if not self.layers[name].blank]:
            raise ConfigError(
                f"the state is older than what the cells of {written[0]} hold; load it into a chip "
                "hosted with blank=True"
            )
        now_s = number("clock_s of the state", state["clock_s"])
        if not 0 <= now_s < inf:
            raise ConfigError(f"clock_s of the state must be at least 0 and finite, got {now_s}")
        lesson = instance("lesson of the state", state["lesson"], str, "load another state")
        warm = instance("temperature_k of the state", state["temperature_k"], dict, "load another")
        for warmth in (value for value in warm.values() if value is not None):
            kelvin(warmth)
        self.ledger.load_state(state["ledger"])
        self.circuit.now_s, self.ledger.lesson = now_s, lesson
        for tile_name, tile in self.tiles.items():
            tile.set_temperature(warm.get(tile_name))
        keys = sorted(state)
        for name, layer in self.layers.items():
            if name not in out:
                layer.load_state(below(state, keys, f"{name}/"))


def _cells(layer: AbstractAnalog) -> Iterator[Crossbar]:
    """A layer's tiles, and after each the fast cells beside it."""
    for tile in layer.tiles:
        yield tile
        if tile.fast is not None:
            yield tile.fast


def _kept(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def host(
    module: nn.Module, *, assign: Assign, seed: int, spec: ChipSpec, ledger: Ledger | None = None,
    blank: bool | Callable[[str], bool] = False,
) -> Chip:  # fmt: skip
    """Replace chosen leaves by layers on tiles, in place.

    Core layers hold nothing until :meth:`Chip.program_core`; plastic ones are written at once.
    Cells live where the module's weights are and move with the module. On the CPU compiled
    kernels work on them, unless ``spec`` says otherwise; anywhere else plain torch does, with
    the same draws.

    Args:
        module: holder of linear, convolution and transposed convolution leaves, of one to
            three dimensions.
        assign: takes a leaf's name and the leaf; says "core", "plastic" or None (stays digital).
        seed: of every cell and every draw of this chip.
        spec: what kind of chip.
        ledger: an existing ledger to charge; None makes one.
        blank: leave plastic cells as they come: all, for who loads a stored state at once, or
            those of layers of which this function of the name says so. They cost no writes and
            take no room in a state until :meth:`Chip.program_plastic` writes them; nothing
            calibrates or ages them until then.

    Raises:
        ConfigError: the module is itself a leaf, nothing was assigned, or a leaf's weight is not
            a plain tensor of real numbers.
    """
    instance("module", module, nn.Module, "give the module that holds the layers")
    instance("spec", spec, ChipSpec, "write ChipSpec()")
    seed = whole("seed", seed)
    if not callable(assign):
        raise ConfigError(f"assign must be a function of name and leaf, got {shown(assign)}")
    if isinstance(module, tuple(_KINDS)):
        raise ConfigError("a leaf cannot be replaced in itself; host the module that holds it")
    ledger = Ledger() if ledger is None else instance("ledger", ledger, Ledger, "write Ledger()")
    circuit = Circuit(spec, seed, ledger)
    layers: dict[str, AbstractAnalog] = {}
    for name, leaf in list(module.named_modules()):
        analog = next((made for kind, made in _KINDS.items() if isinstance(leaf, kind)), None)
        role = assign(name, leaf) if analog else None
        if not (role is None or (isinstance(role, str) and role in ("core", "plastic"))):
            got = f"{shown(role)} for {name}"
            raise ConfigError(f'assign says "core", "plastic" or None, got {got}')
        if analog is None or role is None:
            continue
        _refuse(name, leaf)
        layers[name] = analog(name, leaf, circuit, plastic=role == "plastic")
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, layers[name])
    if not layers:
        raise ConfigError("no leaf was assigned to the chip; check the assign function")
    chip = Chip(layers, circuit)
    waits = blank if callable(blank) else (lambda _: blank)
    for name, layer in layers.items():
        layer.waiting = layer.plastic and waits(name)
    chip.program_plastic([n for n, one in layers.items() if one.plastic and not one.waiting])
    return chip


def _refuse(name: str, leaf: nn.Module) -> None:
    """Say in one sentence why a leaf's weight cannot lie on tiles, if it cannot."""
    if nn.utils.parametrize.is_parametrized(leaf) or "weight" not in leaf._parameters:
        raise ConfigError(
            f"the weight of {name} is computed from other tensors; make it plain first, with "
            "torch.nn.utils.parametrize.remove_parametrizations or remove_weight_norm"
        )
    weight = cast(Tensor, leaf.weight)
    if nn.parameter.is_lazy(weight):
        raise ConfigError(f"{name} has no weight yet; pass one input through it, then host it")
    if not weight.is_floating_point():
        raise ConfigError(
            f"cells hold real weights, {name} has {weight.dtype}; convert it to float first"
        )
