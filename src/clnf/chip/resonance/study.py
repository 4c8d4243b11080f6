"""A tile's detection over noise beside theory: one record, and its picture."""

import io
import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from clnf.chip.crossbar.wiring import Wires
from clnf.chip.resonance.calibration import Calibration, calibrate
from clnf.chip.resonance.lines import NoisyLines
from clnf.chip.resonance.theory import Optimum, Quantiser, best_of, detection, detection_apart
from clnf.chip.spec import ChipSpec
from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.devices.materials import Material

__all__ = ["Study", "study", "study_cells", "study_picture"]

_ROWS, _WAVES = 64, 3
_LADDER = tuple(0.05 * 1.35**k for k in range(14))  # spreads of noise, in steps
_WIRE_OHM = 1.06  # a segment at 40 nm, as in the default recipe
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#555555")


@final
@dataclass(frozen=True, kw_only=True)
class Study:
    """One contrast on one tile. All spreads are in steps of the converters.

    Attributes:
        contrast_steps: what was looked for.
        found: measured, on the tile.
        told: theory's, for an ideal quantiser, white Gaussian noise and the cells' own; its
            interval is where theory loses no more than two standard errors of a measured point.
        theory: theory's accuracy at each spread of the measured curve.
        own_noise_steps: spread of the cells' own noise without any help.
        source: where the noise comes from.
        offset_share: share of its spread that stays from look to look, offsets between columns;
            0 for noise at inputs.
    """

    contrast_steps: float = quantity("1")
    found: Calibration
    told: Optimum
    theory: tuple[float, ...] = quantity("1")
    own_noise_steps: float = quantity("1")
    source: Literal["inputs", "cells"] = "inputs"
    offset_share: float = quantity("1", 0.0)

    @property
    def agrees(self) -> bool:
        """Whether the measured optimum lies in theory's interval, or both say there is none.

        A gain that theory puts below the slack of its interval may go unseen.
        """
        if not self.found.helps:
            return self.told.accuracy - self.told.at_zero <= self.told.slack
        return self.told.helps and self.told.low <= self.found.sigma <= self.told.high

    @property
    def worst_gap(self) -> float:
        """Largest distance of the measured curve from theory."""
        pairs = zip(self.found.curve, self.theory, strict=True)
        return max(abs(point.accuracy - told) for point, told in pairs)


def study(
    material: str | Material,
    contrast_steps: float,
    *,
    looks: int = 16,
    bits: int = 4,
    trials: int = 2000,
    seed: int = 0,
) -> Study:
    """Look for three waves over 64 rows of a tile, at no noise and at 14 spreads of it.

    Args:
        material: whose cells hold the template; wires of 1.06 ohm a segment are between them.
        contrast_steps: of the template, in steps of the converters, 0 to 100.
        looks: columns, a power of two.
        bits: of the converters, 2 to 16.
        trials: at each spread.
        seed: of cells and draws.
    """
    lines = _lines(material, contrast_steps, (looks, bits), seed)
    return _study(lines, contrast_steps, trials, seed, "inputs")


def study_cells(
    material: str | Material,
    contrast_steps: float,
    *,
    looks: int = 16,
    bits: int = 4,
    trials: int = 2000,
    seed: int = 0,
) -> Study:
    """The same with noise from the cells: read noise and programming errors, under a voltage.

    Spreads are the root of both squares, mean over columns; theory knows each column's offset and
    spread from reads of empty lines. For arguments see :func:`study`.
    """
    lines = _lines(material, contrast_steps, (looks, bits), seed)
    return _study(lines, contrast_steps, trials, seed, "cells")


def _lines(
    material: str | Material, contrast_steps: float, kind: tuple[int, int], seed: int
) -> NoisyLines:
    looks, bits = kind
    if not 0 <= contrast_steps <= 100 or not 2 <= bits <= 16:
        raise ConfigError(
            f"contrast must be 0 to 100 steps and bits 2 to 16, got {contrast_steps} and {bits}"
        )
    wave = torch.sin(torch.arange(float(_ROWS)) * 2 * math.pi * _WAVES / _ROWS)
    unit = Quantiser(step=1.0, top=2 ** (bits - 1) - 1)
    return NoisyLines(
        material, wave / wave.abs().max(), looks=looks, quantiser=unit, seed=seed,
        spec=ChipSpec(wires=Wires(word_ohm=_WIRE_OHM, bit_ohm=_WIRE_OHM)),
    )  # fmt: skip


def _study(
    lines: NoisyLines, contrast: float, trials: int, seed: int, source: Literal["inputs", "cells"]
) -> Study:
    """Measure and ask theory."""
    none = np.zeros(lines.looks)
    offsets, spreads, share = none, none, 0.0
    if source == "cells":
        offsets, spreads = (part.numpy() for part in lines.cell_noise())
        both = math.sqrt(float((offsets**2 + spreads**2).mean()))
        offsets, spreads = offsets / both, spreads / both  # of a unit of noise
        share = float((offsets**2).mean()) ** 0.5
    else:
        both, spreads = math.inf, none + 1.0
    own = lines.own_noise(contrast)

    def look(x: Tensor, sigma: float) -> Tensor:
        at_inputs = sigma if source == "inputs" else 0.0
        return lines.look(x, sigma=at_inputs, volts=sigma / both)

    def gain(sigma: float) -> float:
        if source == "inputs":  # all looks are alike
            return detection(contrast, math.hypot(sigma, own), lines.quantiser, looks=lines.looks)
        each = np.hypot(spreads * sigma, own)
        return detection_apart(contrast, offsets * sigma, each, lines.quantiser)

    found = calibrate(look, contrast, _LADDER, trials=trials, seed=seed)
    slack = min(2.0 * math.sqrt(0.25 / (trials - trials // 2)), 0.25)
    return Study(
        contrast_steps=contrast,
        found=found,
        told=best_of(gain, max(contrast, lines.quantiser.step), slack=slack),
        theory=tuple(gain(point.sigma) for point in found.curve),
        own_noise_steps=own,
        source=source,
        offset_share=share,
    )


def study_picture(studies: list[Study], title: str) -> bytes:
    """Detection over noise, measured with error bars and told by theory, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    marks = "os^Dvx"
    for k, one in enumerate(studies):
        curve = one.found.curve
        sigma = [point.sigma for point in curve]
        colour = _COLOURS[k % len(_COLOURS)]
        axes.plot(sigma, one.theory, color=colour, linewidth=1.2)
        axes.errorbar(
            sigma, [point.accuracy for point in curve],
            yerr=[2 * point.error for point in curve], fmt=marks[k % len(marks)],
            color=colour, markersize=4, capsize=2,
            label=f"{one.contrast_steps:g} steps: {'noise helps' if one.found.helps else 'none'}",
        )  # fmt: skip
        if one.told.helps:
            foot = 0.02 * k
            axes.axvspan(one.told.low, one.told.high, foot, foot + 0.015, color=colour)
    axes.set_xscale("symlog", linthresh=_LADDER[0])
    axes.set_xlim(-0.01, _LADDER[-1] * 1.1)
    axes.set_xlabel("spread of the added noise, in steps of the converter")
    axes.set_ylabel("share of right answers")
    where = " and ".join(dict.fromkeys(one.source for one in studies))
    foot_text = "lines: theory; bars at the foot: where theory puts the optimum"
    axes.set_title(f"{title}, noise from {where}\n{foot_text}")
    axes.legend(title="contrast", fontsize=8)
    blob = io.BytesIO()
    FigureCanvasAgg(figure).print_png(blob)  # type: ignore[no-untyped-call]
    return blob.getvalue()
