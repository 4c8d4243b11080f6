"""A guard that ties one drawing to the edit a person made of it.

Teaching the edited picture alone makes it likelier somewhere in the concept, but rarely where the
person saw it: which picture comes of which noise is the model's own choice. So while an edit is
taught, the path from the very noise the picture was drawn from is pulled towards the edit.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.core.records import Batch, Experience, Source
from clnf.core.units import quantity

__all__ = ["Edit", "EditParams", "EditSource", "Edits"]


@final
@dataclass(frozen=True, kw_only=True)
class Edit:
    """An edit and the wish whose drawing it corrects.

    Attributes:
        picture: as it should be, float32 [1, C, H, W] in [-1, 1].
        noise: from which the drawing started, same shape.
        row: row of its concept.
        guidance: strength of the concept it was drawn with.
    """

    picture: Tensor
    noise: Tensor
    row: int = quantity("1")
    guidance: float = quantity("1")


@final
class EditSource:
    """Samples of a feedback lesson, together with the edit they are taught for.

    Args:
        base: the samples.
        edit: what the lesson is about.
    """

    def __init__(self, base: Source, edit: Edit) -> None:
        self.base = base
        self.edit = edit

    def __len__(self) -> int:
        return len(self.base)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K])."""
        return self.base.take(index)


@final
@dataclass(frozen=True, kw_only=True)
class EditParams:
    """How strongly a path is pulled.

    Attributes:
        strength: factor on the penalty, beside the mean loss of the batch.
        times: points on the path looked at in each step.
        enough: share of the first error at which pulling ends. Pulled all the way, the concept's
            other drawings come along; so the rest of the lesson can put them right.
    """

    strength: float = quantity("1", 0.1)
    times: int = quantity("1", 4)
    enough: float = quantity("1", 0.25)


@final
class Edits:
    """Pulls one drawing towards its edit while a lesson of an :class:`EditSource` is taught.

    Added to the loss:

        strength * max(0, E - enough * E_first),
        E = mean over t of |v_0 + w (v_c - v_0) - (e - n)|^2  at x_t = (1 - t) n + t e,

    with noise n, edit e, guidance w and the fields v_c and v_0 with and without the concept:
    flow matching on one coupled pair, of the guided field that draws.

    Args:
        net: the field, called with x [B, C, H, W], t [B] and concept [B].
        params: strength and number of points.
    """

    def __init__(self, net: nn.Module, params: EditParams = EditParams()) -> None:
        self._net = net
        self._params = params
        self._edit: Edit | None = None
        self._first: float | None = None
        self._t = torch.empty(0)

    def begin(self, experience: Experience) -> None:
        """Take up the lesson's edit, if it has one."""
        data = experience.data
        self._edit = data.edit if isinstance(data, EditSource) else None
        self._first = None

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Choose the points on the path, one in each of equal parts; the batch stays."""
        times = self._params.times
        self._t = (torch.arange(times) + torch.rand(times, generator=rng)) / times
        return batch

    def penalty(self) -> Tensor | None:
        """How far the guided field still is from the path to the edit; None without an edit."""
        if self._edit is None:
            return None
        edit, t = self._edit, self._t
        share = t[:, None, None, None]
        x = (1 - share) * edit.noise + share * edit.picture
        cond = torch.full((len(t),), edit.row, dtype=torch.int64)
        way = edit.picture - edit.noise
        device = next(self._net.parameters()).device
        x, t, cond, way = (value.to(device) for value in (x, t, cond, way))
        both = self._net(
            torch.cat([x, x]), torch.cat([t, t]), torch.cat([cond, torch.zeros_like(cond)])
        ).float()
        asked, null = both.chunk(2)
        off = null + edit.guidance * (asked - null) - way
        error = off.square().mean()
        if self._first is None:
            self._first = float(error.detach())
        return self._params.strength * (error - self._params.enough * self._first).clamp(min=0.0)

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """The lesson is over."""
        self._edit = None

    def state_dict(self) -> dict[str, Any]:
        """The edit being taught, if any."""
        if self._edit is None:
            return {"held": False}
        return {"held": True, "first": self._first, **vars(self._edit)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._edit, self._first = None, None
        if state["held"]:
            self._first = state["first"]
            self._edit = Edit(
                **{key: state[key] for key in ("picture", "noise", "row", "guidance")}
            )
