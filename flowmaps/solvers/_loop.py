"""A backend of torch.compile that repeats what it compiles: one attempt becomes the whole march."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Interpreter

from flowmaps.solvers._columns import Columns, TakenApart, apart, together
from flowmaps.solvers._march import March
from flowmaps.solvers._solution import RUNNING

__all__ = ["looping"]

Graph = Callable[..., Any]


@cache  # torch keeps every backend for ever
def looping(backend: str) -> Callable[[GraphModule, list[Any]], Graph]:
    """Return a backend for ``attempt(constants, enough, *march) -> (*march, enough)``.

    The function that it makes attempts again and again, on while more than ``enough`` samples run;
    only once a call where an attempt does more than to compute its results, see ``_is_repeatable``.

    Args:
        backend: "inductor", or "eager" for no code generation.
    """
    from torch._dynamo.backends.common import aot_autograd
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table

    table = select_decomp_table()

    def compile_loop(graph: GraphModule, inputs: list[Any]) -> Graph:
        places = _places(graph)

        def compiler(attempt: GraphModule, inputs: Sequence[Any]) -> Graph:
            if not _is_repeatable(attempt, graph):
                return attempt if backend == "eager" else compile_fx_inner(attempt, inputs)
            try:
                loop = _traced(attempt, places, inputs, table, in_columns=True)
            except Exception:  # whole tensors do as well; an error of the field itself comes again
                loop = _traced(attempt, places, inputs, table, in_columns=False)
            return loop if backend == "eager" else compile_fx_inner(loop, inputs)

        return aot_autograd(fw_compiler=compiler, decompositions=table)(graph, inputs)

    return compile_loop


def _places(graph: GraphModule) -> tuple[int, list[int]]:
    """Return where among the inputs are ``enough`` and the parts of the march."""
    names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
    return names.index("l_enough_"), [names.index(f"l_{part}_") for part in March._fields]


def _is_repeatable(attempt: GraphModule, graph: GraphModule) -> bool:
    """Tell whether an attempt has the inputs and outputs of the graph it was made of, and no more.

    A field that checks its values, as ``torch.linalg.solve`` does, has a token of its effects among
    both; one that changes a tensor it holds, such as a count, writes to an input or returns it. A
    loop would lose what these carry from one attempt to the next.
    """
    calls = (node.target for node in attempt.graph.nodes if node.op == "call_function")
    writes = any(isinstance(a, OpOverload) and a._schema.is_mutable for a in calls)
    inputs, given = (len(g.graph.find_nodes(op="placeholder")) for g in (attempt, graph))
    outputs: Any = attempt.graph.output_node().args[0]
    return not writes and inputs == given and len(outputs) == len(March._fields) + 1


def _traced(
    attempt: GraphModule,
    places: tuple[int, list[int]],
    inputs: Sequence[Any],
    table: dict[Any, Any],
    in_columns: bool,
) -> GraphModule:
    """Return the graph of the loop over an attempt, states taken apart or whole."""
    from torch._higher_order_ops.while_loop import while_loop_op
    from torch.fx.experimental.proxy_tensor import make_fx

    enough, parts = places
    run = (TakenApart if in_columns else Interpreter)(attempt).run
    code = March._fields.index("code")

    def loop(*given: Any) -> list[Tensor]:
        start = [apart(given[place]) if in_columns else given[place] for place in parts]
        widths = [len(part) if isinstance(part, Columns) else None for part in start]
        first = [part.clone(memory_format=torch.contiguous_format) for part in _flat(start)]
        count = len(first)

        def gathered(flat: Sequence[Tensor]) -> list[Tensor | Columns]:
            left = iter(flat)
            return [
                next(left) if width is None else Columns(next(left) for _ in range(width))
                for width in widths
            ]

        def more(*flat: Any) -> Tensor:
            codes: Any = gathered(flat[:count])[code]
            return (codes == RUNNING).sum() > flat[count + enough]

        def body(*flat: Any) -> tuple[Tensor, ...]:
            here = list(flat[count:])
            for place, part in zip(parts, gathered(flat[:count]), strict=True):
                here[place] = part
            *there, _ = run(*here)
            return tuple(_flat(there))

        carried: Any = tuple(first)
        end = while_loop_op(more, body, carried, given)
        return [*(together(part) for part in gathered(end)), given[enough].clone()]

    return make_fx(loop, decomposition_table=table)(*inputs)


def _flat(parts: Sequence[Tensor | Columns]) -> list[Tensor]:
    return [a for part in parts for a in (part if isinstance(part, Columns) else [part])]
