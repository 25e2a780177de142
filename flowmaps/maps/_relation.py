"""The switch between time derivatives by the flow's own relation and independent ones."""

__all__ = ["by_relation_allowed", "independent_derivatives"]


class _Switch:
    """Holds the state; an instance, because compiled code may not set attributes of a class."""

    allowed = True


_RULE = _Switch()


class independent_derivatives:  # noqa: N801  (reads as a state: ``with independent_derivatives()``)
    """Context in which every map differentiates its own computation: derivatives are evidence.

    Maps such as SolverFlowMap otherwise give dX/dt = b(t, X) by the relation itself, which proves
    nothing.

    Example:
        >>> import torch, flowmaps as fm
        >>> coarse = fm.maps.SolverFlowMap(lambda t, x: -x, method=fm.solvers.Euler(), steps=1)
        >>> x = torch.ones(1, 1)
        >>> round(fm.calculus.time_derivative(coarse, 0.0, 0.5, x).item(), 3)
        -0.5
        >>> with fm.maps.independent_derivatives():
        ...     round(fm.calculus.time_derivative(coarse, 0.0, 0.5, x).item(), 3)
        -1.0
    """

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(_RULE.allowed)
        _RULE.allowed = False

    def __exit__(self, *exception: object) -> None:
        _RULE.allowed = self.before.pop()


def by_relation_allowed() -> bool:
    """Tell whether maps may supply derivatives by the relation."""
    return _RULE.allowed
