"""Every kind of map of the contract table, with the oracle that it is compared with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

maps, solvers = fm.maps, fm.solvers
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
    ``lean`` is a cheaper map of the kind to compile; ``whole`` whether it compiles to one graph.
    """

    name: str
    make: Callable[..., Flow]
    truth: Flow | None = logistic
    supplied: dict[str, Any] = field(default_factory=dict)
    conditional: bool = True
    lean: Callable[..., Flow] | None = None
    whole: bool = True
    along: bool = True


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
        allowed = loose * (1e-7 if dtype == torch.float64 else 2e-5)
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=allowed, atol=allowed)


def points(kind: Kind, dtype: torch.dtype) -> tuple[Tensor, ...]:
    s = torch.tensor([0.1, 0.2, 0.5], dtype=torch.float64)
    t = torch.tensor([0.9, 0.4, 0.7], dtype=torch.float64)
    z = torch.tensor([[0.3, 0.6], [0.5, 0.2], [0.7, 0.4]], dtype=torch.float64)
    all_points = (s, t, mix(z), torch.tensor([[0.8], [1.1], [1.3]], dtype=torch.float64))
    return tuple(p.to(dtype) for p in all_points[: 3 + kind.conditional])


@pytest.fixture(scope="session")
def kinds() -> list[Kind]:
    """All kinds, in the order of the table."""
    return KINDS


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def case(request: pytest.FixtureRequest, default_dtype: torch.dtype) -> Case:
    """Runs a test on every kind, in single and in double precision."""
    kind = request.param
    torch.set_default_dtype(torch.float32)
    twin = None if kind.truth else kind.make(unlimited=True).double()
    flow = kind.make()
    torch.set_default_dtype(default_dtype)
    flow = kind.make() if kind.truth else flow.to(default_dtype)
    return Case(kind, flow, kind.truth or twin, points(kind, default_dtype))
