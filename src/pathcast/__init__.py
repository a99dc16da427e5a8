"""Pathcast: camera frames to detections, tracks and predicted paths."""

__version__ = "0.1.0"
