"""Writes the record of a benchmark."""

import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch

import flowmaps

RECORDS = Path(__file__).resolve().parent / "records"


def machine() -> dict[str, Any]:
    """Return versions and hardware."""
    return {
        "flowmaps": flowmaps.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def folder_of(name: str) -> Path:
    """Return ``records/<date>-<name>/`` of today."""
    return RECORDS / f"{date.today():%Y-%m-%d}-{name}"


def write_record(name: str, thresholds: dict[str, Any], figures: Any, log: str) -> Path:
    """Write ``records/<date>-<name>/`` with record.json and log.txt; return the folder.

    Args:
        name: of the benchmark.
        thresholds: what was asked, written down before the run.
        figures: what was measured; anything JSON can hold.
        log: the full output.
    """
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "thresholds": thresholds,
        "figures": figures,
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "log.txt").write_text(log, encoding="utf-8")
    return folder
