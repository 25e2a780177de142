"""The parts of ``benchmarks/solvers.py``: problems, libraries, measuring, pictures."""
