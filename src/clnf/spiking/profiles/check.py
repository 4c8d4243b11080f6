"""Whether a net fits a chip: what does not and why, and how much of each resource is used."""

from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from clnf.core.units import quantity
from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.profiles.limits import Finding, of_net, of_stage
from clnf.spiking.profiles.placing import Memory, memory_of, place
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.stages import Shape, Stage, stages_of

__all__ = ["Finding", "Fit", "Use", "check"]


@final
@dataclass(frozen=True, kw_only=True)
class Use:
    """How much of a resource is used; ``most`` is None where nobody published a limit."""

    resource: str
    used: int = quantity("1")
    most: int | None = quantity("1")


@final
@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a check found.

    Attributes:
        chip: name of the profile.
        findings: what does not fit, and notes.
        uses: resources.
        cores: core of each layer, where the chip has cores of different sizes; None for no core.
        gaps: what was not checked, since nobody published it or the profile does not name it, and
            why.
    """

    chip: str
    findings: tuple[Finding, ...]
    uses: tuple[Use, ...]
    cores: dict[str, int | None]
    gaps: dict[str, str]

    @property
    def fits(self) -> bool:
        """Whether nothing stands against it."""
        return all(one.fits for one in self.findings)


def check(net: nn.Module, profile: ChipProfile, inputs: Shape | None = None) -> Fit:
    """Hold a net against a chip.

    Args:
        net: layers in a row, see :func:`clnf.spiking.profiles.stages.stages_of`.
        profile: of the chip.
        inputs: shape of one sample at one step, where the first layer does not tell it.

    Raises:
        ConfigError: no layers, or no shape and no way to know it.

    >>> from clnf.spiking import LIF, SpikingLinear
    >>> from clnf.spiking.profiles.profile import profile
    >>> net = SpikingLinear((40, 30), LIF(), dt_s=1e-3)
    >>> [(one.limit, one.value) for one in check(net, profile("loihi")).findings]
    [('reset', 'by subtraction')]
    """
    stages = stages_of(net, inputs)
    found = [one for stage in stages for one in of_stage(stage, profile)]
    found += of_net(stages, profile)
    uses, over = _uses(stages, profile)
    placed, lacks = _cores(stages, profile)
    found += [*over, *lacks]
    return Fit(
        chip=profile.name, findings=tuple(found), uses=uses, cores=placed, gaps=_gaps(profile)
    )


def _gaps(profile: ChipProfile) -> dict[str, str]:
    """Limits that a profile says are not known, and those that it does not name at all."""
    looked_at = ["inputs", "neurons", "output_neurons", "fan_in", "fan_out", "hidden_synapses",
                 "kinds", "cells", "resets"]  # fmt: skip
    if profile.weight_bits is not None and profile.cores is None:
        looked_at.append("weight_memory_bits")
    if profile.kinds is None or "convolution" in profile.kinds:
        looked_at += ["kernel_max", "features", "strides"]
    if profile.kinds is None or "pool" in profile.kinds:
        looked_at.append("pools")
    unsaid = [key for key in looked_at if getattr(profile, key) is None and key not in profile.gaps]
    return dict(profile.gaps) | dict.fromkeys(unsaid, "the profile does not name it")


def _synapses(weight: torch.Tensor | None) -> int:
    """How many weights are there; all of those that have a size and no values."""
    if weight is None:
        return 0
    return weight.numel() if weight.is_meta else int((weight.detach() != 0).sum())


def _along(weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Weights of a matrix that are there along an axis; one number where all are."""
    if weight.is_meta:
        return torch.tensor([weight.shape[axis]])
    return (weight.detach() != 0).sum(axis)


def _reaching(stage: Stage) -> int:
    """Most synapses of one cell."""
    if stage.weight is None:
        return 1
    found = _along(stage.weight.flatten(1), 1)
    if stage.ring is not None:
        found = found + _along(stage.ring, 1)
    return int(found.max()) * stage.pool[0] * stage.pool[1]


def _leaving(stages: list[Stage], place: int, apart: bool) -> int:
    """Most synapses that leave a cell of a stage; ``apart`` without those for the last stage."""
    own, found = stages[place], torch.zeros(1, dtype=torch.int64)
    if own.ring is not None:
        found = found + _along(own.ring, 0)
    behind = stages[place + 1] if place + 1 < len(stages) - apart else None
    if behind is None or behind.odd:
        return int(found.max())
    if behind.weight is None:
        return int(found.max()) + 1
    if isinstance(behind.by, Convolution):
        return int(found.max()) + _covered(behind.weight, behind.by, behind.outputs[1:])
    leaving = _along(behind.weight, 0)
    return int((found + leaving if len(leaving) == len(found) else found.max() + leaving).max())


def _covered(weight: torch.Tensor, how: Convolution, outputs: Shape) -> int:
    """Most windows, features apart, that a cell before a convolution is part of."""
    times, taps = 1, weight.detach() != 0
    if weight.is_meta:
        times, taps = weight.shape[0], torch.ones((1, 1, *weight.shape[2:]))
    sent = torch.ones((1, taps.shape[0], *outputs), dtype=torch.float64)
    found = torch.nn.functional.conv_transpose2d(
        sent, taps.to(torch.float64), stride=how.stride, padding=how.padding, dilation=how.dilation
    )
    return times * round(float(found.max()))


def _uses(stages: list[Stage], profile: ChipProfile) -> tuple[tuple[Use, ...], list[Finding]]:
    apart = profile.output_neurons is not None
    hidden, good = stages[:-1] if apart else stages, [one for one in stages if not one.odd]
    weights = sum(_synapses(one.weight) + _synapses(one.ring) for one in good)
    inner = [one for one in stages[1:-1] if one.kind == "linear"]
    between = sum(_synapses(one.weight) for one in inner) + sum(
        _synapses(one.ring) for one in hidden
    )
    rows: list[tuple[str, int, int | None, str]] = [
        ("inputs", torch.Size(stages[0].inputs).numel(), profile.inputs, "take fewer channels"),
        ("neurons", sum(one.cells for one in hidden), profile.neurons, "make layers smaller"),
        ("output neurons", stages[-1].cells, profile.output_neurons, "make the last layer smaller"),
        ("fan-in", max((_reaching(one) for one in good), default=0), profile.fan_in,
         "prune weights or cut the layer before"),
        ("fan-out", max(_leaving(stages, n, apart) for n in range(len(stages))), profile.fan_out,
         "prune weights or make the next layer smaller"),
        ("synapses between hidden cells", between, profile.hidden_synapses, "prune weights"),
        ("weights, bits", weights * (profile.weight_bits or 0), profile.weight_memory_bits,
         "prune weights or make layers smaller"),
    ]  # fmt: skip
    if not profile.weight_bits:
        rows[-1] = ("memristive cells", 2 * weights, None, "")
    over = [
        Finding("", what, f"{used}", f"{most}", advice)
        for what, used, most, advice in rows
        if most is not None and used > most
    ]
    return tuple(Use(resource=w, used=used, most=most) for w, used, most, _ in rows), over


def _cores(
    stages: list[Stage], profile: ChipProfile
) -> tuple[dict[str, int | None], list[Finding]]:
    """Cores for all layers where a chip has some of different sizes."""
    if profile.cores is None:
        return {}, []
    able = [one for one in stages if not one.odd and one.weight is not None]
    cores = [Memory(*one) for one in profile.cores]
    needs = [memory_of(one) for one in able]
    placed = dict(zip((one.name for one in able), place(needs, cores), strict=True))
    found = []
    for stage, need in zip(able, needs, strict=True):
        if placed[stage.name] is not None:
            continue
        small = not any(core.holds(need) for core in cores)
        size = f"kernel {need.kernel}, neuron {need.neuron}, bias {need.bias} words"
        allowed = "no core holds all" if small else "no core is left"
        advice = "take fewer channels, a smaller kernel or a larger stride"
        advice = advice if small else "leave out a layer or make one smaller"
        found.append(Finding(stage.name, "core memory", size, allowed, advice))
    return placed, found
