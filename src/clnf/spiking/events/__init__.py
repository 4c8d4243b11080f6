"""Layers whose cost follows their events: linear and convolution, forward and backward."""
