"""Probes: the same value every time in eval mode, and nothing written into inputs or buffers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._patient import Inputs, Patient
from flowmaps.testing.doctor._probe import Settings, fine, listed, trap, traps
from flowmaps.testing.doctor._record import innermost, record
from flowmaps.testing.doctor._same import differing

__all__ = ["examine_buffers", "examine_determinism", "examine_inputs"]

_DETERMINISM, _INPUTS, _BUFFERS = "determinism", "inputs kept", "buffers kept"
_State = Callable[[nn.Module, Inputs], dict[str, Tensor]]


def examine_determinism(patient: Patient, settings: Settings) -> list[Finding]:
    """Evaluate twice in eval mode with different random numbers, and look where values part."""
    network = patient.copy()
    inputs = patient.inputs(patient.x.dtype)
    runs = []
    with torch.no_grad():
        for seed in (1, 2):

            def act(seed: int = seed) -> None:
                torch.manual_seed(seed)
                network(*(inputs[name] for name in patient.order))

            runs.append(record(network, act))
    first, second = runs

    def parted(number: int) -> bool:
        (given, made), (given_too, made_too) = first[number].tensors, second[number].tensors
        return not _differ(given, given_too) and _differ(made, made_too)

    if len(first) != len(second) or _differ(first[-1].tensors[1], second[-1].tensors[1]):
        guilty = innermost(first, parted) if len(first) == len(second) else [""]
        seen = "in eval mode, two evaluations at the same inputs differ"
        cure = (
            "draw random numbers in train mode alone (F.dropout(..., training=self.training)), and "
            "keep no state from one call to the next"
        )
        return traps(patient, _DETERMINISM, guilty, seen, cure)
    return fine(_DETERMINISM, "two evaluations in eval mode agree")


def _differ(some: list[Tensor], others: list[Tensor]) -> bool:
    if len(some) != len(others):
        return True
    return any(differing(a, b) for a, b in zip(some, others, strict=True))


def examine_inputs(patient: Patient, settings: Settings) -> list[Finding]:
    """Compare the arguments before and after every submodule's call."""
    cure = "use the operation that returns a new tensor (x = x + y, not x += y, nor x.add_(y))"
    return _examine_writes(patient, _INPUTS, _inputs_of, cure)


def examine_buffers(patient: Patient, settings: Settings) -> list[Finding]:
    """Compare buffers and parameters before and after every submodule's call."""
    cure = (
        "keep no running statistics and no caches, and make all parameters in __init__: under jvp "
        "torch refuses to write in place, and ranks and resumed runs part by what is written"
    )
    return _examine_writes(patient, _BUFFERS, _state_of, cure)


def _examine_writes(patient: Patient, probe: str, state: _State, cure: str) -> list[Finding]:
    found: dict[str, Finding] = {}
    for train in (False, True):
        for module, names in _written(patient, train, state).items():
            seen = f"writes into {listed(names)} in {'train' if train else 'eval'} mode"
            found.setdefault(module, trap(patient, probe, module, seen, cure))
    if found:
        return list(found.values())
    return fine(probe, "the same after a call as before, in train and eval mode")


def _written(patient: Patient, train: bool, state: _State) -> dict[str, list[str]]:
    """Return the innermost submodules in whose call a part of the state changes, and which."""
    network, inputs = patient.copy(train=train), patient.inputs(patient.x.dtype)
    kept = _copied(state(network, inputs))
    with torch.no_grad():
        patient.call(network, inputs)
    suspect = _changed(kept, state(network, inputs))
    if not suspect:
        return {}
    network, inputs = patient.copy(train=train), patient.inputs(patient.x.dtype)
    before: list[dict[str, Tensor]] = []
    found: dict[str, list[str]] = {}

    def now() -> dict[str, Tensor]:
        return {name: one for name, one in state(network, inputs).items() if name in suspect}

    def enter(module: nn.Module, args: Any) -> None:
        before.append(_copied(now()))

    def leave(module: nn.Module, args: Any, outputs: Any) -> None:
        old, new = before.pop(), _copied(now())
        changed = _changed(old, new)
        if changed:
            found.setdefault(names[module], changed)
            for outer in before:  # the blame lies here, not with the modules around
                outer |= {name: new[name] for name in changed}

    names = {module: name for name, module in network.named_modules()}
    hooks = []
    for module in names:
        hooks += [
            module.register_forward_pre_hook(enter, prepend=True),
            module.register_forward_hook(leave),
        ]
    with torch.no_grad():
        patient.call(network, inputs)
    for hook in hooks:
        hook.remove()
    return found


def _inputs_of(network: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    return {
        f"the input {name}": leaf
        for name, value in inputs.items()
        for leaf in pytree.tree_leaves(value)
        if isinstance(leaf, Tensor)
    }


def _state_of(network: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    parameters = {f"parameter {name}": one for name, one in network.named_parameters()}
    return parameters | {f"buffer {name}": one for name, one in network.named_buffers()}


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in state.items()}


def _changed(old: dict[str, Tensor], new: dict[str, Tensor]) -> list[str]:
    return [name for name in new if name not in old or not _equal(old[name], new[name])]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
