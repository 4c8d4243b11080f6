"""A tile that looks for a faint pattern many times at once, with noise of its own making."""

import math
from dataclasses import replace
from typing import final

import torch
from scipy.linalg import hadamard
from torch import Tensor

from clnf.chip.resonance.theory import Quantiser
from clnf.chip.spec import ChipSpec
from clnf.chip.tile import Tile
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.rng import torch_rng
from clnf.devices.materials import Material

__all__ = ["NoisyLines"]


@final
class NoisyLines:
    """Columns that all hold one template, and rows that bring each of them noise.

        y_l(t) = sum_i T_i x_i + sum_k H_kl v_k(t) + reads' own noise

    H holds +1 and -1 in columns at right angles to each other, and to a column of ones: half of
    Sylvester's matrix of twice as many rows as there are columns. So there are two sources:

    at inputs   random voltages v_k ~ N(0, s^2) give every column Gaussian noise of spread
                s sqrt(rows) that is independent of the others'
    in cells    one steady voltage v on all these rows adds up to nothing, but for what cells do
                not hold exactly: their read noise, new in every look, and their errors of
                programming, an offset of each column that stays; both go with v

    Noise thus costs rows, cells and their reads: all of it is in the ledger. Each column ends in
    a converter of few bits, whose code is one look.

    Rows are driven straight by a sensor's and a noise source's analog voltages. What is
    simplified: both are exact and cost what an 8-bit driver does, and the noise is white.

    Args:
        material: whose cells store weights; a catalogue row or its name.
        template: pattern to look for, [rows], largest magnitude 1.
        looks: columns, a power of two.
        quantiser: of the columns' converters, in units of contrast; its largest code is that of
            2 to 16 bits: 1, 3, 7 ...
        seed: of cells and draws.
        spec: of the tile; its converters are replaced by none at the inputs and the
            quantiser's at the outputs.

    Raises:
        ConfigError: looks is no power of two, or the largest code not that of a converter.
        ShapeError: the template is not a finite vector that reaches 1.
        DeviceLimitError: the material lacks what storing needs, or it learns by pulses.

    >>> coarse = Quantiser(step=0.1, top=7)
    >>> lines = NoisyLines("gst_pcm", torch.ones(16), looks=8, quantiser=coarse, seed=1)
    >>> lines.look(torch.full((3,), 0.5), sigma=0.0).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        material: str | Material,
        template: Tensor,
        *,
        looks: int,
        quantiser: Quantiser,
        seed: int,
        spec: ChipSpec | None = None,
    ) -> None:
        if looks < 1 or looks & (looks - 1):
            raise ConfigError(f"looks must be a power of two, got {looks}")
        bits = (quantiser.top + 1).bit_length()
        if quantiser.top + 1 != 2 ** (bits - 1) or not 2 <= bits <= 16:
            raise ConfigError(
                f"the largest code must be that of 2 to 16 bits (1, 3, 7 ...), got {quantiser.top}"
            )
        template = torch.as_tensor(template, dtype=torch.float32)
        if template.dim() != 1 or not bool(template.isfinite().all()) or template.abs().max() != 1:
            raise ShapeError(
                "a template is a finite vector whose largest magnitude is 1, got shape "
                f"{tuple(template.shape)}"
            )
        self.template, self.quantiser = template, quantiser
        self.looks, self.seed = looks, seed
        own = replace(spec or ChipSpec(wires=None), dac_bits=0, adc_bits=bits)
        self.tile = Tile(material, len(template) + 2 * looks, looks, seed=seed, spec=own)
        signs = torch.from_numpy(hadamard(2 * looks)[:, looks:]).float()
        self.tile.program(torch.cat([template[:, None].expand(-1, looks), signs]))
        self._layer = self.tile.chip.layers["tile"]
        self._clear = float(template.square().sum())
        self._range = quantiser.step * quantiser.top * self._clear
        self._reads = 0

    def look(self, contrast: Tensor, *, sigma: float, volts: float = 0.0) -> Tensor:
        """Show the template at some contrasts, once each, and read all columns.

        Args:
            contrast: [trials].
            sigma: spread of the noise that inputs add to a column, in units of contrast.
            volts: steady voltage on the rows of noise, >= 0, in units of contrast.

        Returns:
            Codes, [trials, looks]. Every call draws anew.
        """
        codes = self._read(contrast, sigma, volts) * (self.quantiser.top / self._range)
        return codes.round_().long()

    def own_noise(self, contrast: float, *, trials: int = 256) -> float:
        """Spread that a column's read has by itself, in units of contrast, from reads.

        It is there at any sigma; the spread of what a converter sees is the root of both squares.
        """
        y = self._clearly(torch.full((trials,), contrast), 0.0)
        return float(y.std(0).mean())

    def cell_noise(self, *, volts: float = 1.0, trials: int = 256) -> tuple[Tensor, Tensor]:
        """What a steady voltage makes of the cells' own errors, from reads of empty lines.

        Returns:
            Offset and spread of each column for a unit of voltage, [looks] each.
        """
        y = self._clearly(torch.zeros(trials), volts)
        return y.mean(0).double() / volts, y.std(0).double() / volts

    def _clearly(self, contrast: Tensor, volts: float) -> Tensor:
        """What columns give before their converters, in units of contrast."""
        self.tile.chip.converters(False)
        try:
            return self._read(contrast, 0.0, volts) / self._clear
        finally:
            self.tile.chip.converters(True)

    def _read(self, contrast: Tensor, sigma: float, volts: float = 0.0) -> Tensor:
        if not (0 <= sigma < math.inf and 0 <= volts < math.inf) or contrast.dim() != 1:
            raise ConfigError(
                "contrast is [trials], the spread of noise and its voltage at least 0, got "
                f"{tuple(contrast.shape)}, {sigma} and {volts}"
            )
        rows = 2 * self.looks
        rng = torch_rng(self.seed, "noise", self._reads)
        self._reads += 1
        noise = torch.randn(len(contrast), rows, generator=rng)
        noise.mul_(sigma * self._clear / math.sqrt(rows)).add_(volts)
        self._layer.adcs[0].range = self._range / float(self._scale())
        return self.tile.mvm(torch.cat([contrast[:, None] * self.template, noise], 1))

    def _scale(self) -> Tensor:
        """Weight of full scale, alike in all columns as each holds a 1."""
        return self.tile.cells.column_scale().mean()
