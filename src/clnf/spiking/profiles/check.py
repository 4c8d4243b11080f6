"""Whether a net fits a chip: what does not and why, and how much of each resource is used."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from clnf.core.units import quantity
from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.profiles.fixed import numbers_of, refused
from clnf.spiking.profiles.placing import Memory, memory_of, place
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.stages import Shape, Stage, stages_of

__all__ = ["Finding", "Fit", "Use", "check"]


@final
@dataclass(frozen=True, kw_only=True)
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
        gaps: what was not checked, since nobody published it, and why.
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
    found = [one for stage in stages for one in _of_stage(stage, profile)]
    found += _of_net(stages, profile)
    uses, over = _uses(stages, profile)
    placed, lacks = _cores(stages, profile)
    found += [*over, *lacks]
    return Fit(
        chip=profile.name, findings=tuple(found), uses=uses, cores=placed, gaps=dict(profile.gaps)
    )


def _words(allowed: tuple[object, ...]) -> str:
    return ", ".join(map(str, allowed))


def _of_stage(stage: Stage, profile: ChipProfile) -> Iterator[Finding]:
    if stage.odd:
        yield Finding(layer=stage.name, limit="layer", value=stage.odd, allowed="weights, then cells",
                      advice="write it as a row of weights and populations of clnf.spiking")  # fmt: skip
        return
    kinds = {stage.kind if stage.by is not None else "linear"}
    kinds |= {"recurrent"} if stage.ring is not None else set()
    kinds |= {"pool"} if stage.pool != (1, 1) else set()
    for kind in sorted(kinds):
        if profile.kinds is not None and kind not in profile.kinds:
            yield Finding(layer=stage.name, limit="kind of layer", value=kind,
                          allowed=_words(profile.kinds), advice=_INSTEAD[kind])  # fmt: skip
    yield from _of_cell(stage, profile)
    if isinstance(stage.by, Convolution):
        yield from _of_convolution(stage, stage.by, profile)
    if profile.pools is not None and any(one not in profile.pools for one in stage.pool):
        yield Finding(layer=stage.name, limit="pooling", value="x".join(map(str, stage.pool)),
                      allowed=_words(profile.pools), advice="pool by another size or stride")  # fmt: skip
    if not refused(stage, profile):
        yield from _of_numbers(stage, profile)


_INSTEAD = {
    "convolution": "write it as a matrix, or take a chip with convolutions",
    "linear": "write it as a convolution",
    "pool": "take a stride in the convolution before",
    "recurrent": "leave the recurrent weights out",
}
_ADVICE = {
    "by subtraction": "give the cell reset_v=0.0",
    "to a value": "give the cell reset_v=0.0, or None to subtract the threshold",
}


def _of_cell(stage: Stage, profile: ChipProfile) -> Iterator[Finding]:
    fault = refused(stage, profile)
    if not fault:
        return
    if fault.startswith("a reset "):
        how = fault.removeprefix("a reset ")
        yield Finding(layer=stage.name, limit="reset", value=how,
                      allowed=_words(profile.resets or ("zero", "subtract")),
                      advice=_ADVICE[how])  # fmt: skip
    elif fault.endswith(" cell"):
        yield Finding(layer=stage.name, limit="cell", value=fault.removeprefix("a ").split()[0],
                      allowed=_words(profile.cells or ("IF", "LIF", "CubaLIF", "LI", "CubaLI")),
                      advice="train with another cell")  # fmt: skip
    else:
        yield Finding(layer=stage.name, limit="cell", value=fault, allowed="none of it",
                      advice="leave it out")  # fmt: skip


def _of_convolution(stage: Stage, how: Convolution, profile: ChipProfile) -> Iterator[Finding]:
    assert stage.weight is not None
    features, _, *kernel = stage.weight.shape
    shown = "x".join(map(str, kernel))
    if profile.kernel_max is not None and max(kernel) > profile.kernel_max:
        yield Finding(layer=stage.name, limit="kernel", value=shown,
                      allowed=f"at most {profile.kernel_max}x{profile.kernel_max}",
                      advice="take a smaller kernel")  # fmt: skip
    if profile.kernel_square and kernel[0] != kernel[1]:
        yield Finding(layer=stage.name, limit="kernel", value=shown, allowed="square",
                      advice="fill it up with zeros to a square")  # fmt: skip
    if profile.features is not None and features > profile.features:
        yield Finding(layer=stage.name, limit="features", value=str(features),
                      allowed=str(profile.features), advice="take fewer channels")  # fmt: skip
    if profile.strides is not None and any(one not in profile.strides for one in how.stride):
        yield Finding(layer=stage.name, limit="stride", value="x".join(map(str, how.stride)),
                      allowed=_words(profile.strides), advice="take one of these on both axes")  # fmt: skip


def _of_numbers(stage: Stage, profile: ChipProfile) -> Iterator[Finding]:
    """Notes on what is lost in whole numbers."""
    by = numbers_of(stage, profile)
    top = profile.top_weight
    if stage.weight is not None and by.used < top // 2:
        yield Finding(layer=stage.name, limit="weights", value=f"{by.used} steps used",
                      allowed=f"{top} steps", fits=True,
                      advice="the threshold takes the range; larger weights or a lower threshold "
                      "leave less to rounding")  # fmt: skip
    if profile.input_bits is not None and stage.weight is not None:
        arrives = by.weight.detach().abs().flatten(1).sum(1)
        if by.ring is not None:
            arrives = arrives + by.ring.detach().abs().sum(1)
        most = int(arrives.max()) >> profile.input_shift
        if most >= 2 ** (profile.input_bits - 1):
            yield Finding(layer=stage.name, limit="sum of a step", value=f"up to {most}",
                          allowed=f"{2 ** (profile.input_bits - 1) - 1}", fits=True,
                          advice="saturates where so many inputs spike at once")  # fmt: skip
    if profile.decay == "shift" and stage.cell is not None:
        real = torch.as_tensor(stage.cell.coefficients(stage.dt_s).decay, dtype=torch.float64)
        off = float((by.share.detach() - real).abs().max())
        if off > 0.01:
            yield Finding(layer=stage.name, limit="decay", value=f"{float(real.max()):.3f} a step",
                          allowed=f"{float(by.share.detach().max()):.3f} by a shift", fits=True,
                          advice="train with the limits on, or choose tau_s = dt_s * 2**n")  # fmt: skip


def _of_net(stages: list[Stage], profile: ChipProfile) -> Iterator[Finding]:
    steps = sorted({one.dt_s for one in stages if one.cell is not None})
    if len(steps) > 1:
        yield Finding(layer="", limit="steps", value=", ".join(f"{one:g} s" for one in steps),
                      allowed="one for all", advice="give all layers one dt_s")  # fmt: skip
    if profile.output_neurons is not None and profile.neurons is not None:
        if len(stages) == 1:
            yield Finding(layer=stages[0].name, limit="layers", value="1",
                          allowed="inputs reach hidden cells only",
                          advice="put a layer in between")  # fmt: skip
        elif stages[-1].ring is not None:
            yield Finding(layer=stages[-1].name, limit="kind of layer", value="recurrent",
                          allowed="not in the last layer", advice=_INSTEAD["recurrent"])  # fmt: skip


def _present(stage: Stage) -> torch.Tensor:
    """Which weights of a matrix are there, [N, I]; convolutions have another measure."""
    assert stage.weight is not None
    return stage.weight.detach() != 0


def _reaching(stage: Stage) -> int:
    """Most synapses of one cell."""
    if stage.weight is None:
        return 1
    found = _present(stage).flatten(1).sum(1)
    if stage.ring is not None:
        found = found + (stage.ring.detach() != 0).sum(1)
    return int(found.max()) * stage.pool[0] * stage.pool[1]


def _leaving(stages: list[Stage], place: int) -> int:
    """Most synapses that leave a cell of a stage for cells that are not of the last layer."""
    own, found = stages[place], torch.zeros(1, dtype=torch.int64)
    if own.ring is not None:
        found = found + (own.ring.detach() != 0).sum(0)
    behind = place + 1
    if behind < len(stages) - 1 and stages[behind].kind == "linear":
        found = found + _present(stages[behind]).sum(0)
    return int(found.max())


def _uses(stages: list[Stage], profile: ChipProfile) -> tuple[tuple[Use, ...], list[Finding]]:
    apart = profile.output_neurons is not None
    hidden, good = stages[:-1] if apart else stages, [one for one in stages if not one.odd]
    weights = sum(int((one.weight.detach() != 0).sum()) for one in good if one.weight is not None)
    weights += sum(int((one.ring.detach() != 0).sum()) for one in good if one.ring is not None)
    inner = [one for one in stages[1:-1] if one.kind == "linear" and one.weight is not None]
    between = sum(int(_present(one).sum()) for one in inner)
    between += sum(int((one.ring.detach() != 0).sum()) for one in hidden if one.ring is not None)
    rows: list[tuple[str, int, int | None, str]] = [
        ("inputs", torch.Size(stages[0].inputs).numel(), profile.inputs, "take fewer channels"),
        ("neurons", sum(one.cells for one in hidden), profile.neurons, "make layers smaller"),
        ("output neurons", stages[-1].cells, profile.output_neurons, "make the last layer smaller"),
        ("fan-in", max((_reaching(one) for one in good), default=0), profile.fan_in,
         "prune weights or cut the layer before"),
        ("fan-out", max(_leaving(stages, n) for n in range(len(stages))), profile.fan_out,
         "prune weights or make the next layer smaller"),
        ("synapses between hidden cells", between, profile.hidden_synapses, "prune weights"),
        ("weights, bits", weights * (profile.weight_bits or 0), profile.weight_memory_bits,
         "prune weights or make layers smaller"),
    ]  # fmt: skip
    if not profile.weight_bits:
        rows[-1] = ("memristive cells", 2 * weights, None, "")
    over = [
        Finding(layer="", limit=what, value=str(used), allowed=str(most), advice=advice)
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
        alone = any(core.holds(need) for core in cores)
        found.append(
            Finding(layer=stage.name, limit="core memory",
                    value=f"kernel {need.kernel}, neuron {need.neuron}, bias {need.bias} words",
                    allowed="no core is left" if alone else "no core holds both",
                    advice="leave out a layer or make one smaller" if alone
                    else "take fewer channels, a smaller kernel or a larger stride")
        )  # fmt: skip
    return placed, found
