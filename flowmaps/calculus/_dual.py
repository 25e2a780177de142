"""Derivatives of a flow map by its own dual evaluation: value and tangent side by side."""

from torch import Tensor

from flowmaps._checks import brief
from flowmaps._typing import Condition, Time, Transport

__all__ = ["dual"]


def dual(
    flow_map: Transport,
    s: Time,
    t: Time,
    x: Tensor,
    ds: Time | None = None,
    dt: Time | None = None,
    dx: Tensor | None = None,
    condition: Condition = None,
    dcondition: Condition = None,
) -> tuple[Tensor, Tensor]:
    """Return X_{s,t}(x) and its derivative, as ``jvp`` does, by the map's method ``dual``.

    A learned map, ``fm.maps.NeuralFlowMap``, has it if its network has a method ``dual(s, t, x,
    condition, ds, dt, dx, dcondition) -> (value, tangent)``, as ``fm.networks.MLP`` has: plain
    operations, so that they compile, that carry the tangent along by hand.

    Args:
        flow_map: a flow map with the method.
        s, t, x, ds, dt, dx, condition, dcondition: as in ``jvp``.

    Raises:
        TypeError: for a map, or a network, that has no such method; else as ``jvp``.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
        >>> x = torch.ones(1, 1)
        >>> value, tangent = fm.calculus.dual(learned, 0.0, 1.0, x, dx=x)
        >>> value.item(), tangent.item()
        (1.0, 1.0)
    """
    evaluate = getattr(flow_map, "dual", None)
    if evaluate is None:
        raise TypeError(
            'the derivative "dual" asks the map for its method dual, which fm.maps.NeuralFlowMap '
            f'has, got {brief(flow_map)}; take derivative="forward" or "differences"'
        )
    return evaluate(s, t, x, ds, dt, dx, condition, dcondition)
