"""The demo: flow maps computed and checked, a surrogate learned, digits generated, one report."""

from flowmaps.cli.demo._run import run_demo

__all__ = ["run_demo"]
