"""What ``flowmaps info`` shows."""

import inspect
import os
import platform

import torch
from rich.console import Console
from rich.table import Table

import flowmaps as fm

__all__ = ["show_info"]


def show_info(console: Console) -> None:
    """Print versions and devices, and the names of solvers, maps and problems."""
    table = Table(title="flowmaps", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for name, value in _machine() + _inventory():
        table.add_row(name, value)
    console.print(table)


def _machine() -> list[tuple[str, str]]:
    return [
        ("flowmaps", fm.__version__),
        ("torch", torch.__version__),
        ("Python", platform.python_version()),
        ("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        ("threads", str(torch.get_num_threads())),
        ("accelerator", _accelerator()),
    ]


def _accelerator() -> str:
    if not torch.cuda.is_available():
        return "none; everything runs on the CPU"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _inventory() -> list[tuple[str, str]]:
    return [
        ("solvers", _final_kinds(fm.solvers, fm.solvers.Method)),
        ("maps", _final_kinds(fm.maps, fm.maps.FlowMap)),
        ("parametrizations", _final_kinds(fm.maps, fm.maps.Parametrization)),
        ("problems", ", ".join(fm.problems.names())),
    ]


def _final_kinds(room: object, base: type) -> str:
    kinds = (value for value in vars(room).values() if inspect.isclass(value))
    return ", ".join(
        sorted(k.__name__ for k in kinds if issubclass(k, base) and not inspect.isabstract(k))
    )
