"""Programming and drift of phase-change cells in few passes over memory.

A published error is a polynomial of the target, a published drift exponent follows the logarithm
of what was written (:mod:`clnf.devices.programming`, :mod:`clnf.devices.drift`). Where a cell has
these laws, kernels work on sixteen cells at a time:

    written      G = max(G(w) + max(poly(G(w) / unit), 0) xi, 0),  weight = f sum_p (+-) w(G_p)
    settled      w = w(G),  nu = |mu(g) + sigma(g) xi|,  g = clip(G / Gmax, 1e-4, 1)
    drifted      w = w(G exp(-nu ln(1 + age / t0)))

Their torch twins below give the same bits. ln(1 + x) loses digits for ages far below t0, to 1e-7
absolute, which moves a conductance by less than 1e-8 of itself.

Legend: C columns, R rows, M = C R weights, P planes of cells.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from clnf.devices import reference
from clnf.devices.cell import Cell, Unknown
from clnf.devices.dispatch import run
from clnf.devices.drift import PowerDrift
from clnf.devices.programming import PolynomialError
from clnf.devices.sixteen import (
    WIDTH,
    any_of,
    every,
    every_word,
    greater,
    lesser,
    load,
    load_words,
    magnitude,
    save,
)
from clnf.devices.sixteen_maths import exponential, gauss8, logarithm

__all__ = ["Laws", "Writing", "drift_numbers", "drifted", "error_numbers", "settled", "written"]

_F = np.float32
_U = np.uint32
_I = np.uintp
_LANES = np.arange(WIDTH, dtype=np.uint32)
_LEAST = 1e-4  # of full scale: laws in ln g are cut here
# Places of the numbers: conductance of w, then drift's full scale, time and two logarithmic laws.
_LOW, _PER_W, _LOW_S, _PER_S, _FULL, _AFTER, _MEAN, _SPREAD = 0, 1, 2, 3, 4, 5, 6, 10
_UNIT, _FIRST = 4, 5  # and those of an error: unit and coefficients


class Laws(NamedTuple):
    """Laws of one write.

    Attributes:
        lines: where each plane puts a weight of 0, and what it adds per unit above and below 0,
            [P, 3].
        errors: :func:`error_numbers`.
        numbers: :func:`drift_numbers`.
    """

    lines: Any
    errors: Any
    numbers: Any


class Writing(NamedTuple):
    """What a write changes of cells.

    Attributes:
        seen: w that is reached, [P M].
        trait: drift exponent, [P M].
        born_s: set to ``now_s``, [P M].
        wear: pulses so far, one more of each cell, int32 [P M].
        weight: weights that so come about, [M].
        now_s: time of the write.
    """

    seen: Any
    trait: Any
    born_s: Any
    wear: Any
    weight: Any
    now_s: float


def _window(cell: Cell) -> list[float]:
    window, (low, high) = cell.need(cell.window), cell.bounds
    return [low, window.span_s / (high - low), window.low_s, (high - low) / window.span_s]


def error_numbers(cell: Cell) -> Tensor | None:
    """Numbers of :func:`written`, or None where the error of this cell is another law."""
    error = cell.programming
    if isinstance(cell.window, Unknown) or not isinstance(error, PolynomialError):
        return None
    return torch.tensor([*_window(cell), 1 / error.unit_s, *error.coefficients_s])


def drift_numbers(cell: Cell) -> Tensor | None:
    """Numbers of this file's other laws, or None where this cell drifts by another one."""
    drift = cell.drift
    if isinstance(cell.window, Unknown) or not isinstance(drift, PowerDrift):
        return None
    if drift.mean_above or drift.spread_above:
        return None
    scale = [1 / drift.conductance_max_s, 1 / drift.reference_s]
    return torch.tensor([*_window(cell), *scale, *drift.mean, *drift.spread])


def _run(kernel: Any, plain: Any, cells: int, args: tuple[Any, ...], compiled: bool) -> None:
    run(kernel, plain, args, compiled=compiled and cells >= WIDTH)


def settled(
    written_s: Tensor,
    numbers: Tensor,
    key: NDArray[np.uint32],
    seen: Tensor,
    trait: Tensor,
    *,
    compiled: bool = True,
) -> None:
    """Set ``seen`` and ``trait`` [M] of cells just written, [M] in S."""
    args = written_s, numbers, key, seen, trait
    _run(_settled, _plain_settled, len(seen), args, compiled)


def written(
    target: Tensor,
    scales: Tensor,
    laws: Laws,
    keys: NDArray[np.uint32],
    cells: Writing,
    *,
    compiled: bool = True,
) -> None:
    """Program weights in one pass.

    Args:
        target: weights, [M].
        scales: weight at full scale of each column, and what one w counts in it, [2, C].
        laws: of these cells.
        keys: two words for the error of programming, two for the drift.
        cells: written in place.
        compiled: use the compiled kernel, not its torch twin.
    """
    rows = len(target) // scales.shape[1]
    _run(_written, _plain_written, rows, (target, scales, laws, keys, cells), compiled)


def drifted(
    seen: Tensor,
    trait: Tensor,
    born_s: Tensor,
    now_s: float,
    numbers: Tensor,
    *,
    compiled: bool = True,
) -> Tensor:
    """What has become of ``seen`` [M] by now."""
    out = torch.empty_like(seen)
    args = seen, trait, born_s, torch.tensor([now_s]), numbers, out
    _run(_drifted, _plain_drifted, len(seen), args, compiled)
    return out


# The last sixteen cells may overlap those before: they are worked out twice, to the same bits.
@njit(inline="always")
def _conductance(w: Any, numbers: NDArray[np.float32]) -> Any:
    g = (w - every(numbers[_LOW])) * every(numbers[_PER_W]) + every(numbers[_LOW_S])
    return greater(g, every(_F(0.0)))


@njit(inline="always")
def _weight(g: Any, numbers: NDArray[np.float32]) -> Any:
    return (g - every(numbers[_LOW_S])) * every(numbers[_PER_S]) + every(numbers[_LOW])


@njit(inline="always")
def _clip_line(x: Any, numbers: NDArray[np.float32], at: int) -> Any:
    y = x * every(numbers[at]) + every(numbers[at + 1])
    return lesser(greater(y, every(numbers[at + 2])), every(numbers[at + 3]))


@njit(inline="always")
def _erring(w: Any, numbers: NDArray[np.float32], draw: Any) -> Any:
    target, last = _conductance(w, numbers), numbers.shape[0] - 1
    x, sigma = target * every(numbers[_UNIT]), every(numbers[last])
    for k in range(last - 1, _FIRST - 1, -1):
        sigma = sigma * x + every(numbers[k])
    sigma = greater(sigma, every(_F(0.0)))
    return greater(sigma * draw + target, every(_F(0.0)))


@njit(inline="always")
def _exponent(written: Any, numbers: NDArray[np.float32], draw: Any) -> Any:
    g = written * every(numbers[_FULL])
    log = logarithm(lesser(greater(g, every(_F(_LEAST))), every(_F(1.0))))
    mean, spread = _clip_line(log, numbers, _MEAN), _clip_line(log, numbers, _SPREAD)
    return magnitude(spread * draw + mean)


@njit(inline="always")
def _one_plane(w: Any, to: Any, cell: Any, laws: Laws, words: Any, cells: Writing) -> Any:
    """Write sixteen cells of a plane, from place ``to`` on, and say what they reached."""
    written = _erring(w, laws.errors, gauss8(cell, words[0], words[1]))
    reached = _weight(written, laws.numbers)
    save(cells.seen, to, reached)
    save(cells.trait, to, _exponent(written, laws.numbers, gauss8(cell, words[2], words[3])))
    return reached


@njit(inline="always")
def _aim(lines: NDArray[np.float32], plane: Any, up: Any, down: Any) -> Any:
    return every(lines[plane, 0]) + (every(lines[plane, 1]) * up + every(lines[plane, 2]) * down)


@njit(inline="always")
def _tally(cells: Writing, start: Any, stop: Any) -> None:
    now = _F(cells.now_s)
    for i in range(start, stop):
        cells.born_s[i] = now
        cells.wear[i] += np.int32(1)


@njit(nogil=True, cache=True)
def _written(
    target: NDArray[np.float32],
    scales: NDArray[np.float32],
    laws: Laws,
    keys: NDArray[np.uint32],
    cells: Writing,
) -> None:
    count, columns = _I(target.shape[0]), _I(scales.shape[1])
    rows, planes = count // columns, _I(laws.lines.shape[0])
    lanes, zero = load_words(_LANES, _I(0)), every(_F(0.0))
    words = keys[0], keys[1], keys[2], keys[3]
    for column in range(columns):
        full, each = every(scales[0, column]), every(scales[1, column])
        for group in range((rows + _I(WIDTH - 1)) // _I(WIDTH)):
            at = column * rows + min(group * _I(WIDTH), rows - _I(WIDTH))
            relative, apart = load(target, at) / full, zero
            up, down = greater(relative, zero), lesser(relative, zero)
            for plane in range(_I(0), planes, _I(2)):
                to = plane * count + at
                cell, w = lanes + every_word(_U(to)), _aim(laws.lines, plane, up, down)
                plus = _one_plane(w, to, cell, laws, words, cells)
                to, w = to + count, _aim(laws.lines, plane + _I(1), up, down)
                cell = lanes + every_word(_U(to))
                apart = apart + (plus - _one_plane(w, to, cell, laws, words, cells))
            save(cells.weight, at, apart * each)
        for plane in range(planes):
            start = plane * count + column * rows
            _tally(cells, start, start + rows)


def _plain_written(
    target: Tensor, scales: Tensor, laws: Laws, keys: Tensor, cells: Writing
) -> None:
    relative = (target.view(scales.shape[1], -1) / scales[0][:, None]).view(-1)
    up, down = relative.clamp(min=0.0), relative.clamp(max=0.0)
    w = torch.cat([line[0] + (line[1] * up + line[2] * down) for line in laws.lines])
    out = torch.empty_like(w)
    _plain_programmed(w, laws.errors, keys[:2], out)
    _plain_settled(out, laws.numbers, keys[2:], cells.seen, cells.trait)
    cells.born_s.fill_(cells.now_s)
    cells.wear.add_(1)
    apart, planes = torch.zeros_like(target), cells.seen.view(len(laws.lines), -1)
    for plane in range(0, len(planes), 2):
        apart += planes[plane] - planes[plane + 1]
    cells.weight.copy_((apart.view(scales.shape[1], -1) * scales[1][:, None]).view(-1))


def _plain_conductance(w: Tensor, numbers: Tensor) -> Tensor:
    return (w - numbers[_LOW]).mul_(numbers[_PER_W]).add_(numbers[_LOW_S]).clamp_(min=0.0)


def _plain_weight(g: Tensor, numbers: Tensor) -> Tensor:
    return (g - numbers[_LOW_S]).mul_(numbers[_PER_S]).add_(numbers[_LOW])


def _plain_clip_line(x: Tensor, numbers: Tensor, at: int) -> Tensor:
    low, high = float(numbers[at + 2]), float(numbers[at + 3])
    return (x * numbers[at]).add_(numbers[at + 1]).clamp_(low, high)


def _normals(like: Tensor, key: Tensor) -> Tensor:
    out = torch.empty_like(like)
    reference.fill_gauss(out, key, 0)
    return out


def _plain_programmed(w: Tensor, numbers: Tensor, key: Tensor, out: Tensor) -> None:
    target = _plain_conductance(w, numbers)
    x = target * numbers[_UNIT]
    sigma = torch.full_like(x, float(numbers[-1]))
    for k in range(len(numbers) - 2, _FIRST - 1, -1):
        sigma = sigma.mul_(x).add_(numbers[k])
    written = sigma.clamp_(min=0.0).mul_(_normals(w, key)).add_(target)
    out.copy_(written.clamp_(min=0.0))


@njit(nogil=True, cache=True)
def _settled(
    written_s: NDArray[np.float32],
    numbers: NDArray[np.float32],
    key: NDArray[np.uint32],
    seen: NDArray[np.float32],
    trait: NDArray[np.float32],
) -> None:
    count, lanes = _I(seen.shape[0]), load_words(_LANES, _I(0))
    key0, key1 = key[0], key[1]
    for group in range((count + _I(WIDTH - 1)) // _I(WIDTH)):
        at = min(group * _I(WIDTH), count - _I(WIDTH))
        draw = gauss8(lanes + every_word(_U(at)), key0, key1)
        written = load(written_s, at)
        save(seen, at, _weight(written, numbers))
        save(trait, at, _exponent(written, numbers, draw))


def _plain_settled(
    written_s: Tensor, numbers: Tensor, key: Tensor, seen: Tensor, trait: Tensor
) -> None:
    log = reference.logarithm((written_s * numbers[_FULL]).clamp_(float(_F(_LEAST)), 1.0))
    spread = _plain_clip_line(log, numbers, _SPREAD).mul_(_normals(written_s, key))
    seen.copy_(_plain_weight(written_s, numbers))
    trait.copy_(spread.add_(_plain_clip_line(log, numbers, _MEAN)).abs_())


@njit(nogil=True, cache=True)
def _drifted(
    seen: NDArray[np.float32],
    trait: NDArray[np.float32],
    born_s: NDArray[np.float32],
    now_s: NDArray[np.float32],
    numbers: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    count = _I(seen.shape[0])
    zero, after, now = every(_F(0.0)), every(numbers[_AFTER]), every(now_s[0])
    oldest = every(born_s[0])
    log = logarithm(every(_F(1.0)) + greater(now - oldest, zero) * after)
    for group in range((count + _I(WIDTH - 1)) // _I(WIDTH)):
        at = min(group * _I(WIDTH), count - _I(WIDTH))
        born = load(born_s, at)
        mine = log
        if any_of(born > oldest) or any_of(born < oldest):
            mine = logarithm(every(_F(1.0)) + greater(now - born, zero) * after)
        kept = exponential(zero - load(trait, at) * mine)
        save(out, at, _weight(kept * _conductance(load(seen, at), numbers), numbers))


def _plain_drifted(
    seen: Tensor, trait: Tensor, born_s: Tensor, now_s: Tensor, numbers: Tensor, out: Tensor
) -> None:
    age = (now_s.to(born_s.device) - born_s).clamp_(min=0.0)
    log = reference.logarithm(1.0 + age * numbers[_AFTER])
    kept = reference.exponential(0.0 - trait * log)
    out.copy_(_plain_weight(kept * _plain_conductance(seen, numbers), numbers))
