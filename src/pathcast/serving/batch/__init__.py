"""Whole videos at once: frames from files in; tracks, forecasts and an annotated video out."""
