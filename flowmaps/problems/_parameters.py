"""Parameters of one call to a formula."""

from collections.abc import Iterable
from typing import Any

__all__ = ["Parameters"]


class Parameters:
    """The values of a problem's parameters as attributes: ``p.rate``.

    Args:
        names: of the parameters.
        values: tensors (batch,), numbers or symbols, in the same order.
    """

    def __init__(self, names: Iterable[str], values: Iterable[Any]):
        # A plain class: Dynamo does not trace the making of a SimpleNamespace.
        for name, value in zip(names, values, strict=True):
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no parameter {name!r}; there are {list(vars(self))}")
