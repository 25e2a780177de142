"""Probe: the network can be called as a flow map's network is, and returns what it should."""

from functools import partial

import torch
from torch import Tensor

from flowmaps._checks import first_line
from flowmaps.testing._subject import misbehaviour_of
from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._patient import Patient
from flowmaps.testing.doctor._probe import Settings, fine, trap, traps
from flowmaps.testing.doctor._record import Call, innermost, raising, record

__all__ = ["examine_call"]

_NAME = "call"


def examine_call(patient: Patient, settings: Settings) -> list[Finding]:
    """Call the network with times of shape (batch,), in train and in eval mode."""
    said = f"network({', '.join(patient.order)})"
    inputs = patient.inputs(patient.x.dtype)
    for train in (False, True):
        network = patient.copy(train=train)
        with torch.no_grad():
            raised = raising(network, lambda net=network: patient.call(net, inputs))
            if raised is not None:
                error, module = raised
                seen = f"{said} with times (batch,) raised {type(error).__name__}: "
                return [trap(patient, _NAME, module, seen + first_line(error), _cure(patient))]
            calls = record(network, lambda net=network: patient.call(net, inputs))
            value = calls[-1].outputs
        wrong = misbehaviour_of(value, patient.x)
        if wrong is not None:
            cure = "return one value of x's shape and dtype; axes of length one broadcast silently"
            return [trap(patient, _NAME, "", f"{said}: {wrong}", cure)]
        if not value.isfinite().all():
            seen = f"its value is not finite in {'train' if train else 'eval'} mode"
            cure = "see what it divides by, and what grows; give times= and states as they are used"
            return traps(patient, _NAME, innermost(calls, partial(_blows_up, calls)), seen, cure)
    return fine(_NAME, f"{said} with times (batch,) returns what is like x")


def _blows_up(calls: list[Call], number: int) -> bool:
    given, made = (all(map(_finite, tensors)) for tensors in calls[number].tensors)
    return given and not made


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _cure(patient: Patient) -> str:
    """Say more if the network can be called with one time for all samples."""
    inputs = patient.inputs(patient.x.dtype)
    inputs |= {name: inputs[name][0] for name in patient.times}
    with torch.no_grad():
        if raising(network := patient.copy(), lambda: patient.call(network, inputs)) is None:
            return (
                "it takes one time (0-d) only: give times the state's axes inside, "
                "t.reshape(-1, *[1] * (x.ndim - 1)), so that every sample may have its own"
            )
    return "see the error; give x (and condition) as the network is used"
