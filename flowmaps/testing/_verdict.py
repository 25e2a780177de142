"""What the properties that passed and failed say together."""

from collections.abc import Sequence

from flowmaps.testing._report import PropertyReport

__all__ = ["COMPLETE_SETS", "verdict"]

COMPLETE_SETS = (
    ("identity", "lagrangian"),
    ("identity", "eulerian", "eulerian where it arrives"),
    ("identity", "semigroup", "tangent", "tangent where it arrives"),
    ("identity", "integral lagrangian"),
)
"""Each of these, satisfied everywhere, makes a map the flow map of the field."""
_BY_VALUES = COMPLETE_SETS[-1]
"""No derivative of the map enters it; the others need derivatives that are those of values."""
_HONEST = ("passed", "not applicable")
"""It does not apply to differences of values."""
_HOLDS = ("passed",)


def verdict(properties: Sequence[PropertyReport], field_known: bool) -> tuple[str, str]:
    """Return the verdict and its reason.

    Args:
        properties: what was found, whether or not it was expected.
        field_known: whether there is a field that the map may be the flow map of.
    """
    status = {one.name: one.status for one in properties}
    failed = [one for one in properties if one.status == "failed"]
    broken = [one.name for one in failed if one.kind in ("conduct", "algebra")]
    if broken:
        return "not a flow", f"{_joined(broken)} failed"
    algebra = all(status.get(name) in _HOLDS for name in ("identity", "semigroup"))
    dishonest = [one for one in failed if one.kind == "derivatives"]
    others = [
        one.name
        for one in failed
        # derivatives that are not those of the values say nothing of the values
        if one.kind in ("field", "structure") and not (dishonest and one.by_derivatives)
    ]
    met = [
        names
        for names in COMPLETE_SETS
        if field_known
        and all(status.get(name) in _HOLDS for name in names)
        and (names == _BY_VALUES or status.get("derivative honesty") in _HONEST)
    ]
    if met and others and all(one.kind == "structure" for one in failed):
        holds = f"{_joined(met[0])} hold, a complete set"
        return (
            "inconclusive",
            f"{holds}, but what should follow or was claimed does not: {_joined(others)} failed",
        )
    if others and algebra:
        of = "of another field" if field_known else "but not one of those that were meant"
        return "a flow", f"{of}: {_joined(others)} failed"
    if others:
        return "inconclusive", f"{_joined(others)} failed, and the algebra was not all measured"
    if dishonest:
        return "inconclusive", f"{dishonest[0].name} failed: {dishonest[0].reason}"
    if met:
        return "flow map of the field", f"{_joined(met[0])} hold, a complete set"
    if algebra:
        missing = "no field was given" if not field_known else "no complete set was checked"
        return "a flow", f"identity and semigroup hold; {missing}{_outside(properties)}"
    return "inconclusive", "neither the algebra nor a complete set was checked everywhere"


def _outside(properties: Sequence[PropertyReport]) -> str:
    left = [one for one in properties if one.outside > 0]
    if not left:
        return ""
    share = max(one.outside for one in left)
    return f"; {share:.1%} of the points that the map reaches are outside the domain"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
