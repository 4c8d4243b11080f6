"""Exchange with other tools: NIR files read, run, mended and written."""

from clnf.spiking.exchange.extras import ours, with_extras
from clnf.spiking.exchange.faults import Fault
from clnf.spiking.exchange.files import read_nir, write_nir
from clnf.spiking.exchange.graph import Graph, Node, identical
from clnf.spiking.exchange.linting import find_faults
from clnf.spiking.exchange.mending import mended
from clnf.spiking.exchange.models import graph_of
from clnf.spiking.exchange.network import Network
from clnf.spiking.exchange.reading import Reading
from clnf.spiking.exchange.rows import read_row, row_of

__all__ = [
    "Fault",
    "Graph",
    "Network",
    "Node",
    "Reading",
    "find_faults",
    "graph_of",
    "identical",
    "mended",
    "ours",
    "read_nir",
    "read_row",
    "row_of",
    "with_extras",
    "write_nir",
]
