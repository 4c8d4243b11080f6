"""Guards protect what is known while something new is learned, one method a file."""

from clnf.continual.guards.ewc import EWC, EWCParams
from clnf.continual.guards.fence import Fence, FenceParams
from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams

__all__ = ["EWC", "EWCParams", "Fence", "FenceParams", "Rehearsal", "RehearsalParams"]
