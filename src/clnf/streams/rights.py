"""What each kind of knowledge may do.

=============  ==================  =====================  =========================
right          core                new                    feedback
=============  ==================  =====================  =========================
who gives it   the maker           anybody                a person who looked at it
removed        never               yes                    yes
doubted        no                  yes                    no
corrects       no                  no                     yes
testifies      always              until pushed out       until pushed out
share          up to all           up to all              at most a quarter
=============  ==================  =====================  =========================

Whatever the kind, a sample that no learner could use (broken, of another shape, out of range) is
refused, and copies do not count twice: a person's word is trusted, not what a file holds. The
bound on feedback is there because one loud voice must not be all that a lesson hears.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from clnf.core.records import Kind
from clnf.core.units import quantity

__all__ = ["RIGHTS", "Rights"]


@final
@dataclass(frozen=True, kw_only=True)
class Rights:
    """Rights of one kind of knowledge.

    Attributes:
        removable: a module of it may be muted, removed, or weighed below 1.
        doubted: checks that judge by likeness (noise, outlier, near duplicate, label) apply.
        corrects: it may teach under another label what was taught before.
        stays: its references are never pushed out of the gate's memory by other kinds.
        share: largest share of a blended experience, in (0, 1].
    """

    removable: bool
    doubted: bool
    corrects: bool
    stays: bool
    share: float = quantity("1", 1.0)


RIGHTS: Mapping[Kind, Rights] = MappingProxyType(
    {
        "core": Rights(removable=False, doubted=False, corrects=False, stays=True),
        "new": Rights(removable=True, doubted=True, corrects=False, stays=False),
        "feedback": Rights(removable=True, doubted=False, corrects=True, stays=False, share=0.25),
    }
)
