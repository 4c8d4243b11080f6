"""Populations whose spikes come back to them through weights."""

from clnf.spiking.recurrent.over_time import recurrent_over_time

__all__ = ["recurrent_over_time"]
