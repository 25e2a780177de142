"""Saving and loading maps, without pickle."""

from flowmaps._saving._files import load, save

__all__ = ["load", "save"]
