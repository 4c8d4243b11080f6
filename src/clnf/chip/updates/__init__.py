"""Optimizers whose steps are pulses: how gradients become pulses on cells, one file a way."""

from clnf.chip.updates.optimizer import PulseOptimizer
from clnf.chip.updates.rule import PulseRule, Transfer

__all__ = ["PulseOptimizer", "PulseRule", "Transfer"]
