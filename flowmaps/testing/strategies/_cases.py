"""All that one test of a flow needs: the flow, times and states."""

from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from flowmaps._typing import Count
from flowmaps.testing.strategies._known_flow import KnownFlow
from flowmaps.testing.strategies._numbers import as_counts, as_dtype, as_strategy
from flowmaps.testing.strategies._states import states
from flowmaps.testing.strategies._times import as_gap, triples

__all__ = ["Case", "cases"]


class Case(NamedTuple):
    """A flow, three times and states: ``flow, s, u, t, x = case``."""

    flow: KnownFlow
    s: Any
    u: Any
    t: Any
    x: Tensor


def cases(
    flows: st.SearchStrategy[KnownFlow],
    batch: Count | tuple[Count, Count] = (1, 4),
    gap: float = 0.0,
    directions: str = "both",
    per_sample: bool = False,
    dtype: torch.dtype = torch.float64,
) -> st.SearchStrategy[Case]:
    """Return a strategy for flows, each with times and states of its own.

    Args:
        flows: strategy for the flows.
        batch: how many states, or (least, most).
        gap, directions: of the times, as for ``triples``.
        per_sample: whether every sample has times of its own, clocks (batch,), instead of numbers.
        dtype: of the states.

    Raises:
        TypeError, ValueError: if flows is no strategy, or an argument is not as for ``triples`` and
            ``states``.

    Example:
        >>> import hypothesis, torch, flowmaps as fm
        >>> strategies = fm.testing.strategies
        >>> def moves(case):
        ...     flow, s, u, t, x = case
        ...     return not torch.allclose(flow.flow_map(s, t, x), x)
        >>> hypothesis.find(strategies.cases(strategies.linear_flows(dim=1)), moves)
        Case(flow=KnownFlow(LinearSystem(matrix=[[1.0]]), times=(0.0, 1.0)), s=0.0, u=0.0, t=1.0,
             x=tensor([[1.]], dtype=torch.float64))
    """
    as_strategy(flows, "flows")
    as_dtype(dtype)
    as_gap(gap, directions)
    counts = as_counts(batch, "batch")

    @st.composite
    def drawn(draw: st.DrawFn) -> Case:
        flow = draw(flows)
        x = draw(states(flow.domain, counts, dtype=dtype))
        n = len(x) if per_sample else None
        s, u, t = draw(triples(*flow.times, gap, directions, n))
        return Case(flow, s, u, t, x)

    return drawn()
