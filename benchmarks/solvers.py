"""Work against precision of adaptive solvers, ours and others: ``python benchmarks/solvers.py``.

Every solver solves the same problems at several tolerances on one thread. Work is process CPU
seconds (on a GPU wall seconds), the best of some rounds without the first, in which code is
compiled; precision is the largest error over batch and components against scipy at 1e-13.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from _record import folder_of, write_record
from work_precision.batches import BATCHES
from work_precision.measure import of_batch, ratios
from work_precision.of_detest import of_detest, proportionality, work_at_equal_error
from work_precision.pictures import of_runs, of_stiff, of_tests
from work_precision.robertson import of_robertson, steps_beside_radau

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
CASES = (*BATCHES, "detest", "robertson")
ON_GPU = ("van-der-pol", "lotka-volterra")
TITLES = {
    "van-der-pol": "4096 Van der Pol oscillators, T = 10",
    "lorenz": "one Lorenz trajectory, T = 5",
    "network": "4096 samples of a network's field 3-64-64-2, T = 1",
    "lotka-volterra": "100,000 Lotka-Volterra systems, T = 10",
}
FASTER = "times faster than the best of each library at equal worst error"
THRESHOLDS = {
    "cpu": {
        FASTER: {
            "van-der-pol": {"torchode": 5.0, "torchdiffeq": 20.0, "diffrax": 2.0},
            "lorenz": {"torchode": 10.0, "torchdiffeq": 10.0, "scipy": 1.0},
            "network": {"torchode": 1.3, "torchdiffeq": 1.3},
        },
        "network, shared steps: times faster than torchdiffeq": 1.0,
        "detest: error at most so many times the tolerance": 100.0,
        "robertson: steps over Radau's at most": 3.0,
    },
    "cuda": {
        FASTER: {name: {"torchode": 3.0, "torchdiffeq": 3.0} for name in ON_GPU},
    },
}
ERRORS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def one(name: str, repeats: int, device: str) -> list[dict[str, Any]]:
    """Measure every solver on one case."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    if name == "detest":
        return of_detest()
    if name == "robertson":
        return of_robertson(repeats)
    return of_batch(name, BATCHES[name]().on(device), repeats)


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the rows of one case come to."""
    if name == "detest":
        return {
            "error over tolerance": proportionality(rows),
            "evaluations of others over ours at equal error": work_at_equal_error(
                rows, "evaluations"
            ),
            "seconds of others over ours at equal error": work_at_equal_error(rows, "seconds"),
        }
    if name == "robertson":
        by_error = {f"{error:.0e}": ratios(rows, error) for error in ERRORS}
        return {"steps over Radau's by tolerance": steps_beside_radau(rows), FASTER: by_error}
    found = {FASTER: {f"{error:.0e}": ratios(rows, error) for error in ERRORS}}
    if name == "network":
        for alone in ("flowmaps Dopri5 shared, compiled", "flowmaps Dopri5 shared"):
            found[f"{alone}: times faster"] = {
                f"{error:.0e}": ratios(rows, error, [alone]) for error in ERRORS
            }
    return found


def picture(name: str, rows: list[dict[str, Any]], folder: Path, device: str) -> None:
    """Draw one case."""
    path = folder / f"{name}.png"
    if name == "detest":
        of_tests(rows, path)
    elif name == "robertson":
        of_stiff(rows, path)
    else:
        unit = "CPU seconds, one thread" if device == "cpu" else "seconds"
        of_runs(TITLES[name], rows, path, unit)


def main() -> None:
    """Measure every case in a process of its own, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all, on a GPU {ON_GPU}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--note", default="", help="what else the machine did, for the record")
    parser.add_argument("--pictures", action="store_true", help="draw the record's again, no runs")
    parser.add_argument("--one", choices=CASES, help="one case, for this script")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one, given.repeats, given.device)))
        return
    name = "solvers" if given.device == "cpu" else f"solvers-{given.device}"
    runs, log = before(name)
    wanted = given.cases or (CASES if given.device == "cpu" else ON_GPU)
    for case in () if given.pictures else wanted:
        runs[case], said = run(case, given)
        log = "".join(line for line in log.splitlines(True) if line.split()[0] != case) + said
    runs = {case: runs[case] for case in CASES if case in runs}
    found = {case: summary(case, rows) for case, rows in runs.items()}
    figures = {"note": given.note, "summary": found, "runs": runs}
    record = write_record(name, THRESHOLDS[given.device], figures, log)
    for case, rows in runs.items():
        picture(case, rows, record, given.device)
        if given.device == "cpu":
            (IMAGES / f"solvers-{case}.png").write_bytes((record / f"{case}.png").read_bytes())
    print(json.dumps(found, indent=1))
    print(record)


def before(name: str) -> tuple[dict[str, Any], str]:
    """Return the runs and the log of today's record, of which single cases may be run again."""
    folder = folder_of(name)
    if not (folder / "record.json").exists():
        return {}, ""
    runs = json.loads((folder / "record.json").read_text())["figures"]["runs"]
    kept = {case: rows for case, rows in runs.items() if case in CASES}
    return kept, (folder / "log.txt").read_text() if kept else ""


def run(case: str, given: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    """Run one case in a process of its own; return its rows and what it said."""
    command = [sys.executable, __file__, "--one", case, "--device", given.device]
    command += ["--repeats", str(given.repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr}")
    said = "".join(f"{line}\n" for line in done.stderr.splitlines() if line.startswith(case))
    return json.loads(done.stdout.splitlines()[-1]), said


if __name__ == "__main__":
    main()
