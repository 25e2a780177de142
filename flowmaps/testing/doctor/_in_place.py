"""Which submodules write into what they are given, where autograd needs it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps.testing.doctor._patient import Inputs, Patient

__all__ = ["IN_PLACE", "writing_in_place"]

IN_PLACE = "write no result over what an operation before may need: nn.ReLU(), not inplace=True"


def writing_in_place(
    patient: Patient,
    network: nn.Module,
    inputs: Inputs,
    error: Exception,
    act: Callable[[nn.Module], object],
) -> list[str]:
    """Return the submodules whose writing into their arguments makes an act fail.

    Writing is no fault by itself: a ReLU may overwrite the output of a linear layer. Those count
    without which the act would pass, which copies of their arguments show.

    Args:
        patient: the network's.
        network: a copy that the act may be carried out on.
        inputs: to call it with.
        error: what the act raised.
        act: of a network.
    """
    if "inplace operation" not in str(error):
        return []
    names = _writers(patient, network, inputs)
    return [name for name in names if _passes(network, [name], act)] or (
        names if _passes(network, names, act) else []
    )


def _writers(patient: Patient, network: nn.Module, inputs: Inputs) -> list[str]:
    """Return the innermost submodules in whose call an argument's version changes."""
    given: list[list[tuple[Tensor, int]]] = []
    found: dict[str, None] = {}
    blamed: set[int] = set()

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        leaves = pytree.tree_leaves((args, kwargs))
        given.append([(leaf, leaf._version) for leaf in leaves if isinstance(leaf, Tensor)])

    def leave(name: str) -> Callable[..., None]:
        def look(*_: Any) -> None:
            written = {id(leaf) for leaf, version in given.pop() if leaf._version != version}
            if written - blamed:
                found.setdefault(name)
            blamed.update(written)

        return look

    hooks = []
    for name, module in network.named_modules():
        hooks += [
            module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True),
            module.register_forward_hook(leave(name)),
        ]
    with torch.no_grad():
        patient.call(network, inputs)
    for hook in hooks:
        hook.remove()
    return list(found)


def _passes(network: nn.Module, names: list[str], act: Callable[[nn.Module], object]) -> bool:
    """Tell whether an act passes if some submodules get copies of their arguments."""

    def copied(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return pytree.tree_map(
            lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs)
        )

    hooks = [
        network.get_submodule(name).register_forward_pre_hook(
            copied, with_kwargs=True, prepend=True
        )
        for name in names
    ]
    try:
        act(network)
    except Exception:
        return False
    finally:
        for hook in hooks:
            hook.remove()
    return bool(names)
