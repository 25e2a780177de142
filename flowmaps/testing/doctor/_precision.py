"""Probe: in bfloat16, tangents have the values' dtype and are about as good as values."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps._checks import first_line
from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._patient import Inputs, Patient
from flowmaps.testing.doctor._probe import Settings, fine, not_applicable, traps
from flowmaps.testing.doctor._record import Call, innermost, linear_part

__all__ = ["examine_precision"]

_NAME = "bfloat16"
_ALLOWED = 0.1
_TIMES_WORSE = 10.0


@dataclass
class _Run:
    """A jvp with everything recorded: calls, values, tangents."""

    calls: list[Call]
    values: list[Any]
    tangents: list[Any]

    def error(self, exact: "_Run", number: int, side: int, which: str) -> float:
        """Return the greatest relative error of a call's inputs (side 0) or outputs (1)."""
        mine, theirs = getattr(self, which)[number][side], getattr(exact, which)[number][side]
        return max(map(_relative, mine, theirs), default=0.0)

    def wide_tangents(self, number: int, side: int) -> bool:
        """Tell whether a tangent has another dtype than its value."""
        pairs = zip(self.values[number][side], self.tangents[number][side], strict=True)
        return any(value.dtype != tangent.dtype for value, tangent in pairs)


def examine_precision(patient: Patient, settings: Settings) -> list[Finding]:
    """Compare bfloat16, by weights or else by autocast, with the same weights in float64."""
    try:
        low, exact = _by_weights(patient)
        how = "with bfloat16 weights"
    except Exception as error:
        refused = first_line(error)
        try:
            low, exact = _by_autocast(patient)
            how = f"under autocast (bfloat16 weights raise: {refused})"
        except Exception as second:
            seen = f"bfloat16 weights raise: {refused}; autocast raises: {first_line(second)}"
            return not_applicable(_NAME, seen)
    reports = []
    for name in low:
        mine, theirs = low[name], exact[name]
        if mine.wide_tangents(-1, 1):
            guilty = innermost(
                mine.calls,
                lambda n, run=mine: not run.wide_tangents(n, 0) and run.wide_tangents(n, 1),
            )
            seen = f"{how}, its tangent in {name} has another dtype than its value"
            return traps(patient, _NAME, guilty, seen, "return tangents as narrow as values")
        value = mine.error(theirs, -1, 1, "values")
        tangent = mine.error(theirs, -1, 1, "tangents")
        if tangent > max(_ALLOWED, _TIMES_WORSE * value):
            return _worse(patient, mine, theirs, name, how, (value, tangent))
        reports.append(f"tangent in {name} {tangent:.1%}")
    value = max(run.error(exact[name], -1, 1, "values") for name, run in low.items())
    seen = f"relative errors {how}: value {value:.1%}, {', '.join(reports)}"
    return fine(_NAME, seen)


def _worse(
    patient: Patient, low: _Run, exact: _Run, name: str, how: str, errors: tuple[float, float]
) -> list[Finding]:
    value, tangent = errors
    limit = max(_ALLOWED, _TIMES_WORSE * value)

    def guilty(number: int) -> bool:
        entering, leaving = (low.error(exact, number, side, "tangents") for side in (0, 1))
        return entering <= limit < leaving

    seen = f"{how}, its tangent in {name} is {tangent:.0%} off, its value {value:.1%}"
    cure = (
        "compute what is steep (high frequencies, small denominators, differences of near numbers) "
        "in float32 inside, and cast its result"
    )
    return traps(patient, _NAME, innermost(low.calls, guilty), seen, cure)


def _by_weights(patient: Patient) -> tuple[dict[str, _Run], dict[str, _Run]]:
    network = patient.copy(torch.bfloat16)
    inputs = patient.inputs(torch.bfloat16)
    wide = network.double  # the same rounded weights
    low = _runs(patient, network, inputs)
    return low, _runs(patient, wide(), _widened(inputs))


def _by_autocast(patient: Patient) -> tuple[dict[str, _Run], dict[str, _Run]]:
    inputs = patient.inputs(torch.float32)
    device = patient.x.device.type
    low = _runs(patient, patient.copy(torch.float32), inputs, device)
    return low, _runs(patient, patient.copy(torch.float32).double(), _widened(inputs))


def _widened(inputs: Inputs) -> Inputs:
    return {
        name: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v
        for name, v in inputs.items()
    }


def _runs(
    patient: Patient, network: nn.Module, inputs: Inputs, autocast: str = ""
) -> dict[str, _Run]:
    """Return the run in a direction of every argument."""
    runs = {}
    # directions that bfloat16 can hold, so that both precisions take the same one
    directions = patient.directions(patient.inputs(torch.bfloat16))
    for name, direction in directions.items():

        def act(value: Tensor, name: str = name) -> Tensor:
            with torch.autocast(autocast, torch.bfloat16) if autocast else nullcontext():
                return patient.call(network, inputs | {name: value})

        with torch.no_grad():
            point = inputs[name]
            runs[name] = _Run(*linear_part(network, act, [point], [direction.to(point.dtype)]))
    return runs


def _relative(mine: Tensor, exact: Tensor) -> float:
    scale = float(exact.double().norm())
    error = float((mine.double() - exact.double()).norm())
    return error / scale if scale > 0 else 0.0
