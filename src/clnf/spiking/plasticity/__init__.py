"""Plasticity: rules whose coefficients, time constants and third factors can be learned."""

from clnf.spiking.plasticity.homeostasis import Scaling, Threshold, normalised
from clnf.spiking.plasticity.law import Law, PlasticState, Traces, plastic_start, plastic_step
from clnf.spiking.plasticity.over_time import plastic_loop, plastic_over_time
from clnf.spiking.plasticity.replay import replayed
from clnf.spiking.plasticity.rules import PairSTDP, SoftBounds, ThreeFactor, TripletSTDP

__all__ = [
    "Law",
    "PairSTDP",
    "PlasticState",
    "Scaling",
    "SoftBounds",
    "ThreeFactor",
    "Threshold",
    "Traces",
    "TripletSTDP",
    "normalised",
    "plastic_loop",
    "plastic_over_time",
    "plastic_start",
    "plastic_step",
    "replayed",
]
