"""How long ``import flowmaps`` takes beyond ``import torch``: median over fresh processes."""

import statistics
import subprocess
import sys

from _record import write_record

THRESHOLD = 0.5
RUNS = 11
CODE = """
import time
import torch
start = time.perf_counter()
import flowmaps
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure and write the record."""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(RUNS)
    ]
    seconds = [float(output) for output in outputs]
    figures = {"seconds": seconds, "median": statistics.median(seconds), "worst": max(seconds)}
    print(figures)
    print(write_record("import-cost", {"median at most (s)": THRESHOLD}, figures, "".join(outputs)))


if __name__ == "__main__":
    main()
