"""Probe: every parameter that is to learn gets a gradient."""

import torch
from torch import nn

from flowmaps._checks import first_line
from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._in_place import IN_PLACE, writing_in_place
from flowmaps.testing.doctor._patient import Patient
from flowmaps.testing.doctor._probe import Settings, fine, listed, not_applicable, trap, traps
from flowmaps.testing.doctor._record import Call, innermost, record
from flowmaps.testing.doctor._tangents import working_copy

__all__ = ["examine_gradients", "owner"]

_NAME = "gradients"


def examine_gradients(patient: Patient, settings: Settings) -> list[Finding]:
    """Take the gradient of the mean square of values, in train mode."""
    network, dtype = working_copy(patient, train=True)
    inputs = patient.inputs(dtype)
    for name in patient.smooth(inputs):
        inputs[name].requires_grad_()
    learned = {n: p for n, p in network.named_parameters() if p.requires_grad and p.numel()}
    if not learned:
        return not_applicable(_NAME, "there are no parameters that require gradients")
    calls: list[Call] = []

    def act(network: nn.Module) -> None:
        outputs = []
        calls[:] = record(network, lambda: outputs.append(patient.call(network, inputs)))
        if outputs[0].requires_grad:
            outputs[0].square().mean().backward()

    with torch.enable_grad():
        try:
            act(network)
        except RuntimeError as error:
            guilty = writing_in_place(patient, network, inputs, error, act)
            if not guilty:
                raise
            seen = f"backward raised {type(error).__name__}: {first_line(error)}"
            return traps(patient, _NAME, guilty, seen, IN_PLACE)
    without = [name for name, p in learned.items() if p.grad is None or not p.grad.any()]
    if not without:
        return fine(_NAME, f"all {len(learned)} parameters get gradients")
    losing = innermost(calls, lambda number: _loses(calls[number]))
    if losing:
        seen = f"its output has no gradient, nor have {listed(without)}"
        cure = "take it out of torch.no_grad(), .detach() and .data, or set requires_grad=False"
        return traps(patient, _NAME, losing, seen, cure)
    return [_unused(patient, network, module, without) for module in _owners(without)]


def _loses(call: Call) -> bool:
    given, made = call.tensors
    tracked = any(one.requires_grad for one in given)
    return bool(call.recording and tracked and made and not any(one.requires_grad for one in made))


def _unused(patient: Patient, network: nn.Module, module: str, without: list[str]) -> Finding:
    names = [name for name in without if owner(name) == module]
    unused = all(network.get_parameter(name).grad is None for name in names)
    seen = f"{listed(names)}: no gradient" if unused else f"{listed(names)}: a gradient of zero"
    cure = (
        "use them in forward, or remove them, or set requires_grad=False: data-parallel training "
        "waits for gradients that never come"
    )
    return trap(patient, _NAME, module, seen, cure)


def _owners(names: list[str]) -> list[str]:
    return list(dict.fromkeys(map(owner, names)))


def owner(parameter: str) -> str:
    """Return the submodule that holds a parameter."""
    return parameter.rpartition(".")[0]
