"""Convolutions whose cost follows their events."""
