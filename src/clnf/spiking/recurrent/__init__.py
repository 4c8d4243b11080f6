"""Populations whose spikes come back to them through weights."""
