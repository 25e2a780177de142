"""The first call of a field, where a failure is most often a misread t."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from flowmaps._checks import check_output, first_line
from flowmaps._typing import Clock, State

__all__ = ["ADVICE", "first_value"]

ADVICE = (
    "Pass whatever differs between samples as condition= (field(t, x, condition)), and mind that "
    "t has shape (batch,): write t[:, None] * x; flowmaps.fields.per_sample wraps a field written "
    "for one sample, scalar_time one for a 0-d t"
)
"""What to do with a field that does not treat every sample alone."""


def first_value(
    field: Callable[[Clock, State], Any], t: Clock, x: State, conditional: bool
) -> Tensor:
    """Return field(t, x), its errors put in the terms of the call that users have to serve.

    Args:
        field: the field with its condition inside.
        t: clocks (batch,).
        x: states (batch, *event).
        conditional: whether there is a condition.

    Raises:
        TypeError: if the field takes other arguments or returns another type.
        ValueError: if it fails on the shapes that it is given, returns another shape or writes
            into x.
    """
    version = None if x.is_inference() else x._version
    shapes = f"t of shape {tuple(t.shape)} and x of shape {tuple(x.shape)}"
    try:
        value = field(t, x)
    except TypeError as error:
        if "positional argument" not in str(error):
            raise
        call = "field(t, x, condition)" if conditional else "field(t, x)"
        raise TypeError(f"the field is called as {call}, but: {first_line(error)}") from error
    except (RuntimeError, IndexError) as error:
        # Subclasses, such as errors of our own or a GPU out of memory, speak for themselves.
        if type(error) not in (RuntimeError, IndexError):
            raise
        what = first_line(error)
        raise ValueError(f"the field failed with {shapes}: {what}. {ADVICE}") from error
    if version is not None and x._version != version:
        raise ValueError("the field wrote into x; it must leave its arguments as they are")
    if isinstance(value, Tensor) and value.shape != x.shape:
        raise ValueError(f"the field gave shape {tuple(value.shape)} for {shapes}. {ADVICE}")
    return check_output(value, x, "the field")
