"""Objects as the calls that make them, for printed objectives and run folders."""

import functools
from typing import Any

from torch import nn

__all__ = ["spelled"]


def spelled(value: Any) -> str:
    """Return an object as the call that makes it, as far as its attributes tell; no addresses.

    Example:
        >>> import functools
        >>> spelled(functools.partial(spelled, value=2.0))
        'partial(spelled, value=2.0)'
    """
    if isinstance(value, functools.partial):
        given = [spelled(part) for part in (value.func, *value.args)]
        given += [f"{name}={spelled(part)}" for name, part in value.keywords.items()]
        return f"partial({', '.join(given)})"
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    if isinstance(value, nn.Module):
        return type(value).__name__
    if type(value).__module__.partition(".")[0] != "flowmaps":
        return repr(value) if type(value).__repr__ is not object.__repr__ else type(value).__name__
    given = [f"{name}={spelled(part)}" for name, part in vars(value).items()]
    return f"{type(value).__name__}({', '.join(given)})"
