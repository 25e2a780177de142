"""Which submodule does it: every call of every submodule recorded, the innermost one at fault."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["Call", "innermost", "linear_part", "raising", "record", "smooth_leaves"]


@dataclass
class Call:
    """One call of a submodule.

    Args:
        name: of the submodule, as in ``named_modules()``.
        module: the submodule.
        arguments: copies of its positional and keyword arguments.
        first: number of calls that had ended when this one began: those from there on lie inside.
        recording: whether gradients were recorded when it began.
        outputs: a copy of what it returned.
    """

    name: str
    module: nn.Module
    arguments: tuple[Any, Any]
    first: int
    recording: bool
    outputs: Any = None

    @property
    def tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        """The floating-point tensors that went in and that came out."""
        return smooth_leaves(self.arguments), smooth_leaves(self.outputs)


@dataclass
class _Recorder:
    calls: list[Call] = field(default_factory=list)
    open: list[Call] = field(default_factory=list)

    def begin(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        arguments = _cloned((args, kwargs))
        recording = torch.is_grad_enabled()
        self.open.append(Call(name, module, arguments, len(self.calls), recording))

    def end(self, outputs: Any) -> None:
        call = self.open.pop()
        call.outputs = _cloned(outputs)
        self.calls.append(call)


@contextmanager
def _recording(network: nn.Module) -> Iterator[_Recorder]:
    recorder = _Recorder()

    def before(name: str) -> Callable[..., None]:
        return lambda module, args, kwargs: recorder.begin(name, module, args, kwargs)

    def after(module: nn.Module, args: Any, kwargs: Any, outputs: Any) -> None:
        recorder.end(outputs)

    hooks = []
    for name, module in network.named_modules():
        # first of all: what the module's own pre-hooks do lies inside, and runs again in a replay
        hooks.append(module.register_forward_pre_hook(before(name), with_kwargs=True, prepend=True))
        hooks.append(module.register_forward_hook(after, with_kwargs=True))
    try:
        yield recorder
    finally:
        for hook in hooks:
            hook.remove()


def record(network: nn.Module, act: Callable[[], object]) -> list[Call]:
    """Return the calls that an act makes, in the order in which they end: the network's last."""
    with _recording(network) as recorder:
        act()
    return recorder.calls


def raising(network: nn.Module, act: Callable[[], object]) -> tuple[Exception, str] | None:
    """Return the error of an act and the innermost submodule in which it was raised, if any."""
    with _recording(network) as recorder:
        try:
            act()
        except Exception as error:
            return error, recorder.open[-1].name if recorder.open else ""
    return None


def innermost(calls: list[Call], guilty: Callable[[int], bool]) -> list[str]:
    """Return the names of the submodules at fault, of those that contain each other the inner ones.

    Args:
        calls: as recorded.
        guilty: tells of a call, by its number, whether good inputs have become bad outputs in it.
    """
    faults: list[int] = []
    for number, call in enumerate(calls):
        inside = any(fault >= call.first for fault in faults)
        if not inside and guilty(number):
            faults.append(number)
    return list(dict.fromkeys(calls[number].name for number in faults))


def linear_part(
    network: nn.Module, act: Callable[..., object], primals: list[Tensor], tangents: list[Tensor]
) -> tuple[list[Call], list[Any], list[Any]]:
    """Return the calls under forward mode, with values and tangents of all that went in and out.

    One jvp gives the tangents of every submodule's inputs and outputs, for they are outputs of the
    recorded function. Values and tangents are pairs of lists, as ``Call.tensors``.
    """
    calls: list[Call] = []

    def traced(*values: Tensor) -> list[Any]:
        calls[:] = record(network, lambda: act(*values))
        return [call.tensors for call in calls]

    pair = torch.func.jvp(traced, tuple(primals), tuple(tangents))
    return calls, pair[0], pair[1]


def smooth_leaves(tree: Any) -> list[Tensor]:
    """Return the floating-point tensors of a pytree."""
    leaves = pytree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _cloned(tree: Any) -> Any:
    """Copy the tensors of a pytree; what was one tensor stays one (self-attention asks for it)."""
    copies: dict[int, Tensor] = {}

    def cloned(leaf: Any) -> Any:
        return copies.setdefault(id(leaf), leaf.clone()) if isinstance(leaf, Tensor) else leaf

    return pytree.tree_map(cloned, tree)
