"""What ``flowmaps info`` shows."""

import inspect
import platform

from rich.console import Console
from rich.table import Table

import flowmaps as fm
from flowmaps.training._run_folder import versions

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
    found = versions()
    return [
        ("flowmaps", str(found["flowmaps"])),
        ("torch", str(found["torch"])),
        ("Python", str(found["python"])),
        ("machine", f"{platform.system()} {platform.machine()}, {found['cores']} cores"),
        ("threads", str(found["threads"])),
        ("accelerator", str(found["accelerator"] or "none; everything runs on the CPU")),
    ]


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
