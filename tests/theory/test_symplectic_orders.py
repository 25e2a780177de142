"""Orders of the symplectic methods, proven: a drift or kick is a stage, a tree has two colours.

For separable Hamiltonians dq/dt depends on p (and time) alone and dp/dt on q, so that the colours
of a tree alternate and its root's colour tells all (Hairer, Lubich, Wanner (2006), section III.2).
"""

import math
from typing import Any

import pytest
import sympy

import flowmaps as fm
from flowmaps.theory import RootedTree, rooted_trees

ROOT = sympy.Symbol("r")  # the real cube root of 2
OUTER = (4 + 2 * ROOT + ROOT**2) / 6  # 1 / (2 - r), as r^3 = 2
INNER = 1 - 2 * OUTER
HALF = sympy.Rational(1, 2)
EXACT: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "SemiImplicitEuler": ((0, 1), (1,)),
    "StormerVerlet": ((HALF, HALF), (1,)),
    "Yoshida4": (
        (OUTER / 2, (OUTER + INNER) / 2, (OUTER + INNER) / 2, OUTER / 2),
        (OUTER, INNER, OUTER),
    ),
}
METHODS: dict[str, type[fm.solvers.Symplectic]] = {
    name: entry
    for name, entry in ((name, getattr(fm.solvers, name)) for name in fm.solvers.__all__)
    if isinstance(entry, type)
    and issubclass(entry, fm.solvers.Symplectic)
    and entry is not fm.solvers.Symplectic
}
every_method = pytest.mark.parametrize("name", METHODS)


def simplified(value: Any) -> Any:
    """Powers of r above the second taken away."""
    return sympy.rem(value, ROOT**3 - 2, ROOT)


def weight(tree: RootedTree, stages: list[tuple[str, Any]], colour: str, until: int) -> Any:
    """Phi(tau) over the stages of one colour before ``until``; its branches have the other."""
    other = {"q": "p", "p": "q"}[colour]
    total: Any = sympy.Integer(0)
    for i, (moved, fraction) in enumerate(stages[:until]):
        if moved == colour:
            branches = (weight(child, stages, other, i) for child in tree.children)
            total += fraction * math.prod(branches)
    return simplified(total)


def residuals(name: str, order: int) -> list[Any]:
    drifts, kicks = EXACT[name]
    stages = [("q", drifts[0])]
    for kick, drift in zip(kicks, drifts[1:], strict=True):
        stages += [("p", kick), ("q", drift)]
    return [
        simplified(weight(tree, stages, colour, len(stages)) - sympy.Rational(1, tree.density))
        for tree in rooted_trees(order)
        for colour in "qp"
    ]


@every_method
def test_the_order_conditions_hold_to_the_order_and_fail_beyond(name: str) -> None:
    order = METHODS[name].order
    for lower in range(1, order + 1):
        assert all(value == 0 for value in residuals(name, lower))
    assert any(value != 0 for value in residuals(name, order + 1))


@every_method
def test_the_floats_that_compute_are_the_coefficients_rounded(name: str) -> None:
    method = METHODS[name]
    for found, exact in zip((method.drifts, method.kicks), EXACT[name], strict=True):
        for number, value in zip(found, exact, strict=True):
            rounded = float(sympy.sympify(value).subs(ROOT, 2 ** (1 / 3)))
            assert number == pytest.approx(rounded, abs=1e-15)


def test_every_symplectic_method_is_proven() -> None:
    assert set(METHODS) == set(EXACT)
