"""Whole numbers for the parameters of a stage: weights, thresholds, biases and decays on a chip.

A potential is counted in steps of ``lsb_v`` volts. A weight of 1 is worth ``2**input_shift`` steps:

    weight     q = round(factor W / (2**input_shift lsb_v)),  -top <= q <= top
    threshold  round(threshold / lsb_v / 2**threshold_shift) 2**threshold_shift
    decay      K / 2**bits with K = round(2**bits decay), or 1 - 2**-dash with a whole dash

``lsb_v`` is the smallest at which the largest weight, the threshold and the biases all fit. What an
input of 1 moves, ``factor``, is the cell's kick, or what a current that it starts gives the
membrane. On the chips the current of a step moves the membrane in the same step; elsewhere in
``clnf.spiking`` a kick moves it from the next step on. Each Cuba stage is a step earlier on a chip.

All results are float64 and hold whole numbers, with gradients straight through the rounding.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.tensors import not_finite
from clnf.devices.draws import hash_normals
from clnf.spiking.coefficients import Coefficients, Value
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.rounding import rounded, through
from clnf.spiking.profiles.stages import Stage
from clnf.spiking.steps import resting

__all__ = ["FREE_BITS", "NEVER", "Die", "Numbers", "decays_of", "numbers_of", "refused"]

FREE_BITS = 16  # of decays, where a profile names none
NEVER = 62  # a shift that leaves a state alone
_FLOAT = torch.float64


class Die(NamedTuple):
    """One chip of many: its weights differ by mismatch and errors of writing.

    Attributes:
        seed: of the chip.
        place: of the stage on it.
    """

    seed: int
    place: str


class Numbers(NamedTuple):
    """A stage in whole numbers, counted in steps of the potential but for decays.

    Attributes:
        weight: of the stage's shape; one number where cells are reached one by one.
        ring: recurrent weights, or None.
        bias: added at each step.
        threshold: None for a read-out.
        keep: what a step leaves of a potential: K of 2**bits, or a shift.
        fading: the same of the current; None without one.
        share: ``keep`` as a number, with its gradient.
        fading_share: ``fading`` as a number, with its gradient.
        start: potential at rest.
        bits: of K.
        lsb_v: volts of a step of the potential.
        used: largest weight in use, of the profile's top.
    """

    weight: Tensor
    ring: Tensor | None
    bias: Tensor
    threshold: Tensor | None
    keep: Tensor
    fading: Tensor | None
    share: Tensor
    fading_share: Tensor | None
    start: Tensor
    bits: int
    lsb_v: float
    used: int


def refused(stage: Stage, profile: ChipProfile) -> str:
    """Why a stage has no whole numbers on a chip; empty where it has.

    What is looked at here cannot be counted at all; sizes are the check's.
    """
    if stage.odd or stage.cell is None:
        return stage.odd or "weights without cells"
    name, k = type(stage.cell).__name__, stage.cell.coefficients(stage.dt_s)
    if name == "AdaptiveLIF" or (profile.cells is not None and name not in profile.cells):
        return f"cells of kind {name}"
    if k.hold:
        return "a refractory time"
    if k.threshold is not None:
        level = _wide(k.threshold)
        off = ~((level > 0) & level.isfinite())
        if bool(off.any()):
            return f"a threshold of {float(level[off].flatten()[0]):g} V"
        reset = "subtract" if k.reset is None else "zero" if _is_zero(k.reset) else ""
        if not reset or (profile.resets is not None and reset not in profile.resets):
            return f"a reset {'by subtraction' if k.reset is None else 'to a value'}"
    if k.synapse is not None and not _is_zero(k.kick):
        return "a Cuba cell with drive='hold'"
    if k.synapse is not None and stage.bias is not None:
        return "a bias on a current"
    if stage.kind == "convolution" and not _alike(k):
        return "cells of a convolution that differ"
    return ""


def numbers_of(
    stage: Stage, profile: ChipProfile, die: Die | None = None, full_v: float | None = None
) -> Numbers:
    """The whole numbers of a stage.

    Args:
        stage: weights and cells.
        profile: of the chip.
        die: whose mismatch the weights have; None for none.
        full_v: what the largest number of a weight is worth, in volts, larger ones are cut; None
            for the largest weight in use.

    Raises:
        ConfigError: a stage that cannot be counted on the chip, see :func:`refused`, or weights
            that are not finite.
    """
    fault = refused(stage, profile)
    if fault or stage.cell is None:
        raise ConfigError(
            f"layer {stage.name} cannot be run on {profile.name}: {fault}; clnf spike check says "
            "what to change"
        )
    _check_finite(stage)
    k = stage.cell.coefficients(stage.dt_s)
    factor = _wide(k.kick if k.synapse is None else k.synapse.current * k.synapse.uptake)
    pooled = factor / (stage.pool[0] * stage.pool[1])
    weight = torch.ones((), dtype=_FLOAT) if stage.weight is None else stage.weight.to(_FLOAT)
    weight = weight * _rows(pooled, weight)
    ring = None if stage.ring is None else stage.ring.to(_FLOAT) * _rows(factor, stage.ring)
    bias = _wide(k.rest)
    if stage.bias is not None:
        bias = bias + stage.bias.to(_FLOAT) * factor
    threshold = None if k.threshold is None else _wide(k.threshold)
    spanned: tuple[Tensor, Tensor | None] = (weight, ring)
    if full_v is not None:
        spanned = (full_v * factor, None)
    lsb_v = _lsb(profile, spanned, bias, threshold)
    made = [None if one is None else _counted(one, lsb_v, profile) for one in (weight, ring)]
    used = max(float(one.detach().abs().max()) for one in made if one is not None)
    given = [
        None if one is None else _spread(one, profile, die, role)
        for one, role in zip(made, ("weight", "ring"), strict=True)
    ]
    share, keep = _decay(_wide(k.decay), profile)
    faded = (None, None) if k.synapse is None else _decay(_wide(k.synapse.decay), profile)
    start = torch.zeros((), dtype=_FLOAT)
    leak = _wide(0.0 if k.leak is None else k.leak)
    at = _wide(resting(k._replace(decay=_wide(k.decay), rest=_wide(k.rest), leak=leak)))
    if bool((at != 0).any()):
        start = rounded(at / lsb_v).detach()
    return Numbers(
        weight=cast(Tensor, given[0]), ring=given[1], bias=_bias(bias / lsb_v, profile),
        threshold=None if threshold is None else _threshold(threshold / lsb_v, profile),
        keep=keep, fading=faded[1], share=share, fading_share=faded[0], start=start,
        bits=profile.decay_bits or FREE_BITS, lsb_v=lsb_v, used=int(used),
    )  # fmt: skip


def _check_finite(stage: Stage) -> None:
    named = (("weights", stage.weight), ("recurrent weights", stage.ring), ("biases", stage.bias))
    for what, one in named:
        bad = "" if one is None or one.is_meta else not_finite(one)
        if bad:
            raise ConfigError(
                f"{what} of layer {stage.name} are finite numbers, got {bad}; load others, or look "
                "for what overflowed in learning"
            )


def decays_of(stage: Stage, profile: ChipProfile) -> list[tuple[str, Tensor, Tensor]]:
    """What a step leaves of each state: its name, as the net has it, and as the chip holds it."""
    if stage.cell is None:
        return []
    k = stage.cell.coefficients(stage.dt_s)
    pairs = [("decay", k.decay)]
    pairs += [] if k.synapse is None else [("decay of the current", k.synapse.decay)]
    wide = [(what, _wide(one).detach()) for what, one in pairs]
    return [(what, one, _decay(one, profile)[0]) for what, one in wide]


def _wide(value: Value) -> Tensor:
    return (
        torch.as_tensor(value, dtype=_FLOAT) if not isinstance(value, Tensor) else value.to(_FLOAT)
    )


def _is_zero(value: Value | None) -> bool:
    return value is not None and bool((torch.as_tensor(value) == 0).all())


def _alike(k: Coefficients) -> bool:
    values: list[Any] = [k.decay, k.rest, k.kick, k.threshold, *(k.synapse or ())]
    return all(not isinstance(one, Tensor) or one.numel() == 1 for one in values)


def _rows(factor: Tensor, weight: Tensor) -> Tensor:
    """One factor for each row of weights."""
    return factor if factor.dim() == 0 else factor.reshape(-1, *(1 for _ in weight.shape[1:]))


def _most(bits: int) -> int:
    return int(2 ** (bits - 1)) - 1


def _lsb(
    profile: ChipProfile,
    weights: tuple[Tensor, Tensor | None],
    bias: Tensor,
    threshold: Tensor | None,
) -> float:
    """The smallest step at which all fit, V."""
    one = 2.0**profile.input_shift
    needs = [float(w.detach().abs().max()) / (profile.top_weight * one)
             for w in weights if w is not None]  # fmt: skip
    state = None if profile.potential_bits is None else float(_most(profile.potential_bits))
    if threshold is not None:
        most = _top_threshold(profile)
        needs += [] if most is None else [float(threshold.detach().max()) / most]
    most = state
    if profile.bias_bits is not None:
        most = float(_most(profile.bias_bits) << profile.bias_exponents)
    needs += [] if most is None else [float(bias.detach().abs().max()) / most]
    found = max(needs)
    if not 0 < found < float("inf"):
        raise ConfigError("weights without a value above 0 have no scale; draw or load some")
    return found


def _top_threshold(profile: ChipProfile) -> float | None:
    tops = []
    if profile.threshold_bits is not None:
        tops.append(float((2**profile.threshold_bits - 1) << profile.threshold_shift))
    if profile.potential_bits is not None:
        tops.append(float(_most(profile.potential_bits)))
    return min(tops) if tops else None


def _counted(weight: Tensor, lsb_v: float, profile: ChipProfile) -> Tensor:
    top = float(profile.top_weight)
    return rounded(weight / (lsb_v * 2.0**profile.input_shift)).clamp(-top, top)


def _spread(q: Tensor, profile: ChipProfile, die: Die | None, role: str) -> Tensor:
    """Weights in steps of the potential, with the errors of one chip."""
    one = 2.0**profile.input_shift
    if die is None or not (profile.mismatch or profile.write_error):
        return q * one
    place, size = ("die", die.place, role), tuple(q.shape)
    found = q
    if profile.mismatch:
        found = found * (
            1.0 + profile.mismatch * hash_normals(die.seed, (*place, "mismatch"), size)
        )
    if profile.write_error:
        draws = hash_normals(die.seed, (*place, "write"), size).to(_FLOAT)
        found = found + profile.write_error * profile.top_weight * draws
    return rounded(found * one)


def _bias(bias: Tensor, profile: ChipProfile) -> Tensor:
    if profile.bias_bits is None:
        return rounded(bias)
    most = float(_most(profile.bias_bits))
    over = (bias.detach().abs().clamp_min(1.0) / most).log2().ceil()
    unit = 2.0 ** over.clamp(0, profile.bias_exponents)
    return rounded(bias / unit).clamp(-most, most) * unit


def _threshold(threshold: Tensor, profile: ChipProfile) -> Tensor:
    unit, top = 2.0**profile.threshold_shift, _top_threshold(profile)
    found = rounded(threshold / unit).clamp_min(1.0) * unit
    return found if top is None else found.clamp_max(float(int(top / unit) * unit))


def _decay(decay: Tensor, profile: ChipProfile) -> tuple[Tensor, Tensor]:
    """A decay as a number, and as the chip holds it."""
    if profile.decay == "none":
        return torch.ones_like(decay), torch.full_like(decay, NEVER)
    if profile.decay == "shift":
        most = NEVER if profile.decay_bits is None else min(NEVER, 2**profile.decay_bits - 1)
        dash = (-(1.0 - decay.detach()).clamp_min(2.0**-NEVER).log2()).round().clamp(0, most)
        return through(1.0 - 2.0**-dash, decay), dash
    one = 2.0 ** (profile.decay_bits or FREE_BITS)
    kept = (decay.detach() * one).round().clamp(0.0, one)
    return through(kept / one, decay), kept
