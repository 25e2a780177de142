"""Probe: every operation has a forward-mode rule, whose result can be differentiated backwards."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import first_line
from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._in_place import IN_PLACE, writing_in_place
from flowmaps.testing.doctor._patient import Inputs, Patient, seeded
from flowmaps.testing.doctor._probe import Settings, fine, trap
from flowmaps.testing.doctor._record import Call, innermost, record, smooth_leaves

__all__ = ["cure_of", "examine_forward_mode", "jvp_of_call"]

_NAME = "forward mode"
_MODES = ((True, True, "train mode"), (False, False, "eval mode under torch.no_grad()"))


def examine_forward_mode(patient: Patient, settings: Settings) -> list[Finding]:
    """Take a jvp, backwards as well where gradients are recorded, in train and eval mode."""
    found: dict[str, Finding] = {}
    inputs = patient.inputs(patient.x.dtype)
    for train, recording, words in _MODES:
        network = patient.copy(train=train)
        with torch.set_grad_enabled(recording):
            error = _error_of(lambda net=network: _whole(patient, net, inputs))
            if error is None:
                continue
            for module, cause in _located(patient, patient.copy(train=train), inputs, error):
                seen = f"torch.func.jvp in {words} raised {type(cause).__name__}: "
                told = trap(patient, _NAME, module, seen + first_line(cause), cure_of(cause))
                found.setdefault(module, told)
    if found:
        return list(found.values())
    seen = "torch.func.jvp in all arguments passes in train and eval mode, and backwards after it"
    return fine(_NAME, seen)


def _whole(patient: Patient, network: nn.Module, inputs: Inputs) -> None:
    """Take a jvp of a network, and gradients after it."""
    directions = patient.directions(inputs)

    def act(*values: Tensor) -> Tensor:
        return patient.call(network, inputs | dict(zip(directions, values, strict=True)))

    primals = tuple(inputs[name] for name in directions)
    _differentiate(act, primals, tuple(directions.values()), list(network.parameters()))


def jvp_of_call(call: Call, seed: int = 0) -> Any:
    """Return values and tangents of one recorded call, replayed."""
    act, primals = replayed(call, seed)
    return torch.func.jvp(act, primals, tuple(map(torch.ones_like, primals)))


def replayed(call: Call, seed: int) -> tuple[Callable[..., list[Tensor]], tuple[Tensor, ...]]:
    """Return a recorded call as a function of the floating-point tensors among its arguments."""
    leaves, structure = pytree.tree_flatten(call.arguments)
    primals = {id(leaf): leaf for leaf in smooth_leaves(leaves)}

    def act(*values: Tensor) -> list[Tensor]:
        given = dict(zip(primals, values, strict=True))
        args, kwargs = pytree.tree_unflatten([given.get(id(v), v) for v in leaves], structure)
        with seeded(seed):
            outputs = call.module(*args, **kwargs)
        return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]

    return act, tuple(leaf.detach() for leaf in primals.values())


def _located(
    patient: Patient, network: nn.Module, inputs: Inputs, error: Exception
) -> list[tuple[str, Exception]]:
    """Return the innermost submodules of which a jvp raises, each with its error."""
    with torch.no_grad():
        calls = record(network, lambda: patient.call(network, inputs))
    causes: dict[str, Exception] = {}

    def guilty(number: int) -> bool:
        call = calls[number]
        act, primals = replayed(call, patient.seed)
        if not primals:
            return False
        tangents = tuple(map(torch.ones_like, primals))
        cause = _error_of(
            lambda: _differentiate(act, primals, tangents, list(call.module.parameters()))
        )
        if cause is not None:
            causes.setdefault(call.name, cause)
        return cause is not None

    names = innermost(calls, guilty)
    if names and names != [""]:
        return [(name, causes[name]) for name in names]
    act = partial(_whole, patient, inputs=inputs)
    overwriting = writing_in_place(patient, network, inputs, error, act)
    return [(name, error) for name in overwriting or [""]]


def _differentiate(
    act: Callable[..., Any],
    primals: tuple[Tensor, ...],
    tangents: tuple[Tensor, ...],
    parameters: list[nn.Parameter],
) -> None:
    pair = torch.func.jvp(act, primals, tangents)
    leaves = [leaf for leaf in pytree.tree_leaves(pair) if leaf.requires_grad]
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if leaves and wanted:
        total = torch.stack([leaf.float().square().sum() for leaf in leaves]).sum()
        torch.autograd.grad(total, wanted, allow_unused=True)


def _error_of(act: Callable[[], object]) -> Exception | None:
    try:
        act()
    except Exception as error:
        return error
    return None


def cure_of(error: Exception) -> str:
    """Return what to do about an operation without forward mode."""
    text = str(error)
    if "inplace operation" in text:
        return IN_PLACE
    if "torch.utils.checkpoint" in text:
        return "take checkpoint() off: checkpoint the function that contains the jvp instead"
    if "attention" in text:
        return "see the probe attention"
    if "autograd.Function" in text or "setup_context" in text:
        return "write it in plain operations instead of a custom autograd.Function"
    if "in-place" in text:
        return "write no buffers while the network is called: no running statistics, no caches"
    if "storage" in text or "numpy" in text:
        return "compute in torch, not in numpy: tangents do not survive the round trip"
    if "silu_backward" in text or "does not support it" in text:
        return "write the operation in plain ones that have a rule"
    return "replace the operation by ones that pass torch.func.jvp"
