"""Probe: every sample's value depends on that sample alone."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import first_line
from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._patient import Inputs, Patient
from flowmaps.testing.doctor._probe import Settings, fine, traps
from flowmaps.testing.doctor._record import Call, innermost, raising, record
from flowmaps.testing.doctor._same import differing
from flowmaps.testing.doctor._tangents import working_copy

__all__ = ["examine_coupling"]

_NAME = "batch coupling"
_CURE = (
    "normalise every sample by itself, without running statistics (root mean square over features "
    "or channels); take what differs between samples from the arguments, never from their average"
)
_ROUNDING = 2.0**16  # other batches take other kernels


def examine_coupling(patient: Patient, settings: Settings) -> list[Finding]:
    """Change the other samples, and leave them out; the first's and the last's value must stay."""
    with torch.no_grad():
        network, dtype = working_copy(patient)
        alone = _only(patient.inputs(dtype), 0)
        raised = raising(network, lambda: patient.call(network, alone))
    if raised is not None:
        seen = f"raises for a batch of one: {first_line(raised[0])}"
        return traps(patient, _NAME, [raised[1]], seen, f"keep the batch axis throughout; {_CURE}")
    for train in (False, True):
        for kept in (0, patient.batch - 1):
            words, guilty = _compare(patient, kept, train)
            if guilty:
                mode = "train" if train else "eval"
                seen = f"in {mode} mode, a sample's value changes {words}"
                return traps(patient, _NAME, guilty, seen, _CURE)
    seen = "a sample's value does not depend on the other samples, in train or in eval mode"
    return fine(_NAME, seen)


def _compare(patient: Patient, kept: int, train: bool) -> tuple[str, list[str]]:
    """Return what changes the value of one sample, and the submodules in which it does."""
    inputs = patient.inputs(working_copy(patient, train)[1])
    here = _run(patient, working_copy(patient, train)[0], inputs)
    others = [("when the other samples change", _others_changed(inputs, kept), kept)]
    if not train:  # in train mode, random masks have another shape
        others.append(("when it is evaluated alone", _only(inputs, kept), 0))
    for words, other, place in others:
        there = _run(patient, working_copy(patient, train)[0], other)
        rows = 1 if words.endswith("alone") else patient.batch
        guilty = _parted(here, there, _Place(kept, patient.batch), _Place(place, rows))
        if guilty:
            return words, guilty
    return "", []


@dataclass(frozen=True)
class _Place:
    """A sample's place in a batch."""

    index: int
    batch: int

    def of(self, value: Tensor) -> Tensor | None:
        """Return what belongs to the sample, where the leading axis runs over samples."""
        if value.ndim == 0 or value.shape[0] % self.batch or value.shape[0] == 0:
            return None
        rows = value.shape[0] // self.batch
        return value[self.index * rows : (self.index + 1) * rows]


def _run(patient: Patient, network: nn.Module, inputs: Inputs) -> list[Call]:
    with torch.no_grad():
        return record(network, lambda: patient.call(network, inputs))


def _only(inputs: Inputs, kept: int) -> Inputs:
    return pytree.tree_map(
        lambda v: v[kept : kept + 1].clone() if isinstance(v, Tensor) else v, inputs
    )


def _others_changed(inputs: Inputs, kept: int) -> Inputs:
    """Return the inputs with all samples but one exchanged among themselves, states scaled too."""
    batch = inputs["x"].shape[0]
    order = torch.arange(batch)
    others = order[order != kept]
    order[others] = others.roll(1)
    moved = pytree.tree_map(lambda v: v[order] if isinstance(v, Tensor) else v, inputs)
    states = 1.5 * moved["x"] + 0.5
    states[kept] = inputs["x"][kept]
    return moved | {"x": states}


def _parted(here: list[Call], there: list[Call], one: _Place, other: _Place) -> list[str]:
    """Return the submodules in which a sample's values part, if they do in the whole."""
    if len(here) != len(there):
        return [""]

    def differ(some: list[Tensor], others: list[Tensor], unknown: bool) -> bool:
        if len(some) != len(others):
            return True
        for a, b in zip(some, others, strict=True):
            rows = one.of(a), other.of(b)
            if rows[0] is None or rows[1] is None:  # without a batch axis: no sample's own
                if unknown and differing(a, b, _ROUNDING):
                    return True
            elif differing(rows[0], rows[1], _ROUNDING):
                return True
        return False

    def guilty(number: int) -> bool:
        (given, made), (given_too, made_too) = here[number].tensors, there[number].tensors
        return not differ(given, given_too, True) and differ(made, made_too, False)

    if not differ(here[-1].tensors[1], there[-1].tensors[1], True):
        return []
    return innermost(here, guilty) or [""]
