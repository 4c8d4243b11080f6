"""Faults on purpose: a disk that lies, a process that dies, a run small enough to do it often."""
