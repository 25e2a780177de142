"""Derivatives of a flow map by its own dual evaluation: value and tangent side by side."""

from typing import Any

from torch import Tensor

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
    _check(flow_map)
    return flow_map.dual(s, t, x, ds, dt, dx, condition, dcondition)  # type: ignore[attr-defined]


def _check(flow_map: Any) -> None:
    """Raise TypeError for a map without the method, or whose network is without it."""
    if not hasattr(flow_map, "dual"):
        raise TypeError(
            'the derivative "dual" asks the map for its method dual, which fm.maps.NeuralFlowMap '
            f'has, got {type(flow_map).__name__}; take derivative="forward" or "differences"'
        )
    network = getattr(flow_map, "network", flow_map)
    if not hasattr(network, "dual"):
        raise TypeError(
            f"the network {type(network).__name__} has no method dual(s, t, x, condition, ds, dt, "
            "dx, dcondition) -> (value, tangent); write one, or take "
            'derivative="forward" or "differences"'
        )


dual.check = _check  # type: ignore[attr-defined]
