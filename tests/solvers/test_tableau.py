"""A tableau that cannot be meant is refused before it steps."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmaps.solvers import (
    RK4,
    ButcherTableau,
    ExplicitRungeKutta,
)

nudges = st.fractions(-1, 1, max_denominator=1000).filter(lambda a: a != 0)


@given(stage=st.integers(0, 3), nudge=nudges)
def test_a_node_that_is_not_the_sum_of_its_row_is_refused(stage: int, nudge: Fraction) -> None:
    table = RK4.tableau
    c = tuple(node + nudge * (i == stage) for i, node in enumerate(table.c))
    with pytest.raises(ValueError, match=f"node {stage} is .* correct the node or the row"):
        ButcherTableau(c, table.a, table.b)


def test_a_further_node_of_dense_output_is_checked_too() -> None:
    table = RK4.tableau
    row = (Fraction(1, 2), *[Fraction(0)] * 4)
    with pytest.raises(ValueError, match="node 4 is 0.25"):
        ButcherTableau(table.c, table.a, table.b, c_dense=(Fraction(1, 4),), a_dense=(row,))


def test_a_family_may_leave_its_tableau_to_its_methods() -> None:
    family = type("Family", (ExplicitRungeKutta,), {})
    member = type("Member", (family,), {"order": 4, "tableau": RK4.tableau})
    assert member.coefficients.b == RK4.coefficients.b


def test_an_error_order_needs_weights_of_the_error() -> None:
    with pytest.raises(TypeError, match="declares error_order = 3, but its tableau has no b_error"):
        type(
            "NoError", (ExplicitRungeKutta,), {"order": 4, "error_order": 3, "tableau": RK4.tableau}
        )
