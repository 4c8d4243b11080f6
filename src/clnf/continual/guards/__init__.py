"""Guards protect what is known while something new is learned, one method a file."""

from clnf.continual.guards.ewc import EWC, EWCParams
from clnf.continual.guards.fence import Fence, FenceParams
from clnf.continual.guards.mas import MAS, MASParams
from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams
from clnf.continual.guards.si import SI, SIParams

__all__ = [
    "EWC",
    "MAS",
    "SI",
    "EWCParams",
    "Fence",
    "FenceParams",
    "MASParams",
    "Rehearsal",
    "RehearsalParams",
    "SIParams",
]
