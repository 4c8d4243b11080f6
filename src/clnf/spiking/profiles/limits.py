"""What of a stage or of a row of them does not fit a chip, one finding at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch

from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.profiles.fixed import FREE_BITS, decays_of, numbers_of, refused
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.stages import Stage

__all__ = ["Finding", "of_net", "of_stage"]

_INSTEAD = {
    "convolution": "write it as a matrix, or take a chip with convolutions",
    "linear": "write it as a convolution",
    "pool": "take a stride in the convolution before",
    "recurrent": "leave the recurrent weights out",
}
_RESETS = {
    "by subtraction": "give the cell reset_v=0.0",
    "to a value": "give the cell reset_v=0.0, or None to subtract the threshold",
}
_CELLS = ("IF", "LIF", "CubaLIF", "LI", "CubaLI")
_FAR = 0.05  # of how long a state lasts, between a net and a chip


@final
@dataclass(frozen=True)
class Finding:
    """Something that does not fit, or that one should know.

    Attributes:
        layer: name of the modules; empty for the whole net.
        limit: what is limited.
        value: what the net has.
        allowed: what the chip has.
        advice: what to do.
        fits: False where the net cannot be put on the chip for this.
    """

    layer: str
    limit: str
    value: str
    allowed: str
    advice: str
    fits: bool = False


def _words(allowed: tuple[object, ...]) -> str:
    return ", ".join(map(str, allowed))


def of_stage(stage: Stage, profile: ChipProfile) -> Iterator[Finding]:
    """What of one stage does not fit, whatever is around it."""
    name = stage.name
    if stage.odd:
        advice = "write it as a row of weights and populations of clnf.spiking"
        yield Finding(name, "layer", stage.odd, "weights, then cells", advice)
        return
    kinds = {stage.kind if stage.by is not None else "linear"}
    kinds |= {"recurrent"} if stage.ring is not None else set()
    kinds |= {"pool"} if stage.pool != (1, 1) else set()
    for kind in sorted(kinds):
        if profile.kinds is not None and kind not in profile.kinds:
            yield Finding(name, "kind of layer", kind, _words(profile.kinds), _INSTEAD[kind])
    yield from _of_cell(stage, profile)
    if isinstance(stage.by, Convolution):
        yield from _of_convolution(stage, stage.by, profile)
    if profile.pools is not None and any(one not in profile.pools for one in stage.pool):
        size = "x".join(map(str, stage.pool))
        yield Finding(name, "pooling", size, _words(profile.pools), "pool by another size")
    if not refused(stage, profile):
        yield from _of_weights(stage, profile)
        yield from _of_decay(stage, profile)


def _of_cell(stage: Stage, profile: ChipProfile) -> Iterator[Finding]:
    fault = refused(stage, profile)
    if fault.startswith("a reset "):
        how, allowed = fault.removeprefix("a reset "), profile.resets or ("zero", "subtract")
        advice = _RESETS[how]
        if "zero" not in allowed:
            advice = "leave reset_v out: the threshold is subtracted"
        yield Finding(stage.name, "reset", how, _words(allowed), advice)
    elif fault.startswith("cells of kind "):
        cell = fault.removeprefix("cells of kind ")
        allowed_cells = _words(profile.cells or _CELLS)
        yield Finding(stage.name, "cell", cell, allowed_cells, "train with another cell")
    elif fault.startswith("a threshold of "):
        level = fault.removeprefix("a threshold of ")
        advice = "give the cell a threshold_v above 0"
        yield Finding(stage.name, "threshold", level, "above 0 V, finite", advice)
    elif fault:
        yield Finding(stage.name, "cell", fault, "none of it", "leave it out")


def _of_convolution(stage: Stage, how: Convolution, profile: ChipProfile) -> Iterator[Finding]:
    assert stage.weight is not None
    name, (features, _, *kernel) = stage.name, stage.weight.shape
    shown, most = "x".join(map(str, kernel)), profile.kernel_max
    if most is not None and max(kernel) > most:
        yield Finding(name, "kernel", shown, f"at most {most}x{most}", "take a smaller kernel")
    if profile.kernel_square and kernel[0] != kernel[1]:
        yield Finding(name, "kernel", shown, "square", "fill it up with zeros to a square")
    if profile.features is not None and features > profile.features:
        yield Finding(name, "features", f"{features}", f"{profile.features}", "take fewer channels")
    if profile.strides is not None and any(one not in profile.strides for one in how.stride):
        stride = "x".join(map(str, how.stride))
        advice = "take one of these on both axes"
        yield Finding(name, "stride", stride, _words(profile.strides), advice)


def _of_weights(stage: Stage, profile: ChipProfile) -> Iterator[Finding]:
    """Notes on what whole numbers lose; weights without values, as of a description, lose none."""
    if stage.weight is None or stage.weight.is_meta:
        return
    by, top = numbers_of(stage, profile), profile.top_weight
    if by.used < top // 2:
        advice = "the threshold takes the range; larger weights leave less to rounding"
        yield Finding(stage.name, "weights", f"{by.used} steps used", f"{top}", advice, True)
    if profile.input_bits is None:
        return
    arrives = by.weight.detach().abs().flatten(1).sum(1)
    if by.ring is not None:
        arrives = arrives + by.ring.detach().abs().sum(1)
    found, most = int(arrives.max()) >> profile.input_shift, 2 ** (profile.input_bits - 1) - 1
    if found > most:
        advice = "saturates where so many inputs spike at once"
        yield Finding(stage.name, "sum of a step", f"up to {found}", f"{most}", advice, True)


def _of_decay(stage: Stage, profile: ChipProfile) -> Iterator[Finding]:
    """Decays that a chip holds otherwise, by the steps 1 / (1 - decay) that a state lasts.

    That measure sees long time constants, whose decays differ little, and not short ones, of which
    a step leaves next to nothing either way.
    """
    for what, wanted, held in decays_of(stage, profile):
        leaves = [1.0 - one for one in torch.broadcast_tensors(wanted, held)]
        # 0/0 is nan, and a state that neither loses differs in nothing.
        off = (leaves[0] / leaves[1] - 1.0).abs().nan_to_num(nan=0.0, posinf=torch.inf).flatten()
        if float(off.max()) > _FAR:
            at = int(off.argmax())
            net, chip = (float(one.flatten()[at]) for one in leaves)
            bits = f"by {profile.decay_bits or FREE_BITS} bits"
            how = {"shift": "by a shift", "none": "there is no decay"}.get(profile.decay, bits)
            advice = "train with the limits on, or take a time constant that is one"
            yield Finding(stage.name, what, _lasting(net), f"{_lasting(chip)}, {how}", advice, True)


def _lasting(loss: float) -> str:
    """A decay by what a step loses of a state."""
    steps = f"lasts {1.0 / loss:.4g} steps" if loss > 0 else "lasts for ever"
    return f"{1.0 - loss:.3f} a step, {steps}"


def of_net(stages: list[Stage], profile: ChipProfile) -> Iterator[Finding]:
    """What of a row of stages does not fit, sizes apart."""
    steps = sorted({one.dt_s for one in stages if one.cell is not None})
    if len(steps) > 1:
        seen = ", ".join(f"{one:g} s" for one in steps)
        yield Finding("", "steps", seen, "one for all", "give all layers one dt_s")
    if profile.output_neurons is None or profile.neurons is None:
        return
    last = stages[-1]
    if len(stages) == 1:
        allowed = "inputs reach hidden cells only"
        yield Finding(last.name, "layers", "1", allowed, "put a layer in between")
    elif last.ring is not None:
        allowed = "not in the last layer"
        yield Finding(last.name, "kind of layer", "recurrent", allowed, _INSTEAD["recurrent"])
