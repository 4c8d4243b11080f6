"""From numbers and signals to events, and back; what it costs, and files of events."""

from clnf.spiking.coding.bands import FilterBank
from clnf.spiking.coding.delta import SendOnDelta
from clnf.spiking.coding.files import Recording, read_events, write_events
from clnf.spiking.coding.frontend import ASYNC_DELTA_65NM, FrontEnd, Quality, quality
from clnf.spiking.coding.population import Population
from clnf.spiking.coding.rate import Rate
from clnf.spiking.coding.timing import Latency, Phase

__all__ = [
    "ASYNC_DELTA_65NM",
    "FilterBank",
    "FrontEnd",
    "Latency",
    "Phase",
    "Population",
    "Quality",
    "Rate",
    "Recording",
    "SendOnDelta",
    "quality",
    "read_events",
    "write_events",
]
