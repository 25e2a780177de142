"""Probes: tangents are the derivatives of the values, with dropout as well."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._patient import Inputs, Patient
from flowmaps.testing.doctor._probe import Settings, fine, not_applicable, traps
from flowmaps.testing.doctor._record import innermost, linear_part, record
from flowmaps.testing.doctor._same import differing

__all__ = ["examine_dropout", "examine_tangents", "working_copy"]

_TANGENTS, _DROPOUT = "tangents", "dropout"
_TOLERANCE = {torch.float64: 5e-2, torch.float32: 5e-2}
_STEPS = {torch.float64: (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1), torch.float32: (1e-3, 1e-2, 1e-1)}
_CURE = (
    "let the value depend on its inputs by plain differentiable operations alone: no .detach(), "
    ".data, .item() or .tolist(), and no custom autograd.Function"
)
_ONE_MASK = "draw the mask once and use it for value and tangent, as nn.Dropout does"


def working_copy(patient: Patient, train: bool = False) -> tuple[nn.Module, torch.dtype]:
    """Return a copy in float64, or in float32 where the network does not run in float64."""
    try:
        network = patient.copy(torch.float64, train)
        with torch.no_grad():
            patient.call(network, patient.inputs(torch.float64))
        return patient.copy(torch.float64, train), torch.float64
    except Exception:
        return patient.copy(torch.float32, train), torch.float32


def examine_tangents(patient: Patient, settings: Settings) -> list[Finding]:
    """Compare tangents in every argument with central differences, submodule by submodule."""
    return _examine(patient, _TANGENTS, False, _CURE)


def examine_dropout(patient: Patient, settings: Settings) -> list[Finding]:
    """In train mode, compare tangents with differences under one and the same mask."""
    with torch.no_grad():
        pair = []
        for seed in (0, 1):
            network, dtype = working_copy(patient, train=True)
            inputs = patient.inputs(dtype)
            torch.manual_seed(seed)
            pair.append(network(*(inputs[name] for name in patient.order)))
    if not differing(*pair):
        return not_applicable(_DROPOUT, "the network draws no random numbers in train mode")
    return _examine(patient, _DROPOUT, True, _ONE_MASK)


def _examine(patient: Patient, probe: str, train: bool, cure: str) -> list[Finding]:
    network, dtype = working_copy(patient, train)
    inputs = patient.inputs(dtype)
    worst = 0.0
    for name, direction in patient.directions(inputs).items():
        error, guilty = _compare(patient, network, inputs, name, direction)
        if guilty:
            seen = (
                f"its tangent in {name} is {error:.1g} of its size away from the difference "
                f"quotient in {_short(dtype)}" + (", for the same random numbers" if train else "")
            )
            return traps(patient, probe, guilty, seen, cure)
        worst = max(worst, error)
    names = ", ".join(patient.smooth(inputs))
    seen = (
        f"tangents in {names} agree with differences in {_short(dtype)} to {max(worst, 1e-8):.0e}"
    )
    return fine(probe, seen + (", value and tangent with one mask" if train else ""))


def _compare(
    patient: Patient, network: nn.Module, inputs: Inputs, name: str, direction: Tensor
) -> tuple[float, list[str]]:
    """Return the relative error of the network's tangent, and the submodules that cause it."""

    def act(value: Tensor) -> Tensor:
        return patient.call(network, inputs | {name: value})

    point = inputs[name]
    with torch.no_grad():
        calls, values, tangents = linear_part(network, act, [point], [direction])
        quotients = [
            _quotients(network, act, point, step * direction, step)
            for step in _STEPS[direction.dtype]
        ]
    errors = [
        tuple(
            [
                min(
                    _error(value, tangent, quotient[number][side][i], step)
                    for quotient, step in zip(quotients, _STEPS[direction.dtype], strict=True)
                )
                for i, (value, tangent) in enumerate(
                    zip(values[number][side], tangents[number][side], strict=True)
                )
            ]
            for side in (0, 1)
        )
        for number in range(len(calls))
    ]
    tolerance = _TOLERANCE[direction.dtype]
    whole = max(errors[-1][1], default=0.0)
    if whole <= tolerance:
        return whole, []

    def guilty(number: int) -> bool:
        entering, leaving = (max(errors[number][side], default=0.0) for side in (0, 1))
        return entering <= tolerance < leaving

    return whole, innermost(calls, guilty) or [""]


def _quotients(
    network: nn.Module, act: Callable[[Tensor], Tensor], x: Tensor, shift: Tensor, step: float
) -> list[Any]:
    """Return central differences of all that goes into submodules and comes out."""
    ahead, behind = [
        [call.tensors for call in record(network, lambda at=at: act(at))]
        for at in (x + shift, x - shift)
    ]
    return [
        tuple(
            [(a - b) / (2 * step) for a, b in zip(one[side], other[side], strict=True)]
            for side in (0, 1)
        )
        for one, other in zip(ahead, behind, strict=True)
    ]


def _error(value: Tensor, tangent: Tensor, quotient: Tensor, step: float) -> float:
    """Return the relative error of a tangent, beyond what rounding does to the quotient.

    In the root mean square: where a kink lies between the two points, single entries may differ.
    """
    rounding = 16 * torch.finfo(quotient.dtype).eps * float(value.norm()) / step
    error = float((tangent - quotient).norm()) - rounding
    scale = max(float(tangent.norm()), float(quotient.norm()))
    if error != error:
        return float("inf")
    return max(error, 0.0) / scale if scale > 0 else 0.0


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
