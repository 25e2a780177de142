"""Probe: both times matter, and times near each other are told apart."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._patient import Inputs, Patient
from flowmaps.testing.doctor._probe import Settings, fine, traps
from flowmaps.testing.doctor._record import Call, innermost, record
from flowmaps.testing.doctor._tangents import working_copy

__all__ = ["examine_times"]

_NAME = "times"
_NEAR = 2.0**-9  # of bfloat16 numbers near a half; half that far, two times are one in it
_KEEP = (
    "keep times in float32 until their features are made, then cast the features: "
    "in low precision times near each other are one"
)
_SMOOTH = (
    "let times enter as real numbers in float32 or wider: no casts to half precision, no rounding, "
    "no .long() to look them up in a table"
)


def examine_times(patient: Patient, settings: Settings) -> list[Finding]:
    """Move s and t, by much and by little, in float64, in float32 and with bfloat16 weights."""
    told = []
    for name in patient.times:
        ignored = _ignored(patient, name)
        if ignored and name == "s" and getattr(patient.network, "decodes", None) is not None:
            told.append("the value does not depend on s (the network decodes from one start)")
            continue
        if ignored and patient.is_map:
            seen = f"the value does not depend on {name}"
            cure = f"let the network see {name}, or the span t - s"
            return traps(patient, _NAME, ignored, seen, cure)
        if ignored:
            told.append("the value does not depend on t (an autonomous field)")
            continue
        for examine, cure in ((_stepped, _SMOOTH), (_blurred, _KEEP), (_merged, _KEEP)):
            seen, guilty = examine(patient, name)
            if guilty:
                return traps(patient, _NAME, guilty, seen, cure)
            told += [seen] if seen else []
    return fine(_NAME, "; ".join(told))


def _moved(inputs: Inputs, name: str, shift: float) -> Inputs:
    return inputs | {name: inputs[name] + shift}


def _run(patient: Patient, network: nn.Module, inputs: Inputs) -> list[Call]:
    with torch.no_grad():
        return record(network, lambda: patient.call(network, inputs))


def _ignored(patient: Patient, name: str) -> list[str]:
    """Return the submodules that lose a time, if no output depends on it at all."""
    network, dtype = working_copy(patient)
    inputs = patient.inputs(dtype)
    near = [_run(patient, network, _moved(inputs, name, d)) for d in (0.0, 0.0371, 0.0113)]
    return _constant(near)


def _constant(runs: Sequence[list[Call]]) -> list[str]:
    """Return the innermost submodules whose inputs differ between runs and whose outputs do not."""

    def same(number: int, side: int) -> bool:
        first, *others = [run[number].tensors[side] for run in runs]
        return all(_same(first, other) for other in others)

    if not same(-1, 1):
        return []
    return innermost(runs[0], lambda n: not same(n, 0) and same(n, 1)) or [""]


def _same(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(map(torch.equal, some, others))


def _stepped(patient: Patient, name: str) -> tuple[str, list[str]]:
    """Move a time by as little as float32 tells apart easily."""
    network, dtype = working_copy(patient)
    at = torch.full((patient.batch,), 0.3701, dtype=dtype, device=patient.x.device)
    steps = [patient.inputs(dtype) | {name: at + step} for step in (0.0, 1e-5, 2e-5)]
    stairs = _constant([_run(patient, network, one) for one in steps])
    told = f"values at {name} less than 2e-5 apart are one, whatever the precision"
    return (told if stairs else ""), stairs


def _blurred(patient: Patient, name: str) -> tuple[str, list[str]]:
    """Compare the difference that a thousandth of time makes in float32 with that in float64."""
    wide, dtype = working_copy(patient)
    if dtype != torch.float64:
        return "", []
    pairs = []
    for network, kind in ((wide, torch.float64), (patient.copy(torch.float32), torch.float32)):
        inputs = patient.inputs(torch.float32)
        inputs = {k: v.to(kind) if k in patient.smooth(inputs) else v for k, v in inputs.items()}
        moved = inputs | {name: (inputs[name].float() + 1.37e-3).to(kind)}
        pairs.append([_run(patient, network, one) for one in (inputs, moved)])
    (before, after), (before_low, after_low) = pairs

    def wrong(number: int, side: int) -> bool:
        a, b, low, low_moved = [
            run[number].tensors[side] for run in (before, after, before_low, after_low)
        ]
        return any(map(_difference_lost, a, b, low, low_moved))

    if len(before) != len(before_low) or not wrong(-1, 1):
        return f"{name} is resolved to a thousandth in float32", []
    guilty = innermost(before, lambda n: not wrong(n, 0) and wrong(n, 1))
    seen = f"in float32, moving {name} by a thousandth changes the value by another amount than in "
    return seen + "float64", guilty or [""]


def _difference_lost(a: Tensor, b: Tensor, low: Tensor, low_moved: Tensor) -> bool:
    exact, found = (b - a).double(), (low_moved.double() - low.double())
    rounding = 512 * torch.finfo(torch.float32).eps * float(a.abs().max()) * a.numel() ** 0.5
    return float((exact - found).norm()) > 0.1 * float(exact.norm()) + rounding


def _merged(patient: Patient, name: str) -> tuple[str, list[str]]:
    """With bfloat16 weights and float32 times, move a time within the spacing of bfloat16."""
    centre = 0.5 + 2 * _NEAR  # a number of bfloat16
    shifts = torch.linspace(-0.9, 0.9, 5).tolist()
    runs, moves = [], []
    low, (wide, dtype) = patient.copy(torch.bfloat16), working_copy(patient)
    for shift in shifts:
        time = torch.full((patient.batch,), centre + shift * _NEAR, device=patient.x.device)
        try:
            runs.append(_run(patient, low, patient.inputs(torch.bfloat16) | {name: time}))
        except Exception:
            return "", []  # the probe bfloat16 says so
        moves.append(_run(patient, wide, patient.inputs(dtype) | {name: time.to(dtype)})[-1])
    first, last = moves[0].tensors[1][0], moves[-1].tensors[1][0]
    if float((first - last).norm()) < 2e-3 * float(first.norm()):
        return "", []  # too small a change to be seen in bfloat16
    seen = f"with bfloat16 weights, values at {name} less than {2 * _NEAR:.1g} apart are one"
    guilty = _constant(runs)
    return (seen if guilty else f"{name} is resolved finer than bfloat16 with its weights"), guilty
