"""Nets for tasks: classifiers of pictures as events."""

from clnf.spiking.tasks.classifier import EventClassifier, PictureCode

__all__ = ["EventClassifier", "PictureCode"]
