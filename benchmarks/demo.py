"""The demo's figures and wall time for several seeds: ``python benchmarks/demo.py 0 1 2``."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _record import write_record

THRESHOLDS = {
    "wall time at most (s)": 300,
    "pendulum surrogate, median over 500 starts of max error / max state, T = 10, at most": 1e-2,
    "judge on held-out real digits, at least": 0.98,
    "digits, class agreement in one step and in four, at least": [0.90, 0.95],
    "digits, distance to the nearest training digit / held-out's, four steps": [1.0, 1.3],
    "digits, Frechet distance of pixels / training digits', four steps, at most": 2.0,
}


def main() -> None:
    """Run the demo once a seed and write the record."""
    seeds = [int(seed) for seed in sys.argv[1:]] or [0]
    figures, log = [], ""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "demo"
            command = [
                sys.executable,
                "-m",
                "flowmaps.cli",
                "demo",
                "--seed",
                str(seed),
                "--out",
                str(out),
            ]
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - start
            facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))["facts"]
        figures.append({"seed": seed, "seconds": seconds, "facts": facts})
        log += done.stdout.replace(folder, "<folder>") + done.stderr
        print(seed, f"{seconds:.0f} s", {fact["what"]: fact["value"] for fact in facts})
    print(write_record("demo", THRESHOLDS, figures, log))


if __name__ == "__main__":
    main()
