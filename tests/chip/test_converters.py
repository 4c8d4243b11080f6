"""Converters find their range once and hold it; tracking ones widen when they clip."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.converters import Converter, ConverterKind, column_flaws
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.core.errors import ConfigError


def test_the_range_is_the_peak_but_not_more_than_sigma_levels() -> None:
    even = Converter(8, 8.0, tracking=False)
    even.observe(torch.tensor([-2.0, 1.0, 1.0]))
    assert even.range == pytest.approx(2.0)
    spiky = Converter(8, 8.0, tracking=False)
    values = torch.ones(10_000)
    values[0] = 1000.0
    spiky.observe(values)
    assert spiky.range == pytest.approx(8.0 * float(values.square().mean().sqrt()))


def test_codes_cover_the_range_symmetrically() -> None:
    adc = Converter(8, 8.0, tracking=False)
    adc.load_state(2.54)
    gain, step, top = adc.factors(on=True)
    assert (gain * 2.54, step, top) == pytest.approx((127.0, 0.02, 127.0))
    assert adc.factors(on=False) == (1.0, 1.0, 0.0)
    assert Converter(0, 8.0, tracking=False).factors(on=True)[2] == 0.0


def test_only_a_tracking_converter_widens_after_clipping() -> None:
    for tracking in (False, True):
        adc = Converter(8, 8.0, tracking=tracking)
        adc.load_state(1.0)
        adc.track(127)
        assert adc.range == 1.0
        adc.track(190)
        assert adc.range == pytest.approx(190 / 127 if tracking else 1.0)
        adc.track(1000)
        assert adc.range == pytest.approx(2 * 190 / 127 if tracking else 1.0)


def test_calibration_is_wanted_once() -> None:
    adc = Converter(8, 8.0, tracking=False)
    assert adc.wants(calibrating=False)
    adc.observe(torch.ones(3))
    assert not adc.wants(calibrating=False)
    assert adc.wants(calibrating=True)
    with pytest.raises(ConfigError, match="got -1"):
        adc.load_state(-1.0)


def test_what_is_not_finite_sets_no_range() -> None:
    adc = Converter(8, 8.0, tracking=True)
    adc.observe(torch.tensor([torch.inf, torch.nan]))
    assert adc.range == 0.0
    adc.observe(torch.tensor([1.0, -torch.inf, torch.nan]))
    assert adc.range == 1.0


def test_a_percentile_leaves_outliers_out_of_the_range() -> None:
    values = torch.linspace(-1.0, 1.0, 10_001)
    values[0] = 50.0
    for percentile, expected in ((100.0, 50.0), (99.0, 0.99)):
        adc = Converter(8, 1e9, tracking=False, percentile=percentile)
        adc.observe(values)
        assert adc.range == pytest.approx(expected, rel=1e-3)


def layer_of(leaf: nn.Module, seed: int = 5, **spec: Any) -> tuple[AbstractAnalog, Chip]:
    module = nn.Sequential(leaf)
    small = {"tile_rows": 60, "tile_columns": 20, "read_noise": "off"}
    chip = host(module, assign=lambda *_: "core", seed=seed, spec=ChipSpec(**(small | spec)))
    chip.program_core()
    layer = module[0]
    assert isinstance(layer, AbstractAnalog)
    return layer, chip


def leaves() -> list[tuple[nn.Module, Tensor]]:
    rng = torch.Generator().manual_seed(3)
    return [
        (nn.Linear(100, 30), torch.randn(40, 100, generator=rng)),
        (nn.Conv2d(8, 12, 3, groups=2), torch.randn(2, 8, 7, 7, generator=rng)),
        (nn.ConvTranspose1d(8, 5, 3, stride=2), torch.randn(2, 8, 7, generator=rng)),
    ]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("serial", [1, 2, 4])
def test_bit_serial_inputs_give_the_parallel_product(
    which: int, serial: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf, x = leaves()[which]
    outs = []
    for kind in (ConverterKind(), ConverterKind(serial_bits=serial)):
        layer, _ = layer_of(leaf, adc_bits=0, converters=kind)
        layer.dac.load_state(127 / 32)  # codes are whole 32nds, so sums are exact
        for tile in layer.tiles:
            weight = whole(tile.shape)
            alone = weight[None], torch.zeros_like(weight[None])
            monkeypatch.setattr(tile, "view_slices", lambda _, both=alone: both)
            monkeypatch.setattr(tile, "column_scale", lambda w=weight: torch.ones(len(w)))
        layer.refresh()
        layer.bias = None
        outs.append(layer(x).detach())
    assert torch.equal(outs[0], outs[1])
    assert float(outs[0].std()) > 0.1
    coarse, _ = layer_of(leaf, adc_bits=4, converters=ConverterKind(serial_bits=serial))
    assert not torch.equal(coarse(x).detach(), outs[0])


def whole(shape: tuple[int, int]) -> Tensor:
    """Weights that are whole eighths."""
    rng = torch.Generator().manual_seed(shape[0])
    return torch.randint(-8, 9, shape, generator=rng) / 8


def test_each_plane_has_a_range_and_is_charged() -> None:
    leaf, x = leaves()[0]
    bills = []
    for kind in (ConverterKind(), ConverterKind(serial_bits=2)):
        layer, chip = layer_of(leaf, converters=kind)
        chip.ledger.load_state([])
        layer(x)
        bills.append({op: chip.ledger.total(op=op) for op in chip.ledger.by("op")})
    assert len(layer.adcs) == 2 * 4
    ranges = [adc.range for adc in layer.adcs[:4]]
    assert all(4 * a > b for a, b in zip(ranges[1:], ranges, strict=False))
    assert ranges[3] < ranges[2] * 4
    assert ranges[0] < ranges[1] < ranges[2]
    for op in ("read", "dac", "adc", "shift_add"):
        assert bills[1][op].count == 4 * bills[0][op].count
    assert bills[1]["read"].time_ps == 4 * bills[0]["read"].time_ps
    assert bills[1]["buffer"] == bills[0]["buffer"]
    assert bills[1]["routing"] == bills[0]["routing"]


def test_noise_of_planes_is_drawn_anew_and_adds_up() -> None:
    """Planes of disjoint bits: variances add, and less of the input is squared at once."""
    leaf, _ = leaves()[0]
    x = torch.full((2000, 100), 1.0)  # code 127 of 127: all bits set
    spreads = []
    for serial in (0, 1):
        kind = ConverterKind(serial_bits=serial)
        layer, _ = layer_of(leaf, adc_bits=0, read_noise="exact", converters=kind)
        layer.dac.load_state(1.0)
        spreads.append(layer(x).detach().double().var(0).mean())
    squares = sum((2**k / 127) ** 2 for k in range(7))
    assert float(spreads[1] / spreads[0]) == pytest.approx(squares, rel=0.05)


def test_flaws_belong_to_columns_and_stay() -> None:
    kind = ConverterKind(offset_lsb=3.0, gain_error=0.02)
    gain, offset = column_flaws(kind, 9, torch.empty(4000))
    assert float(gain.std()) == pytest.approx(0.02, rel=0.1)
    assert float(offset.std()) == pytest.approx(3.0, rel=0.1)
    assert abs(float(torch.corrcoef(torch.stack([gain, offset]))[0, 1])) < 0.1
    again = column_flaws(kind, 9, torch.empty(4000))
    assert torch.equal(again[0], gain)
    assert not torch.equal(column_flaws(kind, 10, torch.empty(4000))[0], gain)
    zeroed = column_flaws(ConverterKind(offset_lsb=3.0, auto_zero=True), 9, torch.empty(4000))[1]
    assert float(zeroed.abs().max()) <= 0.5
    assert torch.allclose((offset - zeroed).round(), offset - zeroed, atol=1e-5)


@pytest.mark.parametrize("which", range(3))
def test_auto_zero_takes_the_offset_off_and_is_charged(which: int) -> None:
    leaf, x = leaves()[which]
    errors, counts = [], []
    for kind in (
        ConverterKind(),
        ConverterKind(offset_lsb=5.0),
        ConverterKind(offset_lsb=5.0, auto_zero=True),
    ):
        layer, chip = layer_of(leaf, converters=kind)
        chip.ledger.load_state([])
        with torch.no_grad():
            out = layer(x)
            counts.append(chip.ledger.total(op="adc").count)
            chip.converters(False)
            errors.append(float((out - layer(x)).std()))
    assert errors[1] > 3 * errors[0]
    assert errors[2] < 2 * errors[0]
    assert counts[0] == counts[1]
    columns = sum(tile.columns.stop - tile.columns.start for tile in layer.tiles)
    assert counts[2] == counts[0] + columns


def test_flaws_read_alike_in_plain_torch_and_go_with_the_seed() -> None:
    leaf, x = leaves()[1]
    kind = ConverterKind(offset_lsb=2.0, gain_error=0.02, noise_lsb=0.5, bow_lsb=0.5)

    def read(seed: int, kernels: bool) -> Tensor:
        layer, _ = layer_of(leaf, seed, kernels=kernels, converters=kind)
        return layer(x).detach()

    assert torch.allclose(read(5, True), read(5, False), atol=1e-5)
    assert not torch.allclose(read(5, True), read(6, True), atol=1e-3)


@pytest.mark.parametrize(
    "fields",
    [{"offset_lsb": -1.0}, {"gain_error": 0.5}, {"serial_bits": 16}, {"range_percentile": 0.0}],
)
def test_impossible_converters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="got"):
        ConverterKind(**fields)


def test_converters_must_fit_their_chip() -> None:
    with pytest.raises(ConfigError, match="below dac_bits"):
        ChipSpec(dac_bits=4, converters=ConverterKind(serial_bits=4))
    with pytest.raises(ConfigError, match="adc_bits 0"):
        ChipSpec(adc_bits=0, converters=ConverterKind(noise_lsb=1.0))
