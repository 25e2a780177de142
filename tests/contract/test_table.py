"""The contract table: every kind of map, every use of it, in single and double precision.

A cell says "yes" after the use was compared with an oracle, and else names the error that the use
raises; anything else fails. The table in ``docs/contract.md`` is compared with what comes out;
``FLOWMAPS_UPDATE_CONTRACT=1 pytest -n 0 tests/contract`` writes it anew.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "contract.md"
UPDATE = os.environ.get("FLOWMAPS_UPDATE_CONTRACT") == "1"
START, END = "<!-- table {} -->", "<!-- end {} -->"

calculus, maps = fm.calculus, fm.maps
Flow = Callable[..., Tensor]
Case = Any
"""What the fixture of that name gives: a map with points, directions and its oracle."""


def jvp(case: Case, only: int | None = None) -> tuple[Tensor, Tensor]:
    s, t, x, *condition = case.points
    live = [d if only in (None, i) else None for i, d in enumerate(case.directions())]
    names = dict(zip(("ds", "dt", "dx", "dcondition"), live, strict=False))
    return calculus.jvp(case.flow, s, t, x, condition=condition[0] if condition else None, **names)


def check_jvp(case: Case, only: int) -> None:
    value, tangent = jvp(case, only)
    case.close(value, case.value(*case.points))
    case.close(tangent, case.slope(case.directions(only)), 10)


# ---------------------------------------------------------------------------- the columns


def per_sample_times(case: Case) -> None:
    y = case.flow(*case.points)
    case.close(y, case.value(*case.points))
    one = tuple(p[1:2] for p in case.points)
    alone = case.flow(one[0].item(), one[1].item(), *one[2:])
    case.close(y[1:2], alone.double(), 0.1)


def backwards(case: Case) -> None:
    s, t, *rest = case.points
    y = case.flow(t, s, *rest)
    if y.isnan().all():
        case.flow(0.9, 0.1, *rest)
    case.close(y, case.value(t, s, *rest))
    with suppress(fm.errors.UnsupportedTransform):  # of which other columns speak
        check_jvp(replace(case, points=(t, s, *rest)), 1)


def no_span(case: Case) -> None:
    s, t, x, *condition = case.points
    case.close(case.flow(t, t, x, *condition), x.double())
    still = replace(case, points=(t, t, x, *condition))
    expected = still.slope(still.directions(1))
    with suppress(fm.errors.UnsupportedTransform):
        case.close(jvp(still, 1)[1], expected, 10)
    if isinstance(case.flow, maps.FlowMap):
        slope = case.flow.velocity(t, x, *condition) * still.directions(1)[1][:, None]
        case.close(slope, expected, 10)


def condition(case: Case) -> None:
    s, t, x, *given = case.points
    if not case.kind.conditional:
        with pytest.raises(ValueError, match="takes no condition"):
            case.flow(s, t, x, torch.ones(3, 1))
        pytest.skip("-")
    case.close(case.flow(s, t, x, *given), case.value(s, t, x, *given))
    if case.kind.truth is not None:
        case.close(case.flow(s, t, x), case.value(s, t, x))


def jvp_s(case: Case) -> None:
    check_jvp(case, 0)


def jvp_t(case: Case) -> None:
    check_jvp(case, 1)


def jvp_x(case: Case) -> None:
    check_jvp(case, 2)


def jvp_condition(case: Case) -> None:
    if not case.kind.conditional:
        pytest.skip("-")
    check_jvp(case, 3)


def jvp_of_jvp(case: Case) -> None:
    def first(*points: Tensor) -> Tensor:
        return jvp(replace(case, points=points))[1]

    second = torch.func.jvp(first, case.points, case.directions())[1]
    case.close(second, case.slope(case.directions(), order=2), 200)


def vjp(case: Case) -> None:
    points = [p.clone().requires_grad_() for p in case.points]
    w = torch.cos(torch.arange(6.0)).reshape(3, 2)
    gradients = torch.autograd.grad((w * case.flow(*points)).sum(), points, allow_unused=True)
    for i, gradient in enumerate(gradients):
        along = (w.double() * case.slope(case.directions(i))).sum()
        ours = (torch.zeros(()) if gradient is None else gradient) * case.directions()[i]
        case.close(ours.sum(), along, 10)


def jacrev(case: Case) -> None:
    s, t, x, *given = (p[:1] for p in case.points)
    matrix = torch.func.jacrev(lambda y: case.flow(s, t, y[None], *given)[0])(x[0])
    case.close(matrix, columns(case)[0], 10)


def columns(case: Case) -> Tensor:
    """Jacobians by central differences, (batch, 2, 2)."""
    units = torch.eye(2, dtype=torch.float64)
    zero = tuple(0 * p for p in case.points)
    slopes = [case.slope((*zero[:2], u.expand(3, 2), *zero[3:])) for u in units]
    return torch.stack(slopes, dim=2)


def vmap_of_calculus(case: Case) -> None:
    def jacobian(s: Tensor, t: Tensor, *rest: Tensor) -> Tensor:
        return calculus.jacobian(case.flow, s, t, *(a[None] for a in rest))[0]

    def slope(s: Tensor, t: Tensor, *rest: Tensor) -> Tensor:
        return calculus.time_derivative(case.flow, s, t, *(a[None] for a in rest))[0]

    case.close(torch.func.vmap(jacobian)(*case.points), columns(case), 10)
    zero = tuple(0 * p for p in case.points)
    expected = case.slope((zero[0], torch.ones_like(zero[1]), *zero[2:]))
    case.close(torch.func.vmap(slope)(*case.points), expected, 10)


def compile_fullgraph(case: Case) -> None:
    """One graph of value and derivatives in float32, of the value in float64; or parts."""
    torch._dynamo.reset()
    points, flow = case.points, case.kind.lean() if case.kind.lean else case.flow
    single = points[2].dtype == torch.float32
    if hasattr(flow, "build"):
        points, function = points[2:], flow.build(0.2, 0.7)
    elif case.kind.whole and single:
        function = with_derivatives(flow, *case.directions())
    else:
        function = flow
    backend = "aot_eager" if single and case.kind.whole else "eager"
    compiled = torch.compile(function, backend=backend, fullgraph=case.kind.whole)
    case.close(compiled(*points), function(*points).double(), 0.1)
    if not case.kind.whole:
        pytest.skip("in parts")


def with_derivatives(
    flow: Flow, ds: Tensor, dt: Tensor, dx: Tensor, dcondition: Tensor | None = None
) -> Flow:
    def function(s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.stack(calculus.jvp(flow, s, t, x, ds, dt, dx, condition, dcondition))

    return function


def along(case: Case) -> None:
    if not case.kind.along:
        pytest.skip("-")
    s, t, x, *given = case.points
    assert isinstance(case.flow, maps.FlowMap)
    rows = torch.stack([t, (s + t) / 2, s])
    path = case.flow.along(s, rows, x, *given)
    case.close(path, torch.stack([case.value(s, row, x, *given) for row in rows]))


def save_and_load(case: Case, folder: Path) -> None:
    flow, points = case.flow, case.points
    if hasattr(flow, "build"):
        flow, points = flow.build(0.2, 0.7), points[2:]
    fm.save(flow, folder / "map")
    again = fm.load(folder / "map", **case.kind.supplied)
    assert torch.equal(again(*points), flow(*points))


COLUMNS: dict[str, Callable[..., None]] = {
    "per-sample times": per_sample_times,
    "backwards": backwards,
    "s = t": no_span,
    "condition": condition,
    "jvp in s": jvp_s,
    "jvp in t": jvp_t,
    "jvp in x": jvp_x,
    "jvp in condition": jvp_condition,
    "jvp of jvp": jvp_of_jvp,
    "vjp": vjp,
    "jacrev": jacrev,
    "vmap of the calculus": vmap_of_calculus,
    "compile": compile_fullgraph,
    "along": along,
    "save and load": save_and_load,
}

# ---------------------------------------------------------------------------- the table


def cell(column: Callable[..., None], case: Case, *extra: Any) -> str:
    try:
        column(case, *extra)
    except fm.errors.FlowMapError as error:
        return type(error).__name__
    except pytest.skip.Exception as reason:
        return str(reason)
    return "yes"


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


@pytest.fixture(scope="module")
def table(kinds: list[Any]) -> Iterator[dict[tuple[str, str], str]]:
    """Rows as they come; written into the document at the end of an updating run."""
    rows: dict[tuple[str, str], str] = {}
    yield rows
    if not UPDATE:
        return
    text = DOCUMENT.read_text()
    for dtype in ("float32", "float64"):
        before, rest = text.split(START.format(dtype))
        after = rest.split(END.format(dtype))[1]
        head = [line(["map", *COLUMNS]), line(["---"] * (1 + len(COLUMNS)))]
        body = [rows[dtype, kind.name] for kind in kinds]
        middle = "\n".join(["", *head, *body, ""])
        text = before + START.format(dtype) + middle + END.format(dtype) + after
    DOCUMENT.write_text(text)


def test_row(case: Case, table: dict[tuple[str, str], str], tmp_path: Path) -> None:
    cells = [
        cell(column, case, *([tmp_path] if column is save_and_load else []))
        for column in COLUMNS.values()
    ]
    name = str(case.points[2].dtype).removeprefix("torch.")
    row = table[name, case.kind.name] = line([case.kind.name, *cells])
    if not UPDATE:
        text = DOCUMENT.read_text().split(START.format(name))[1].split(END.format(name))[0]
        assert row in text.splitlines()
