"""Ways to teach spiking nets: truncated in time, and online by traces that are where synapses are.

Backpropagation through all of time needs nothing from here: the layers are differentiable.
"""

from clnf.spiking.learning.eprop import EProp
from clnf.spiking.learning.local import LocalLosses
from clnf.spiking.learning.online import OnlineRule, Tags, Watched, resume_change, watched
from clnf.spiking.learning.traces import Traces, trace_step, traces_of
from clnf.spiking.learning.truncated import truncated

__all__ = [
    "EProp",
    "LocalLosses",
    "OnlineRule",
    "Tags",
    "Traces",
    "Watched",
    "resume_change",
    "trace_step",
    "traces_of",
    "truncated",
    "watched",
]
