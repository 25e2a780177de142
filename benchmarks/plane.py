"""Self-distillation and distillation in the plane: ``python benchmarks/plane.py``.

For a checkerboard and eight Gaussians, the learned map of each method against the numerical flow of
its own velocity (LSD, ESD) or of its teacher's (LMD), in 1, 2, 4 and 8 steps, and pictures.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
import torch
from _record import write_record

import flowmaps as fm

THRESHOLD = 2e-2
LAWS = {
    "checkerboard": fm.generative.checkerboard,
    "eight gaussians": fm.generative.eight_gaussians,
}
METHODS = ("lsd", "esd", "lmd")
STEPS = (1, 2, 4, 8)
WIDTH, DEPTH, BATCH, UPDATES = 128, 3, 1024, 4000
RATE = {"lsd": 2e-3, "esd": 4e-3, "lmd": 2e-3}
"""The Eulerian relation is learned late: at half this rate its map lags behind its own velocity."""
DIAGONAL = {"lsd": 0.5, "esd": 0.25}
"""Share of flow matching: the Eulerian gradient is noisier and wants more rows of its own."""
LIMIT = {"lsd": None, "esd": fm.objectives.GrowingSpan()}
"""Spans that grow steady the Eulerian relation, which spreads from the diagonal outwards."""
ANCHOR = {"lsd": "start", "esd": "end", "lmd": "start"}


def main() -> None:
    """Run every law and method in a process of its own, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--one", nargs=3, help="law, method, folder: one run, for this script")
    given = parser.parse_args()
    if given.one:
        law, method, folder = given.one
        one(law, method, Path(folder), given.device, given.updates)
        return
    with tempfile.TemporaryDirectory() as folder:
        log = run_all(given, Path(folder))
        found = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
        record = write_record(
            "plane", {"transport error in one step at most": THRESHOLD}, found, log
        )
        for law in LAWS:
            picture(law, Path(folder), record / f"{law.replace(' ', '-')}.png")
    print(record)


def run_all(given: argparse.Namespace, folder: Path) -> str:
    """Run all jobs, some at a time; return what they printed."""
    waiting = [(law, method) for law in LAWS for method in METHODS]
    running: list[subprocess.Popen[str]] = []
    log = ""
    while waiting or running:
        while waiting and len(running) < given.jobs:
            command = [sys.executable, __file__, "--one", *waiting.pop(0), str(folder)]
            command += ["--device", given.device, "--updates", str(given.updates)]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        done = running.pop(0)
        said = done.communicate()[0]
        if done.returncode:
            raise SystemExit(f"a run failed with status {done.returncode}:\n{log}{said}")
        print(said, end="", flush=True)
        log += said
    return log


def one(law: str, method: str, folder: Path, device: str, updates: int) -> None:
    """Train one method on one law and measure it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = fm.objectives.Pairs(None, LAWS[law](500_000).to(device))
    network = fm.networks.MLP(
        dim=2, width=WIDTH, depth=DEPTH, residual=True, span_gain=1.0, anchor=ANCHOR[method]
    )
    learned = fm.maps.NeuralFlowMap(network).to(device)
    start = time.perf_counter()
    settings: dict[str, Any] = {
        "batch": BATCH,
        "learning_rate": RATE[method],
        "warmup": updates // 50,
        "ema": 0.995,
        "compile": "aot_eager",
        "progress": False,
        "log_every": 50,
    }
    teacher = None
    if method == "lmd":
        half = updates // 2
        fm.training.fit(learned, fm.objectives.flow_matching(), data, steps=half, **settings)
        teacher = copy.deepcopy(learned).eval()
        objective = fm.objectives.lmd(teacher=teacher)
        fm.training.fit(learned, objective, data, steps=updates - half, seed=1, **settings)
    else:
        shares = {"diagonal": DIAGONAL[method], "pretrain": 0.5, "limit": LIMIT[method]}
        objective = getattr(fm.objectives, method)(**shares)
        fm.training.fit(learned, objective, data, steps=updates, **settings)
    seconds = time.perf_counter() - start
    noise = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1)).to(device)
    errors = {n: fm.generative.transport_error(learned, noise, n, reference=teacher) for n in STEPS}
    torch.save(
        {n: fm.generative.sample(learned, noise, n).cpu() for n in STEPS},
        folder / f"{law}-{method}.pt",
    )
    found = {"law": law, "method": method, "seconds": seconds, "transport error": errors}
    (folder / f"{law}-{method}.json").write_text(json.dumps(found))
    print(law, method, f"{seconds:.0f} s", {n: f"{e:.1e}" for n, e in errors.items()})


def picture(law: str, folder: Path, path: Path) -> None:
    """Draw histograms: a method a row, the data and each number of steps a column."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    edge, data = 1.5, LAWS[law](20_000, torch.Generator().manual_seed(2))
    figure, axes = pyplot.subplots(
        len(METHODS), 1 + len(STEPS), figsize=(2 * (1 + len(STEPS)), 2.1 * len(METHODS))
    )
    for row, method in zip(axes, METHODS, strict=True):
        made = torch.load(folder / f"{law}-{method}.pt", weights_only=True)
        blocks = [("data", data), *((f"{method.upper()}, steps: {n}", made[n]) for n in STEPS)]
        for panel, (title, points) in zip(row, blocks, strict=True):
            panel.hist2d(*points.T.numpy(), bins=96, range=[[-edge, edge]] * 2, cmap="Blues")
            panel.set_title(title, fontsize=8)
            panel.set_aspect("equal")
            panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
