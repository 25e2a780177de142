"""Compiling a function that contains forward-mode derivatives."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from flowmaps._transforms import own_code

__all__ = ["compiled"]


def compiled(function: FunctionType, backend: bool | str) -> Callable[..., Any]:
    """Return the function compiled as one graph; it must contain the derivative, not be under it.

    ``jvp`` of a compiled network compiles nothing; a compiled function that calls ``jvp`` compiles
    all.

    Compilations of one function do not count together: torch limits how often a piece of code is
    compiled in a process, and a program that trains many maps compiles one loss after another.

    Args:
        function: of tensors and pytrees, written in Python.
        backend: False to leave it as it is, True for inductor, or the name of a backend.
    """
    if backend is False:
        return function
    chosen = _inductor if backend in (True, "inductor") else backend
    return torch.compile(own_code(function), fullgraph=True, backend=chosen)


def _inductor(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    # Forward mode puts zero tensors without memory into the graph, and inductor then reuses their
    # memory ("ZeroTensors are immutable"): have it make ordinary zeros.
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table

    table = {**select_decomp_table(), torch.ops.aten._efficientzerotensor.default: _zeros}
    compile_graph: Callable[..., Any] = compile_fx
    return compile_graph(graph, inputs, decompositions=table)


def _zeros(
    size: list[int], dtype: Any = None, layout: Any = None, device: Any = None, **_: Any
) -> Tensor:
    return torch.zeros(size, dtype=dtype, device=device)
