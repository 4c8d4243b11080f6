"""What other tools make of NIR: one file a tool, each with its formulas and how to write for it."""

from clnf.spiking.exchange.dialects.dialect import Dialect, Finding
from clnf.spiking.exchange.dialects.fitting import Fitted, fit
from clnf.spiking.exchange.dialects.judging import judge
from clnf.spiking.exchange.dialects.norse import NORSE
from clnf.spiking.exchange.dialects.rockpool import ROCKPOOL
from clnf.spiking.exchange.dialects.sinabs import SINABS
from clnf.spiking.exchange.dialects.snntorch import SNNTORCH
from clnf.spiking.exchange.dialects.spikingjelly import SPIKINGJELLY

__all__ = [
    "DIALECTS",
    "NORSE",
    "ROCKPOOL",
    "SINABS",
    "SNNTORCH",
    "SPIKINGJELLY",
    "Dialect",
    "Finding",
    "Fitted",
    "fit",
    "judge",
]

DIALECTS: tuple[Dialect, ...] = (SNNTORCH, NORSE, SINABS, ROCKPOOL, SPIKINGJELLY)
