"""NeuroBench's measures of complexity for nets of this room.

    activation sparsity     zeros among all outputs of spiking cells, over steps and samples
    synaptic operations     per sample; MACs where a step's inputs of a layer are other than -1, 0,
                            1, else ACs; effective: inputs and weights other than 0; dense: all;
                            biases are none
    membrane updates        per sample: every cell at the first step, then those whose potential
                            changed in the step
    connection sparsity     zeros among weights, biases apart, to four places
    footprint               bytes of parameters and buffers
    parameter count

Where this differs: read-outs have no spikes here and are left out of activation sparsity, where a
tool that calls them spiking cells counts their zeros; buffers of another tool's cells are not ours.

Source: NeuroBench 2.3.0, metrics/workload and metrics/static; Yik et al., Nature Communications
2025.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from clnf.core.units import quantity
from clnf.spiking.energy.counts import Seen, look, shape_of
from clnf.spiking.events.maps import AbstractMap, Linear
from clnf.spiking.profiles.simulated import pooled
from clnf.spiking.profiles.stages import Shape

__all__ = ["NeuroBench", "neurobench"]


@final
@dataclass(frozen=True, kw_only=True)
class NeuroBench:
    """Measures by NeuroBench's names, in small letters."""

    activation_sparsity: float = quantity("1")
    activation_sparsity_by_layer: dict[str, float]
    effective_macs: float = quantity("1")
    effective_acs: float = quantity("1")
    dense: float = quantity("1")
    membrane_updates: float = quantity("1")
    connection_sparsity: float = quantity("1")
    footprint: int = quantity("B")
    parameter_count: int = quantity("1")


def neurobench(net: nn.Module, x: Tensor, inputs: Shape | None = None) -> NeuroBench:
    """Measure a net on events.

    Args:
        net: layers in a row, or the same under a chip's limits.
        x: events [T, B, ...].
        inputs: shape of one sample at one step, where the first layer does not tell it.

    Raises:
        ConfigError: events that are no tensor or not finite, or layers that cannot be counted.
        ShapeError: events of another shape than the first layer takes.

    >>> from clnf.spiking import LIF, SpikingLinear
    >>> net = SpikingLinear((4, 3), LIF(), dt_s=1e-3)
    >>> found = neurobench(net, torch.ones(5, 2, 4))
    >>> found.effective_acs, found.dense, found.parameter_count, found.footprint
    (60.0, 60.0, 12, 48)
    """
    seen = look(net, x, inputs or shape_of(x))
    samples = x.shape[1]
    sparse = {
        one.stage.name: (one.course.spikes == 0).double().mean().item()
        for one in seen
        if one.course.spikes is not None
    }
    sizes = {one.stage.name: one.course.potential.numel() for one in seen}
    all_cells = sum(sizes[name] for name in sparse)
    kept = sum(share * sizes[name] for name, share in sparse.items())
    macs = sum(_operations(one, spiking=False) for one in seen)
    acs = sum(_operations(one, spiking=True) for one in seen)
    dense = sum(_operations(one, spiking=None) for one in seen)
    tensors = [*net.parameters(), *net.buffers()]
    return NeuroBench(
        activation_sparsity=kept / all_cells if all_cells else 0.0,
        activation_sparsity_by_layer=sparse,
        effective_macs=macs / samples,
        effective_acs=acs / samples,
        dense=dense / samples,
        membrane_updates=sum(_moved(one.course.potential) for one in seen) / samples,
        connection_sparsity=_missing(seen),
        footprint=sum(one.numel() * one.element_size() for one in tensors),
        parameter_count=sum(one.numel() for one in net.parameters()),
    )


def _moved(potential: Tensor) -> int:
    changed = torch.count_nonzero(potential[1:] - potential[:-1])
    return int(changed) + potential[0].numel()


def _operations(seen: Seen, *, spiking: bool | None) -> int:
    """Effective operations of steps whose inputs are spikes, or are not; None: dense, of all."""
    if seen.weight is None or seen.stage.by is None:
        return 0
    x, stage = pooled(seen.inputs, seen.stage.pool).to(torch.float64), seen.stage
    if stage.kind == "linear":
        x = x.flatten(2)
    scale = stage.pool[0] * stage.pool[1]
    total = _matching(x / scale, seen.weight, seen.stage.by, spiking)
    if seen.ring is not None and seen.course.spikes is not None:
        sent = seen.course.spikes.to(torch.float64)
        back = torch.cat([torch.zeros_like(sent[:1]), sent[:-1]])
        total += _matching(back, seen.ring, Linear(), spiking)
    return total


def _matching(x: Tensor, weight: Tensor, by: AbstractMap, spiking: bool | None) -> int:
    if spiking is None:
        return int(by.plain(torch.ones_like(x), torch.ones_like(weight, dtype=x.dtype), None).sum())
    other = ((x != 0) & (x != 1) & (x != -1)).flatten(1).any(1)
    chosen = x[~other if spiking else other]
    if not len(chosen):
        return 0
    return int(by.plain((chosen != 0).to(x.dtype), (weight != 0).to(x.dtype), None).sum())


def _missing(seen: list[Seen]) -> float:
    tensors = [w for one in seen for w in (one.weight, one.ring) if w is not None]
    total = sum(one.numel() for one in tensors)
    zeros = sum(int((one == 0).sum()) for one in tensors)
    return round(zeros / total, 4) if total else 0.0
