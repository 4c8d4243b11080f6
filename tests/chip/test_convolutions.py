"""Convolutions of every kind on tiles: the digital layer, cut up, counted and charged."""

import copy
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.converters import ConverterKind, column_flaws
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec, ideal_chip
from clnf.chip.updates import PulseRule
from clnf.chip.wiring import overlap_add, windows
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.rng import fold

Kind = Literal["core", "plastic"]
# A leaf and the spatial size of its input. Tiles below are 64 x 24, so most are cut both ways.
STRAIGHT: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv1d(24, 30, 5, padding=2), (19,)),
    (nn.Conv1d(12, 30, 4, stride=3, dilation=2, bias=False), (23,)),
    (nn.Conv1d(9, 7, 4, padding="same"), (11,)),
    (nn.Conv1d(9, 7, 3, padding=2, padding_mode="circular"), (11,)),
    (nn.Conv2d(12, 30, 3, groups=3, padding=1), (7, 9)),
    (nn.Conv2d(48, 32, 3, groups=2, stride=(2, 1), padding=(0, 1)), (9, 8)),
    (nn.Conv2d(16, 16, 3, groups=16, padding="same", dilation=2), (7, 9)),
    (nn.Conv2d(8, 50, (2, 3), padding="same"), (6, 7)),
    (nn.Conv2d(8, 5, 3, padding=(2, 1), padding_mode="reflect"), (6, 7)),
    (nn.Conv2d(8, 5, 3, padding="same", padding_mode="replicate"), (6, 7)),
    (nn.Conv2d(8, 5, 3, padding="valid", padding_mode="circular"), (6, 7)),
    (nn.Conv2d(8, 5, 2, padding=3), (6, 7)),
    (nn.Conv3d(4, 30, 3, padding=1), (4, 5, 6)),
    (nn.Conv3d(8, 12, (1, 2, 3), groups=4, stride=(1, 2, 1), padding="valid"), (4, 6, 5)),
    (nn.Conv3d(3, 5, 2, padding="same", padding_mode="circular"), (4, 5, 3)),
]
TRANSPOSED: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.ConvTranspose1d(80, 10, 4, stride=2, padding=1), (9,)),
    (nn.ConvTranspose1d(8, 6, 3, stride=3, output_padding=2, groups=2, bias=False), (7,)),
    (nn.ConvTranspose2d(70, 6, 4, stride=2, padding=1), (4, 5)),
    (nn.ConvTranspose2d(12, 6, (3, 2), stride=(2, 3), groups=3, output_padding=(1, 0)), (4, 5)),
    (nn.ConvTranspose2d(130, 4, 2, groups=2, dilation=3, output_padding=2, padding=1), (4, 3)),
    (nn.ConvTranspose2d(5, 7, 1), (4, 5)),
    (nn.ConvTranspose3d(6, 4, (2, 3, 2), stride=2, padding=(0, 1, 0)), (2, 3, 4)),
]
ALL = STRAIGHT + TRANSPOSED


def ids(case: Any) -> str:
    return str(case) if isinstance(case, nn.Module) else ""


def hosted(leaf: nn.Module, kind: Kind, **spec: Any) -> tuple[AbstractAnalog, Chip]:
    module = nn.Sequential(copy.deepcopy(leaf))
    small = {"tile_rows": 64, "tile_columns": 24}
    chip = host(module, assign=lambda *_: kind, seed=5, spec=ChipSpec(**(small | spec)))
    if kind == "core":
        chip.program_core()
    layer = module[0]
    assert isinstance(layer, AbstractAnalog)
    return layer, chip


def ideal(leaf: nn.Module, kind: Kind) -> tuple[AbstractAnalog, Chip]:
    base = ideal_chip()
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    return hosted(leaf, kind, **(fields | {"tile_rows": 64, "tile_columns": 24}))


def inputs(leaf: Any, size: tuple[int, ...]) -> Tensor:
    rng = torch.Generator().manual_seed(8)
    return torch.randn(3, leaf.in_channels, *size, generator=rng)


def digital(leaf: nn.Module, layer: AbstractAnalog) -> Any:
    """The digital layer with the weight that the cells hold."""
    twin = copy.deepcopy(leaf)
    with torch.no_grad():
        twin.weight.copy_(layer.weight)  # type: ignore[operator, union-attr]
    return twin


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own layer pads by a copy
@pytest.mark.parametrize("kind", ["core", "plastic"])
@pytest.mark.parametrize(("leaf", "size"), ALL, ids=ids)
def test_with_everything_off_it_is_the_digital_layer(
    leaf: nn.Module, size: tuple[int, ...], kind: Kind
) -> None:
    layer, chip = ideal(leaf, kind)
    assert len(chip.tiles) > 1 or layer.weight.numel() < 24 * 64
    if kind == "core":
        assert torch.allclose(layer.weight, leaf.weight, atol=1e-6)  # type: ignore[arg-type]
    twin = digital(leaf, layer)
    x = inputs(leaf, size).requires_grad_()
    same = x.detach().clone().requires_grad_()
    out, expected = layer(x), twin(same)
    scale = max(float(expected.detach().abs().max()), 1.0)
    assert out.shape == expected.shape
    assert float((out - expected).detach().abs().max()) < 1e-5 * scale
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    out.backward(grad)
    expected.backward(grad)
    assert x.grad is not None
    assert same.grad is not None
    assert torch.allclose(x.grad, same.grad, atol=1e-5 * scale)
    if layer.bias is not None:
        assert torch.allclose(layer.bias.grad, twin.bias.grad, atol=1e-5 * scale)  # type: ignore[arg-type]
    if kind == "plastic":
        assert layer.weight.grad is not None
        assert torch.allclose(layer.weight.grad, twin.weight.grad, atol=1e-4 * scale)


@pytest.mark.parametrize(("leaf", "size"), [STRAIGHT[4], STRAIGHT[12], TRANSPOSED[3]], ids=ids)
def test_with_physics_on_it_is_not(leaf: nn.Module, size: tuple[int, ...]) -> None:
    """Control of the test above."""
    layer, _ = hosted(leaf, "core")
    x = inputs(leaf, size)
    expected = digital(leaf, layer)(x).detach()
    error = (layer(x) - expected).detach().std() / expected.std()
    assert 1e-3 < float(error) < 0.3


@pytest.mark.parametrize(("leaf", "size"), ALL, ids=ids)
def test_outer_products_of_what_tiles_see_are_the_gradient(
    leaf: nn.Module, size: tuple[int, ...]
) -> None:
    """Stochastic pulses come from these rows and columns, so on average they are right."""
    layer, _ = ideal(leaf, "plastic")
    layer.capture = []
    layer.eval()  # in training mode the dense gradient is left out
    out = layer(inputs(leaf, size))
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)))
    ((driven, grad),) = layer.capture
    assert layer.weight.grad is not None
    expected = layer.matrix(layer.weight.grad)
    seen = torch.zeros(expected.shape)
    for tile in layer.tiles:
        rows, columns = layer.unfolded(driven, tile), layer.sensed(grad, tile)
        seen[tile.columns, tile.rows] += columns.T @ rows
    scale = float(expected.abs().max())
    assert torch.allclose(seen, expected, atol=1e-5 * scale)
    assert not torch.allclose(seen.roll(1, 0), expected, atol=1e-1 * scale)


@pytest.mark.parametrize("mode", ["exact", "separable"])
@pytest.mark.parametrize(
    ("leaf", "size"),
    [STRAIGHT[4], STRAIGHT[5], STRAIGHT[12], TRANSPOSED[2], TRANSPOSED[4]],
    ids=ids,
)
def test_read_noise_has_the_variance_of_its_cells(
    leaf: nn.Module, size: tuple[int, ...], mode: str
) -> None:
    layer, chip = hosted(leaf, "core", read_noise=mode, dac_bits=0, adc_bits=0)
    x = inputs(leaf, size)
    with torch.no_grad():
        reads = torch.stack([layer(x) for _ in range(300)]).double()
    twin = digital(leaf, layer)
    variance = layer.matrix(torch.zeros_like(layer.weight))
    for tile in layer.tiles:
        variance[tile.columns, tile.rows] = tile.view(chip.clock_s)[1]
    flat = variance if not layer.wiring.turned else variance.T
    with torch.no_grad():
        centre = twin(x)
        twin.weight.copy_(flat.reshape(twin.weight.shape))
        twin.bias.zero_()
        expected = twin(x.square()).double()
    touched = expected > 0  # strides and output padding leave places that no vector reaches
    assert bool((reads.var(0)[~touched] == 0).all())
    ratio = (reads.var(0) / expected)[touched]
    error = 5 * (2 / 300 / ratio.numel()) ** 0.5
    assert abs(float(ratio.mean()) - 1) < (error if mode == "exact" else 0.06)
    z = ((reads.mean(0) - centre) / (expected / 300).sqrt())[touched]
    assert abs(float(z.mean())) < 5 * z.numel() ** -0.5


def test_a_grouped_convolution_costs_what_a_hand_count_says() -> None:
    layer, chip = hosted(nn.Conv2d(12, 30, 3, groups=3, padding=1), "core")
    chip.ledger.load_state([])
    layer(torch.randn(2, 12, 7, 9, requires_grad=True)).sum().backward()
    assert list(chip.tiles) == ["0[0:36,0:10]", "0[0:36,10:20]", "0[0:36,20:30]"]
    vectors = 2 * 7 * 9
    for name in chip.tiles:
        assert chip.ledger.total(tile=name, op="read").count == 2 * 36 * 10 * 2 * vectors
        assert chip.ledger.total(tile=name, op="dac").count == (36 + 10) * vectors
        assert chip.ledger.total(tile=name, op="adc").count == (10 + 36) * vectors
        # 8-bit inputs once a pixel, 8-bit gradients once an output; no partial sums.
        assert chip.ledger.total(tile=name, op="routing").count == (4 + 10) * 8 * vectors


def test_a_transposed_convolution_converts_every_tap_of_every_input_position() -> None:
    layer, chip = hosted(nn.ConvTranspose2d(70, 6, 4, stride=2, padding=1), "core")
    chip.ledger.load_state([])
    with torch.no_grad():
        layer(torch.randn(2, 70, 4, 5))
    rows, columns, vectors = 70, 6 * 16, 2 * 4 * 5
    assert len(chip.tiles) == 2 * 4
    assert chip.ledger.total(op="read").count == 2 * rows * columns * vectors
    assert chip.ledger.total(op="dac").count == 4 * rows * vectors
    assert chip.ledger.total(op="adc").count == 2 * columns * vectors
    # Inputs go to four tiles each; sums of the second run of rows travel to the first.
    assert chip.ledger.total(op="routing").count == (4 * rows * 8 + columns * 16) * vectors


def test_a_kernel_larger_than_a_tile_is_charged_as_a_stack_of_tiles() -> None:
    layer, chip = hosted(nn.Conv2d(2, 6, 9), "core", tile_rows=32)
    chip.ledger.load_state([])
    with torch.no_grad():
        layer(torch.randn(1, 2, 9, 12))
    assert list(chip.tiles) == ["0[0:81,0:6]", "0[81:162,0:6]"]
    assert chip.ledger.total(op="dac").count == 162 * 4
    assert chip.ledger.total(op="adc").count == 2 * 3 * 6 * 4
    # Of six partial sums of each column, all but the first travel.
    assert chip.ledger.total(op="routing").count == 5 * 6 * 16 * 4 + 2 * 8 * 9 * 12


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_overlap_add_is_the_adjoint_of_windows(dims: int) -> None:
    rng = torch.Generator().manual_seed(3)
    kernel, stride, padding, dilation = (
        v[:dims] for v in ((3, 2, 4), (2, 1, 3), (1, 0, 2), (1, 2, 1))
    )
    x = torch.randn(2, 3, *(9, 7, 8)[:dims], generator=rng, dtype=torch.float64)
    seen = windows(x, kernel, stride, padding, dilation)
    parts = torch.randn(seen.shape, generator=rng, dtype=torch.float64)
    back = overlap_add(parts, stride, padding, dilation, x.shape[2:])
    assert float((seen * parts).sum()) == pytest.approx(float((x * back).sum()), rel=1e-12)
    wrong = overlap_add(parts.flip(-1), stride, padding, dilation, x.shape[2:])
    assert float((seen * parts).sum()) != pytest.approx(float((x * wrong).sum()), rel=1e-3)


def test_wrong_inputs_and_leaves_are_refused_in_one_sentence() -> None:
    layer, _ = hosted(nn.Conv1d(4, 4, 3), "core")
    with pytest.raises(ShapeError, match=r"takes \[B, 4, L\]"):
        layer(torch.zeros(1, 3, 8))
    layer, _ = hosted(nn.Conv3d(4, 4, 3, padding=1, padding_mode="circular"), "core")
    with pytest.raises(ShapeError, match=r"takes \[B, 4, D, H, W\]"):
        layer(torch.zeros(1, 4, 8, 8))
    layer, _ = hosted(nn.ConvTranspose1d(4, 4, 2, padding=3), "core")
    with pytest.raises(ShapeError, match="give a larger input or less padding"):
        layer(torch.zeros(1, 4, 2))
    for leaf, words in (
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3)), "make it plain first"),
        (nn.LazyConv2d(3, 3), "pass one input through it"),
        (nn.Conv1d(3, 3, 3, dtype=torch.complex64), "real weights"),
    ):
        with pytest.raises(ConfigError, match=words):
            host(nn.Sequential(leaf), assign=lambda *_: "core", seed=1, spec=ChipSpec())


@pytest.mark.parametrize(("leaf", "size"), [STRAIGHT[5], STRAIGHT[12], TRANSPOSED[3]], ids=ids)
def test_plain_torch_reads_alike(leaf: nn.Module, size: tuple[int, ...]) -> None:
    x = inputs(leaf, size)
    outs = [hosted(leaf, "core", kernels=k)[0](x).detach() for k in (True, False)]
    assert torch.allclose(outs[0], outs[1], atol=1e-5)


def lesson(leaf: Any, size: tuple[int, ...], rule: PulseRule, lr: float) -> float:
    """Loss after 80 steps towards another layer of the kind, as a share of the loss before."""
    torch.manual_seed(0)
    net, target = nn.Sequential(copy.deepcopy(leaf)), copy.deepcopy(leaf)
    for parameter in target.parameters():
        nn.init.normal_(parameter, std=0.3)
    spec = ChipSpec(spreads=False, dead_cells=False)
    chip = host(net, assign=lambda *_: "plastic", seed=5, spec=spec)
    optimizer = chip.optimizer(net.parameters(), lr=lr, rule=rule)
    losses = []
    for _ in range(80):
        x = torch.randn(6, leaf.in_channels, *size)
        optimizer.zero_grad()
        loss = (net(x) - target(x).detach()).square().sum(1).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses[-5:]) / sum(losses[:5])


@pytest.mark.parametrize("mode", ["mixed", "stochastic"])
@pytest.mark.parametrize(("leaf", "size"), [STRAIGHT[4], STRAIGHT[13], TRANSPOSED[3]], ids=ids)
def test_every_kind_learns_by_pulses(leaf: Any, size: tuple[int, ...], mode: Any) -> None:
    rule = PulseRule(mode=mode, precondition="none")
    assert lesson(leaf, size, rule, 0.05) < 0.5
    assert lesson(leaf, size, rule, 1e-6) > 0.8


def test_converters_of_a_transposed_layer_belong_to_its_columns() -> None:
    """A wrong gain of one column shows at its tap of its output and nowhere else."""
    leaf = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2, bias=False)
    kind = ConverterKind(gain_error=0.1)
    quiet = {"read_noise": "off", "dac_bits": 0, "adc_bits": 16}
    layer, _ = hosted(leaf, "core", converters=kind, **quiet)
    plain, _ = hosted(leaf, "core", **quiet)
    x = torch.randn(3, 6, 5, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ratio = layer(x) / plain(x)
    taps = ratio.unflatten(2, (5, 2)).unflatten(4, (5, 2)).movedim(4, 3)  # [B, O, 5, 5, 2, 2]
    seen = taps.movedim(1, 3).flatten(0, 2).median(0).values.view(2, 8)
    gains = [
        column_flaws(kind, fold(5, "adc", tile.name), torch.empty(8))[0] for tile in layer.tiles
    ]
    assert torch.allclose(seen, torch.stack(gains), atol=2e-3)
    assert float(seen.std()) > 0.05
