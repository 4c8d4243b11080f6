"""clnf: living models that keep learning on simulated nano-hardware."""

__version__ = "0.1.0"
