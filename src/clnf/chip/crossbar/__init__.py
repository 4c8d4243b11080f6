"""Cells wired as a matrix: arrays of cells, their partition into tiles, the read path."""
