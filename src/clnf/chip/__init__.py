"""Tiles of cells that hold a module's weights: converters, reads, pulses, and the bill for it."""
