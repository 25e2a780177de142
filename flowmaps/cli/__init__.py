"""The ``flowmaps`` command."""

from flowmaps.cli._app import main

__all__ = ["main"]
