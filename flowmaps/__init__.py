"""Flow maps of ordinary differential equations as first-class objects in PyTorch.

For dx/dt = b(t, x) the flow map X_{s,t} takes the state at time s to the state at time t. Known in
closed form, computed by a solver or learned, it is one kind of object with one calculus.
Subpackages are imported on first use, so ``import flowmaps`` stays light.

Example:
    >>> import torch, flowmaps as fm
    >>> decay = fm.maps.SolverFlowMap(lambda t, x: -x, rtol=1e-5, atol=1e-5)
    >>> y = decay(0.0, 1.0, torch.ones(3, 2))
    >>> torch.allclose(y, torch.full((3, 2), 0.36788), atol=1e-4)
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowmaps import errors
from flowmaps._version import __version__

if TYPE_CHECKING:
    from flowmaps import (
        calculus,
        domains,
        fields,
        generative,
        interpolants,
        maps,
        networks,
        objectives,
        problems,
        residuals,
        solvers,
        surrogates,
        testing,
        theory,
        training,
    )
    from flowmaps._checks import checking
    from flowmaps._saving import load, save

_ROOMS = (
    "calculus",
    "domains",
    "fields",
    "generative",
    "interpolants",
    "maps",
    "networks",
    "objectives",
    "problems",
    "residuals",
    "solvers",
    "surrogates",
    "testing",
    "theory",
    "training",
)
_WHERE = {"checking": "_checks", "load": "_saving", "save": "_saving"}

__all__ = [
    "__version__",
    "calculus",
    "checking",
    "domains",
    "errors",
    "fields",
    "generative",
    "interpolants",
    "load",
    "maps",
    "networks",
    "objectives",
    "problems",
    "residuals",
    "save",
    "solvers",
    "surrogates",
    "testing",
    "theory",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"flowmaps.{name}")
    if name in _WHERE:
        return getattr(import_module(f"flowmaps.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'flowmaps' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
