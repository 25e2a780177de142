"""What ``verify`` is given besides map, field and space, checked before the first call."""

from collections.abc import Iterable, Mapping
from typing import Any

from flowmaps._checks import as_count, brief, is_number
from flowmaps.testing._property import Property

__all__ = ["check_map", "check_options"]


def check_map(name: str, flow_map: Any) -> None:
    """Raise for what cannot be called.

    Raises:
        TypeError: which names the argument.
    """
    if not callable(flow_map):
        raise TypeError(f"{name} must be a callable X(s, t, x), got {brief(flow_map)}")


def check_options(
    properties: Any,
    only: Any,
    claims: Mapping[str, Any],
    callables: Mapping[str, Any],
    expected_failures: Any,
    seed: Any,
    atol: Any,
) -> None:
    """Raise for what cannot be meant.

    Args:
        properties, only, expected_failures, seed, atol: as for ``verify``.
        claims: arguments that are None or name functions, by name.
        callables: arguments that are None or a function, by name.

    Raises:
        TypeError, ValueError: which say what was got and what was expected.
    """
    if not _lists(properties, Property):
        raise TypeError(
            "properties must be a sequence of flowmaps.testing.Property objects, "
            f"got {brief(properties)}"
        )
    if only is not None and not (_lists(only, str) and only):
        raise TypeError(f'only must be names such as ["semigroup"], got {brief(only)}')
    for name, claim in claims.items():
        if claim is not None and not (
            isinstance(claim, Mapping) and all(callable(one) for one in claim.values())
        ):
            raise TypeError(f"{name} must map names to functions, got {brief(claim)}")
    for name, one in callables.items():
        if one is not None and not callable(one):
            raise TypeError(f"{name} must be a function, got {brief(one)}")
    if expected_failures is not None and not (
        isinstance(expected_failures, Mapping) and _lists(list(expected_failures.values()), str)
    ):
        raise TypeError(
            "expected_failures must map names of properties to reasons, "
            f"got {brief(expected_failures)}"
        )
    as_count(seed, "seed", least=0)
    if not is_number(atol) or not 0 <= atol < float("inf"):
        raise ValueError(f"atol must be a number of at least 0, got {brief(atol)}")


def _lists(value: Any, kind: type) -> bool:
    if not isinstance(value, Iterable) or isinstance(value, str):
        return False
    return all(isinstance(one, kind) for one in value)
