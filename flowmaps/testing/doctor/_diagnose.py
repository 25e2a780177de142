"""The doctor's door: all probes, one after the other."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps._checks import (
    as_positive,
    brief,
    check_condition,
    check_state,
    first_line,
    require_finite,
)
from flowmaps.testing.doctor._call import examine_call
from flowmaps.testing.doctor._compilation import examine_compilation
from flowmaps.testing.doctor._coupling import examine_coupling
from flowmaps.testing.doctor._data_parallel import examine_data_parallel
from flowmaps.testing.doctor._diagnosis import FAILED, TRAP, Diagnosis, Finding
from flowmaps.testing.doctor._forward_mode import examine_forward_mode
from flowmaps.testing.doctor._gradients import examine_gradients
from flowmaps.testing.doctor._operations import examine_attention, examine_norms
from flowmaps.testing.doctor._patient import Patient, seeded
from flowmaps.testing.doctor._precision import examine_precision
from flowmaps.testing.doctor._probe import Probe, Settings, not_applicable
from flowmaps.testing.doctor._repeatable import (
    examine_buffers,
    examine_determinism,
    examine_inputs,
)
from flowmaps.testing.doctor._tangents import examine_dropout, examine_tangents
from flowmaps.testing.doctor._times import examine_times

__all__ = ["PROBES", "diagnose"]

_CALLED = ("call", "inputs kept")
_DIFFERENTIABLE = (*_CALLED, "forward mode", "tangents")
PROBES = (
    Probe("call", examine_call),
    Probe("inputs kept", examine_inputs, ("call",)),
    Probe("buffers kept", examine_buffers, ("call",)),
    Probe("determinism", examine_determinism, _CALLED),
    Probe("batch coupling", examine_coupling, (*_CALLED, "determinism")),
    Probe("forward mode", examine_forward_mode, _CALLED),
    Probe("attention", examine_attention, _CALLED),
    Probe("tangents", examine_tangents, (*_CALLED, "determinism", "forward mode")),
    Probe("dropout", examine_dropout, (*_DIFFERENTIABLE, "buffers kept")),
    Probe("norms", examine_norms, _CALLED),
    Probe("bfloat16", examine_precision, _DIFFERENTIABLE),
    Probe("times", examine_times, _CALLED),
    Probe("gradients", examine_gradients, _CALLED),
    Probe("compilation", examine_compilation, (*_CALLED, "forward mode"), heavy=True),
    Probe(
        "data parallel",
        examine_data_parallel,
        (*_DIFFERENTIABLE, "buffers kept", "determinism", "batch coupling", "gradients"),
        heavy=True,
    ),
)
"""Every probe, in the order in which they run."""


def diagnose(
    network: nn.Module,
    x: Tensor,
    condition: Any = None,
    *,
    form: str | None = None,
    times: tuple[float, float] = (0.0, 1.0),
    quick: bool = False,
    seconds: float = 300.0,
    backend: str | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Probe a network for what breaks forward mode, compilation, low precision and distribution.

    Every probe works on copies; the network, its mode and its buffers stay as they are. In copies,
    parameters that are zero throughout get small random values, or layers that start at zero would
    hide all that lies before them.

    Args:
        network: a module called as ``network(s, t, x, condition)``, or as ``network(t, x)`` or
            ``network(t, x, condition)`` if it is a vector field; times have shape (batch,).
        x: states (batch, *event), at least two, as in use.
        condition: a pytree of tensors with a leading batch axis, or None.
        form: ``"map"``, ``"field"``, or None to read it off the signature of ``forward``.
        times: the interval that times are drawn from.
        quick: whether to leave out the probes in processes of their own: compilation and
            data-parallel training.
        seconds: after which such a process is ended.
        backend: of ``torch.compile``; None for inductor, in a fresh interpreter, or for aot_eager,
            which traces all and generates no code, where that cannot be: the finding says so.
        seed: of times, directions and random numbers.

    Returns:
        The findings of every probe; ``healthy`` if there is no trap among them.

    Raises:
        TypeError: if network is no module, or x or times are not what they should be.
        ValueError: if x holds fewer than two samples, the network cannot be copied, or it takes
            other arguments.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Sick(torch.nn.Module):
        ...     def forward(self, s, t, x, condition):
        ...         return x.detach() * (t - s)[:, None] + x
        >>> diagnosis = fm.testing.diagnose(Sick(), torch.randn(6, 2), quick=True)
        >>> [(one.probe, one.place) for one in diagnosis.traps]
        [('tangents', 'the network itself (Sick)')]
    """
    _check(network, x, condition, form, times)
    patient = Patient(network, x, condition, form, times, seed)
    settings = Settings(quick, as_positive(seconds, "seconds"), backend)
    findings: list[Finding] = []
    with warnings.catch_warnings(), _plainly(seed):
        warnings.simplefilter("ignore")
        for probe in PROBES:
            findings += _findings(probe, patient, settings, findings)
    return Diagnosis(tuple(findings), _facts(patient, settings))


@contextmanager
def _plainly(seed: int) -> Iterator[None]:
    """Whatever is around: gradients recorded, nothing compiled, random numbers of its own."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.compiler.set_stance("force_eager"),
        seeded(seed),
    ):
        yield


def _findings(
    probe: Probe, patient: Patient, settings: Settings, so_far: list[Finding]
) -> list[Finding]:
    trapped = [one.probe for one in so_far if one.status == TRAP and one.probe in probe.needs]
    if trapped:
        return not_applicable(probe.name, f"waits until there is no trap in {trapped[0]!r}")
    if probe.heavy and settings.quick:
        return not_applicable(probe.name, "left out: quick")
    try:
        return probe.examine(patient, settings)
    except Exception as error:
        told = f"the probe itself raised {type(error).__name__}: {first_line(error)}"
        return [Finding(probe.name, FAILED, told)]


def _check(network: Any, x: Any, condition: Any, form: str | None, times: Any) -> None:
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"network must be a torch.nn.Module, got {brief(network)}; wrap a function in a module"
        )
    check_state(x)
    require_finite(x, "x")
    if x.shape[0] < 2:
        raise ValueError(f"x must hold at least two samples, got shape {tuple(x.shape)}")
    check_condition(condition, x)
    if form not in (None, "map", "field"):
        raise ValueError(f'form must be "map", "field" or None, got {brief(form)}')
    try:
        lower, upper = map(float, times)
    except (TypeError, ValueError) as error:
        raise TypeError(f"times must be two numbers, got {brief(times)}") from error
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ValueError(f"times must be finite and ascending, got {brief(times)}")


def _facts(patient: Patient, settings: Settings) -> dict[str, Any]:
    return {
        "network": type(patient.network).__name__,
        "parameters": sum(p.numel() for p in patient.network.parameters()),
        "called as": f"network({', '.join(patient.order)})",
        "shape": list(patient.x.shape),
        "dtype": str(patient.x.dtype).removeprefix("torch."),
        "device": str(patient.x.device),
        "torch": torch.__version__,
        "quick": settings.quick,
    }
