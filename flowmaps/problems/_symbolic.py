"""A problem's formula in SymPy's symbols."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowmaps.problems._operations import operations
from flowmaps.problems._parameters import Parameters

if TYPE_CHECKING:
    from flowmaps.problems._problem import Problem

__all__ = ["Symbolic", "numeric_jacobian", "symbolic"]


@dataclass(frozen=True)
class Symbolic:
    """Symbols of a problem and its field as expressions in them.

    Args:
        s, t: symbols of the times.
        x: symbols of the state's components.
        p: symbols of the parameters, as attributes.
        field: expressions of the components of b(t, x; p).
    """

    s: Any
    t: Any
    x: tuple[Any, ...]
    p: Parameters
    field: tuple[Any, ...]

    def jacobian(self) -> Any:
        """Return Db as a SymPy matrix of expressions."""
        import sympy

        return sympy.Matrix(self.field).jacobian(self.x)


def symbolic(problem: "Problem") -> Symbolic:
    """Return the problem's field in real symbols."""
    import sympy

    components = problem.components or [f"x_{i + 1}" for i in range(problem.dim)]
    s, t = sympy.symbols("s t", real=True)
    x = tuple(sympy.Symbol(name, real=True) for name in components)
    p = Parameters(problem.parameters, [sympy.Symbol(q, real=True) for q in problem.parameters])
    field = problem.formula(operations("sympy"), t, x, p)
    return Symbolic(s, t, x, p, tuple(sympy.sympify(component) for component in field))


def numeric_jacobian(problem: "Problem") -> Callable[..., Any]:
    """Return Db as a NumPy function (t, x, parameter values) -> (dim, dim)."""
    import sympy

    symbols = symbolic(problem)
    arguments = (symbols.t, symbols.x, tuple(vars(symbols.p).values()))
    return sympy.lambdify(arguments, symbols.jacobian(), "numpy", cse=True)
