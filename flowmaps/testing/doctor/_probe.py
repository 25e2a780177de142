"""What a probe is, and how it words what it finds."""

from collections.abc import Callable
from dataclasses import dataclass

from flowmaps.testing.doctor._diagnosis import FINE, NOT_APPLICABLE, TRAP, Finding
from flowmaps.testing.doctor._patient import Patient

__all__ = ["Probe", "Settings", "fine", "listed", "not_applicable", "trap", "traps"]


@dataclass(frozen=True)
class Settings:
    """What the probes in processes of their own need.

    Args:
        quick: leave those probes out.
        seconds: after which such a process is ended.
        backend: of ``torch.compile``; None for inductor.
    """

    quick: bool = False
    seconds: float = 300.0
    backend: str | None = None


@dataclass(frozen=True)
class Probe:
    """One probe.

    Args:
        name: of its findings.
        examine: ``examine(patient, settings)`` returns them.
        needs: probes that must have found no trap, for this one to tell anything.
        heavy: whether it takes processes of its own.
    """

    name: str
    examine: Callable[[Patient, Settings], list[Finding]]
    needs: tuple[str, ...] = ()
    heavy: bool = False


def fine(probe: str, seen: str) -> list[Finding]:
    """Say that all is well."""
    return [Finding(probe, FINE, seen)]


def not_applicable(probe: str, why: str) -> list[Finding]:
    """Say why there is nothing to examine."""
    return [Finding(probe, NOT_APPLICABLE, why)]


def trap(patient: Patient, probe: str, module: str, seen: str, cure: str) -> Finding:
    """Name the submodule at fault."""
    return Finding(probe, TRAP, seen, module, patient.kind(module), cure)


def traps(patient: Patient, probe: str, modules: list[str], seen: str, cure: str) -> list[Finding]:
    """Name all submodules at fault; the network itself if it is none of them."""
    return [trap(patient, probe, module, seen, cure) for module in modules or [""]]


def listed(names: list[str], most: int = 4) -> str:
    """Return a list of names, the first few of many."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
