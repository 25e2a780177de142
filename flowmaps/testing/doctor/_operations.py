"""Probes: attention kernels and normalisations, found by the functions of torch that are called."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from flowmaps._checks import first_line
from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._forward_mode import jvp_of_call
from flowmaps.testing.doctor._patient import Patient
from flowmaps.testing.doctor._probe import Settings, fine, not_applicable, trap
from flowmaps.testing.doctor._record import Call, record

__all__ = ["examine_attention", "examine_norms"]

_ATTENTION, _NORMS = "attention", "norms"
_ATTENDING = (
    F.multi_head_attention_forward,
    F.scaled_dot_product_attention,
    torch._native_multi_head_attention,  # pyright: ignore[reportPrivateImportUsage]
)
_NORMALISING = {
    F.layer_norm: "layer_norm",
    torch.layer_norm: "layer_norm",
    F.group_norm: "group_norm",
    torch.group_norm: "group_norm",
    F.batch_norm: "batch_norm",
    torch.batch_norm: "batch_norm",
    F.instance_norm: "instance_norm",
    torch.instance_norm: "instance_norm",
    F.rms_norm: "rms_norm",
    torch.rms_norm: "rms_norm",
}


class _Watch(TorchFunctionMode):
    """Tells of every call of one of some functions."""

    def __init__(self, functions: Any, told: Callable[[Any], None]):
        super().__init__()
        self.functions, self.told = functions, told

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.functions:
            self.told(func)
        return func(*args, **(kwargs or {}))


def _users(patient: Patient, functions: Any, train: bool) -> dict[str, tuple[Call, Any]]:
    """Return the submodules that call one of some functions themselves, with a call of each."""
    network = patient.copy(train=train)
    inputs = patient.inputs(patient.x.dtype)
    inside: list[str] = []
    used: dict[str, Any] = {}
    hooks = []
    for name, module in network.named_modules():
        enter = module.register_forward_pre_hook(
            lambda *_, name=name: inside.append(name), prepend=True
        )
        leave = module.register_forward_hook(lambda *_: (inside.pop(), None)[1])
        hooks += [enter, leave]
    with torch.no_grad():
        watch = _Watch(functions, lambda func: used.setdefault(inside[-1], func))

        def act() -> None:
            with watch:
                patient.call(network, inputs)

        calls = record(network, act)
    for hook in hooks:
        hook.remove()
    return {call.name: (call, used[call.name]) for call in calls if call.name in used}


def examine_attention(patient: Patient, settings: Settings) -> list[Finding]:
    """Replay what attends under jvp: with the kernel that torch chooses, and with the plain one."""
    found: dict[str, Finding] = {}
    users: dict[str, Any] = {}
    for train in (True, False):
        for name, (call, function) in _users(patient, _ATTENDING, train).items():
            users[name] = function
            with torch.no_grad():
                error = _error_of(lambda call=call: jvp_of_call(call, patient.seed))
                if error is None:
                    continue
                with sdpa_kernel(SDPBackend.MATH):
                    plain = _error_of(lambda call=call: jvp_of_call(call, patient.seed)) is None
            seen = f"jvp raised {type(error).__name__}: {first_line(error)}"
            found.setdefault(name, trap(patient, _ATTENTION, name, seen, _attention_cure(plain)))
    if found:
        return list(found.values())
    if not users:
        return not_applicable(_ATTENTION, "no fused attention of torch is called")
    return fine(_ATTENTION, f"the kernels in {', '.join(users)} pass jvp here")


def _attention_cure(plain: bool) -> str:
    own = "write attention by matrix products and a softmax"
    if plain:
        return f"{own}, or call it under sdpa_kernel(SDPBackend.MATH), which passes jvp here"
    return f"{own}; sdpa_kernel(SDPBackend.MATH) does not help here"


def examine_norms(patient: Patient, settings: Settings) -> list[Finding]:
    """Replay what normalises under jvp, with bfloat16 inputs and float32 or bfloat16 weights."""
    users = _users(patient, _NORMALISING, False)
    if not users:
        return not_applicable(_NORMS, "no normalisation of torch is called")
    found = []
    for name, (call, function) in users.items():
        wrong = [
            seen for weights in (torch.float32, torch.bfloat16) if (seen := _wide(call, weights))
        ]
        if wrong:
            seen = f"{_NORMALISING[function]}: {'; '.join(wrong)}"
            cure = (
                "write the normalisation in plain operations: x * torch.rsqrt(x.square().mean(...) "
                "+ epsilon) in float32, then cast back"
            )
            found.append(trap(patient, _NORMS, name, seen, cure))
    kinds = ", ".join(sorted({_NORMALISING[function] for _, function in users.values()}))
    return found or fine(_NORMS, f"{kinds}: tangents have the dtype of values in bfloat16")


def _wide(call: Call, weights: torch.dtype) -> str:
    """Say so if tangents have another dtype than values; nothing if bfloat16 does not run."""
    low = pytree.tree_map(_low, call.arguments)
    probe = Call(call.name, call.module.to(weights), low, 0, False)
    try:
        with torch.no_grad():
            values, tangents = jvp_of_call(probe)
    except Exception:
        return ""
    for value, tangent in zip(values, tangents, strict=True):
        if value.dtype != tangent.dtype:
            kind = str(tangent.dtype).removeprefix("torch.")
            told = str(value.dtype).removeprefix("torch.")
            with_weights = str(weights).removeprefix("torch.")
            return f"{kind} tangents of {told} values for bfloat16 inputs, {with_weights} weights"
    return ""


def _low(leaf: Any) -> Any:
    smooth = isinstance(leaf, Tensor) and leaf.is_floating_point()
    return leaf.to(torch.bfloat16) if smooth else leaf


def _error_of(act: Callable[[], object]) -> Exception | None:
    try:
        act()
    except Exception as error:
        return error
    return None
