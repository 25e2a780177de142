"""The contract table: every kind of map, every use of it, in single and double precision.

A cell says "yes" after the use was compared with an oracle, and else names the error that the use
raises; anything else fails. The table in ``docs/contract.md`` is compared with what comes out;
``FLOWMAPS_UPDATE_CONTRACT=1 pytest -n 0 tests/test_contract.py`` writes it anew.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "contract.md"
UPDATE = os.environ.get("FLOWMAPS_UPDATE_CONTRACT") == "1"
START, END = "<!-- table {} -->", "<!-- end {} -->"

calculus, maps, solvers = fm.calculus, fm.maps, fm.solvers
Flow = Callable[..., Tensor]

# ---------------------------------------------------------------------------- a flow in closed form

MIX = torch.tensor([[1.0, 0.3], [-0.2, 0.8]], dtype=torch.float64)


def mix(z: Tensor) -> Tensor:
    return z @ MIX.to(z).T


def unmix(x: Tensor) -> Tensor:
    return x @ torch.linalg.inv(MIX).to(x).T


def rate(x: Tensor, condition: Tensor | None) -> Tensor:
    return torch.ones_like(x[:, :1]) if condition is None else condition


def logistic_field(t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
    """Mixed logistic growth, faster and faster: nonlinear, coupled, in time and condition."""
    z = unmix(x)
    return mix(rate(x, condition) * (1 + t[:, None]) * z * (1 - z))


def grown(age: Tensor, z: Tensor, condition: Tensor | None) -> Tensor:
    return z / (z + (1 - z) * torch.exp(-rate(z, condition) * age[:, None]))


def plain_logistic(s: Tensor, t: Tensor, z: Tensor, condition: Tensor | None = None) -> Tensor:
    return grown((t + t**2 / 2) - (s + s**2 / 2), z, condition)


def logistic(s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
    return mix(plain_logistic(s, t, unmix(x), condition))


def steady_logistic(s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
    """The same growth at a rate that does not change."""
    return mix(grown(t - s, unmix(x), condition))


def unchanged(s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
    return x + 0 * (t - s)[:, None]


# ---------------------------------------------------------------------------- kinds of maps


@dataclass(frozen=True)
class Kind:
    """A kind of map: how to make it, what it should compute, what it does not take.

    ``truth`` is a closed form, or None for learned maps, whose float64 twin for all times it is.
    ``lean`` is a cheaper map of the kind to compile; ``whole`` whether it compiles to one graph;
    ``loose`` by how much it misses the tolerances of the others.
    """

    name: str
    make: Callable[..., Flow]
    truth: Flow | None = logistic
    supplied: dict[str, Any] = field(default_factory=dict)
    conditional: bool = True
    lean: Callable[..., Flow] | None = None
    whole: bool = True
    along: bool = True
    loose: float = 1.0


def network(condition_dim: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    net = fm.networks.MLP(dim=2, width=6, depth=1, condition_dim=condition_dim, frequencies=(1.0,))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=generator)
    return net


def learned(
    parametrization: Any = None, times: maps.TimeSet | None = None, condition_dim: int = 1
) -> Callable[..., Flow]:
    def make(unlimited: bool = False) -> Flow:
        limits = maps.TimeSet() if unlimited else times or maps.TimeSet(0.0, 1.0)
        return maps.NeuralFlowMap(network(condition_dim), parametrization, limits)

    return make


def of_solver(**options: Any) -> Callable[[], maps.SolverFlowMap]:
    return lambda: maps.SolverFlowMap(logistic_field, **options)


def steady_step() -> maps.ExactFlowMap:
    return maps.ExactFlowMap(steady_logistic, maps.TimeSet(-0.2, 0.2))


def tolerance() -> dict[str, float]:
    """Tight enough for the oracle, in the default dtype."""
    tight = 1e-9 if torch.get_default_dtype() == torch.float64 else 1e-6
    return {"rtol": tight, "atol": tight}


def exact() -> maps.ExactFlowMap:
    return maps.ExactFlowMap(logistic)


def chained(s: Any, t: Any) -> Any:
    return exact().between((s + t) / 2, t) @ exact().between(s, (s + t) / 2)


def transition(build: Callable[[Any, Any], Any]) -> Callable[[], Flow]:
    """Make a flow map of transition maps, so that they are tested at any times."""

    def make() -> Flow:
        def flow(s: Any, t: Any, x: Tensor, condition: Any = None) -> Tensor:
            return build(s, t)(x, condition)

        flow.build = build  # type: ignore[attr-defined]
        return flow

    return make


FIELD = {"field": logistic_field}
RK4 = {"method": solvers.RK4(), "steps": 12}
ONE_STEP = {"method": solvers.Midpoint(), "steps": 1}
DOPRI5 = solvers.TorchDiffEq("dopri5")
FORWARD = maps.TimeSet(0.0, 1.0, backward=False)
BENT = maps.FromFunctions(mix, unmix)
KINDS = [
    Kind("Solver, adaptive", lambda: of_solver(**tolerance())(), supplied=FIELD, whole=False),
    Kind(
        "Solver, adaptive, independent derivatives",
        lambda: of_solver(derivatives="independent", **tolerance())(),
        supplied=FIELD,
        whole=False,
    ),
    Kind("Solver, fixed steps", of_solver(**RK4), supplied=FIELD, lean=of_solver(**ONE_STEP)),
    Kind(
        "Solver, torchdiffeq",
        lambda: of_solver(method=DOPRI5, **tolerance())(),
        supplied=FIELD,
        whole=False,
        loose=20.0,  # one error norm over all samples
    ),
    Kind("Exact", exact, supplied={"function": logistic}),
    Kind("Identity", maps.Identity, truth=unchanged),
    Kind("Neural, mean velocity", learned(maps.MeanVelocity()), None),
    Kind("Neural, forward only", learned(times=FORWARD), None),
    Kind("Neural, without condition", learned(condition_dim=0), None, conditional=False),
    Kind("Neural, endpoint", learned(maps.Endpoint(1.0)), None),
    Kind("Neural, second order", learned(maps.SecondOrder(logistic_field)), None, FIELD),
    Kind(
        "Conjugated",
        lambda: maps.Conjugated(maps.ExactFlowMap(plain_logistic), BENT),
        supplied={"function": plain_logistic, "function_2": mix, "inverse_function": unmix},
    ),
    Kind(
        "Piecewise",
        lambda: maps.Piecewise([exact(), of_solver(**RK4)()], [0.45]),
        supplied={"function": logistic, **FIELD},
        lean=lambda: maps.Piecewise([exact(), exact()], [0.45]),
    ),
    Kind(
        "Through",
        lambda: of_solver(method=solvers.RK4(), steps=7)().through([0.3, 0.6]),
        supplied=FIELD,
        lean=lambda: exact().through([0.3]),
    ),
    Kind(
        "Autonomous",
        lambda: maps.Autonomous(steady_step(), 0.2),
        truth=steady_logistic,
        supplied={"function": steady_logistic},
        whole=False,
    ),
    Kind(
        "Leg",
        transition(lambda s, t: exact().between(s, t)),
        supplied={"function": logistic},
        along=False,
    ),
    Kind(
        "Chain",
        transition(chained),
        supplied={"function": logistic},
        along=False,
    ),
    Kind(
        "NewtonInverse",
        transition(lambda s, t: exact().between(t, s).inverse("newton")),
        supplied={"function": logistic},
        whole=False,
        along=False,
    ),
]

# ---------------------------------------------------------------------------- what a cell is about


@dataclass(frozen=True)
class Case:
    """A kind of map with points, directions and its oracle, in one dtype.

    The points are s, t, x and, where the map takes one, a condition: three samples.
    """

    kind: Kind
    flow: Flow
    truth: Flow
    points: tuple[Tensor, ...]

    def directions(self, only: int | None = None) -> tuple[Tensor, ...]:
        """Tangents of the points, zero but for one of them if ``only`` is given."""
        generator = torch.Generator().manual_seed(1)
        draws = [torch.randn(p.shape, generator=generator).to(p) for p in self.points]
        return tuple(d if only in (None, i) else 0 * d for i, d in enumerate(draws))

    def value(self, *points: Tensor) -> Tensor:
        return self.truth(*(p.double() for p in points))

    def slope(self, directions: tuple[Tensor, ...], order: int = 1) -> Tensor:
        """First or second derivative of the truth along directions, by central differences."""
        weights = {
            1: [(-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)],
            2: [(-2, -1 / 12), (-1, 4 / 3), (0, -5 / 2), (1, 4 / 3), (2, -1 / 12)],
        }[order]
        h, total = 2e-3, torch.zeros_like(self.points[2], dtype=torch.float64)
        for k, weight in weights:
            pairs = zip(self.points, directions, strict=True)
            moved = [p.double() + k * h * d.double() for p, d in pairs]
            total = total + weight / h**order * self.truth(*moved)
        return total

    def close(self, got: Tensor, expected: Tensor, loose: float = 1.0) -> None:
        dtype = self.points[2].dtype
        allowed = self.kind.loose * loose * (1e-7 if dtype == torch.float64 else 2e-5)
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=allowed, atol=allowed)


def points(kind: Kind, dtype: torch.dtype) -> tuple[Tensor, ...]:
    s = torch.tensor([0.1, 0.2, 0.5], dtype=torch.float64)
    t = torch.tensor([0.9, 0.4, 0.7], dtype=torch.float64)
    z = torch.tensor([[0.3, 0.6], [0.5, 0.2], [0.7, 0.4]], dtype=torch.float64)
    all_points = (s, t, mix(z), torch.tensor([[0.8], [1.1], [1.3]], dtype=torch.float64))
    return tuple(p.to(dtype) for p in all_points[: 3 + kind.conditional])


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
    case.close(case.flow(*case.points), case.value(*case.points))
    one = tuple(p[1:2] for p in case.points)
    alone = case.flow(one[0].item(), one[1].item(), *one[2:])
    case.close(case.flow(*case.points)[1:2], alone.double(), 0.1)


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
    """One graph of value and derivatives in float32, of the value in float64; else in parts."""
    torch._dynamo.reset()
    points, flow = case.points, case.kind.lean() if case.kind.lean else case.flow
    single = points[2].dtype == torch.float32
    if hasattr(flow, "build"):
        points, function = points[2:], flow.build(0.2, 0.7)
    elif case.kind.whole and single:
        function = with_derivatives(flow, *case.directions())
    else:
        function = flow
    backend = "aot_eager" if single else "eager"
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
def table() -> Iterator[dict[tuple[str, str], str]]:
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
        body = [rows[dtype, kind.name] for kind in KINDS]
        middle = "\n".join(["", *head, *body, ""])
        text = before + START.format(dtype) + middle + END.format(dtype) + after
    DOCUMENT.write_text(text)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_row(
    kind: Kind,
    default_dtype: torch.dtype,
    table: dict[tuple[str, str], str],
    tmp_path: Path,
) -> None:
    torch.set_default_dtype(torch.float32)
    twin = None if kind.truth else kind.make(unlimited=True).double()
    flow = kind.make()
    torch.set_default_dtype(default_dtype)
    flow = kind.make() if kind.truth else flow.to(default_dtype)
    case = Case(kind, flow, kind.truth or twin, points(kind, default_dtype))
    cells = [
        cell(column, case, *([tmp_path] if column is save_and_load else []))
        for column in COLUMNS.values()
    ]
    name = str(default_dtype).removeprefix("torch.")
    table[name, kind.name] = line([kind.name, *cells])
    if not UPDATE:
        text = DOCUMENT.read_text().split(START.format(name))[1].split(END.format(name))[0]
        assert table[name, kind.name] in text.splitlines()
