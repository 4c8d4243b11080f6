"""What ``clnf chip heat`` draws: a few pictures, and the same ones on a warm chip."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, final

from clnf.core.errors import ConfigError
from clnf.core.units import quantity

if TYPE_CHECKING:
    from torch import Tensor

    from clnf.chip.heat.network import State, ThermalNetwork
    from clnf.chip.heat.power import Work
    from clnf.chip.hosting import Chip

__all__ = ["Drawn", "Quality", "bundled", "known", "of_run", "qualities"]

_PICTURES, _STEPS = 4, 2
_READS = 64, 16  # of each vector of a calibration, when all is well and in warmth


class Drawn(NamedTuple):
    """A chip that has drawn a few pictures.

    ``done`` is what each tile did for them and ``lessons`` what it did before; ``again`` draws
    them once more and ``names`` says of what each is.
    """

    chip: "Chip"
    done: "dict[str, Work]"
    lessons: "dict[str, dict[str, Work]]"
    again: "Callable[[], Tensor]"
    names: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Quality:
    """What a chip draws, beside the same chip when it was cold.

    Attributes:
        when: which chip this is.
        off_cold: root-mean-square difference of pixels in [-1, 1].
        match: share of pictures that the judge names rightly.
        products_off: error of products over those when all was well; None where none was asked.
        cost_j: energy of the calibration; 0 where there was none.
        cost_s: its time.
    """

    when: str
    off_cold: float = quantity("1")
    match: float = quantity("1")
    products_off: float | None = quantity("1", None)
    cost_j: float = quantity("J", 0.0)
    cost_s: float = quantity("s", 0.0)

    @property
    def sentence(self) -> str:
        """The finding in words."""
        text = f"{self.when}: pictures off those of a cold chip by {self.off_cold:.4f}"
        if self.products_off is not None:
            text += f", products by {self.products_off:.2%}"
        text += f"; {self.match:.0%} named rightly"
        return text + (f"; cost {self.cost_j * 1e6:.3g} µJ" if self.cost_j else "")


def known(run: Path | None, supplied: Mapping[str, float | None]) -> None:
    """Refuse a run or values that cannot be looked at, before any picture is drawn.

    Args:
        run: its folder; None for the bundled model.
        supplied: values of your own by key of the catalogue; None where none was given.

    Raises:
        ConfigError: a run was given values, which has its own.
        DeviceLimitError: a value is out of its range.
        RunError: there is no run.
    """
    if run is None:
        from clnf.devices.materials import material
        from clnf.living.recipe import ChipPart

        material(ChipPart().core).supply(**_given(supplied))
        return
    if _given(supplied):
        raise ConfigError(
            "a run has its own materials; leave out --slope and --read-v, or leave out the run"
        )
    from clnf.living.run import Run

    _ = Run(run).recipe


def bundled(supplied: Mapping[str, float | None]) -> Drawn:
    """The bundled core on stored cells, without wires, which change no charge."""
    import torch

    from clnf.chip.heat.power import work
    from clnf.chip.hosting import host
    from clnf.chip.spec import ChipSpec
    from clnf.core.rng import fold
    from clnf.devices.materials import material
    from clnf.living.recipe import ChipPart
    from clnf.media.bundled import load_core
    from clnf.media.flow import last, noise_for

    part, (engine, facts) = ChipPart(), load_core()
    row = material(part.core).supply(**_given(supplied))
    spec = ChipSpec(core=row, tile_rows=part.tile_rows, tile_columns=part.tile_columns)
    chip = host(engine.requires_grad_(False), assign=lambda name, leaf: "core", seed=0, spec=spec)
    chip.program_core()
    noise = noise_for([fold(0, "heat", n) for n in range(_PICTURES)], (3, 32, 32))
    concepts = torch.arange(1, _PICTURES + 1)

    def again() -> "Tensor":
        return last(engine.sample(concepts, noise=noise.clone(), steps=_STEPS, guidance=2.0))

    before = chip.ledger.state()
    again()
    names = tuple(facts["families"][:_PICTURES])
    return Drawn(chip, work(chip.ledger.state(), before), {}, again, names)


def of_run(folder: Path) -> Drawn:
    """A run's model as its newest snapshot left it."""
    from clnf.chip.heat.power import by_lesson, work
    from clnf.living import snapshots
    from clnf.living.generate import Wish, draw
    from clnf.living.model import LivingModel
    from clnf.living.run import Run

    recipe = Run(folder).recipe
    found = snapshots.load_latest(folder / "snapshots")
    model = LivingModel(recipe, blank=True)
    model.load_state_dict(found.parts)
    concept = model.core[0]

    def again() -> "Tensor":
        return draw(model, Wish(concept=concept, n=_PICTURES, steps=_STEPS))

    before = model.chip.ledger.state()
    again()
    done = work(model.chip.ledger.state(), before)
    return Drawn(model.chip, done, by_lesson(before), again, (concept,) * _PICTURES)


def _given(supplied: Mapping[str, float | None]) -> dict[str, float]:
    return {key: value for key, value in supplied.items() if value is not None}


def qualities(drawn: Drawn, network: "ThermalNetwork", state: "State") -> list[Quality]:
    """Draw cold, with other read noise, warm, and calibrated there; the chip stays warm."""
    from clnf.chip.heat.calibrate import answers, calibrate
    from clnf.chip.heat.effects import warm_cells

    cold = _alike(drawn)
    found = [
        _quality(drawn, "cold", cold, cold),
        _quality(drawn, "cold, other read noise", drawn.again(), cold),
    ]
    wanted = answers(drawn.chip, reads=_READS[0])
    warm_cells(drawn.chip, network, state)
    found.append(_quality(drawn, "warm", _alike(drawn), cold))
    done = calibrate(drawn.chip, wanted, reads=_READS[1])
    after = _quality(drawn, "calibrated there", _alike(drawn), cold)
    costs = {"cost_j": done.cost.energy_j, "cost_s": done.cost.time_s}
    warm = {**vars(found.pop()), "products_off": done.off_before}
    found.append(Quality(**warm))
    found.append(Quality(**{**vars(after), "products_off": done.off_after, **costs}))
    return found


def _alike(drawn: Drawn) -> "Tensor":
    """The pictures with the read noise of a first drawing."""
    for layer in drawn.chip.layers.values():
        layer.reads = 0
    return drawn.again()


def _quality(drawn: Drawn, when: str, pictures: "Tensor", cold: "Tensor") -> Quality:
    from clnf.media.bundled import load_judge

    judge, _ = load_judge()
    pairs = zip(pictures, drawn.names, strict=True)
    right = sum(judge.match(one[None], name) > 0.5 for one, name in pairs)
    off = float((pictures - cold).square().mean().sqrt())
    return Quality(when=when, off_cold=off, match=right / len(drawn.names))
