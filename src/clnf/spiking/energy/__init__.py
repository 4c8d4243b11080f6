"""What spiking nets cost: operations counted, joules in ranges, NeuroBench's measures."""

from clnf.spiking.energy.bill import EnergyBill, bill, charge
from clnf.spiking.energy.counts import Counts, count, look
from clnf.spiking.energy.figures import (
    Figures,
    Joules,
    chips_with_figures,
    figures,
    memristive_figures,
)
from clnf.spiking.energy.neurobench import NeuroBench, neurobench

__all__ = [
    "Counts",
    "EnergyBill",
    "Figures",
    "Joules",
    "NeuroBench",
    "bill",
    "charge",
    "chips_with_figures",
    "count",
    "figures",
    "look",
    "memristive_figures",
    "neurobench",
]
