"""A machine fails for what is no flow, with its path, and for no flow within its budget."""

import pytest
import torch
from hypothesis import settings

import flowmaps as fm

T = fm.testing
BOX = T.Box([-1.0, -1.0], [1.0, 1.0])
DAMPED = fm.problems.LinearSystem([[0.0, 1.0], [-2.0, -0.3]])


def run(flow_map, domain=BOX, times=(0.0, 2.0), **options):
    return T.run_machine(
        flow_map, domain, times, **{"runs": 10, "steps": 5, "shrink": False, **options}
    )


def biased(s, t, x):
    return DAMPED.exact(s, t, x) + 0.003 * ((t - s) * torch.sin(3 * t))[:, None]


def forward_only():
    return fm.maps.ExactFlowMap(DAMPED.exact, fm.maps.TimeSet(0.0, 2.0, backward=False))


def short_spans():
    return fm.maps.ExactFlowMap(DAMPED.exact, fm.maps.TimeSet(0.0, 2.0, max_span=0.5))


def of_parameters(s, t, x, condition):
    return x * torch.exp((t - s)[:, None] * condition)


SOLVER = fm.maps.SolverFlowMap(DAMPED.field, rtol=1e-6, atol=1e-6)
WIDE = T.Box([-1.0] * 20, [1.0] * 20)
FLOWS = {
    "exact": (DAMPED.flow_map(), {}),
    "not autonomous": (fm.problems.Rotation().flow_map(), {}),
    "backwards as well as it can": (DAMPED.exact, {"directions": "backward"}),
    "forward only": (forward_only(), {}),
    "short spans only": (short_spans(), {}),
    "single precision": (DAMPED.exact, {"dtype": torch.float32}),
    "solver": (SOLVER, {"runs": 6}),
    "learned": (biased, {"budget": T.Budget.learned(0.05)}),
    "many coordinates": (lambda s, t, x: x * torch.exp(s - t)[:, None], {"domain": WIDE}),
    "condition": (of_parameters, {"conditions": T.Box([-1.0], [1.0])}),
}


@pytest.mark.parametrize("name", FLOWS)
def test_flows_pass(name):
    flow_map, options = FLOWS[name]
    assert run(flow_map, **options).compared > 0


def quadratic(s, t, x):
    return DAMPED.exact(s, t, x) + 1e-4 * ((t - s) ** 2)[:, None]


def ignores_start(s, t, x):
    return DAMPED.exact(torch.zeros_like(s), t, x)


def wrong_far_away(s, t, x):
    return DAMPED.exact(s, t, x) * (1 + 0.01 * ((t - s).abs() > 1.5))[:, None]


def one_way(s, t, x):
    return DAMPED.exact(s, torch.maximum(s, t), x)


def not_finite(s, t, x):
    return DAMPED.exact(s, t, x) / (t - s < 1.2)[:, None]


def constant(s, t, x):
    return torch.zeros_like(x)


class Counting:
    def __init__(self):
        self.calls = 0

    def __call__(self, s, t, x):
        self.calls += 1
        return DAMPED.exact(s, t, x) * (1 + 1e-6 * self.calls)


class Stale:
    """Remembers values by their times and forgets that states differ."""

    def __init__(self):
        self.kept = {}

    def __call__(self, s, t, x):
        key = (*s.tolist(), *t.tolist())
        return self.kept.setdefault(key, DAMPED.exact(s, t, x))


NO_FLOWS = {
    "quadratic error": quadratic,
    "ignores s": ignores_start,
    "wrong for long spans": wrong_far_away,
    "forwards only, silently": one_way,
    "not finite": not_finite,
    "constant": constant,
    "counts its calls": Counting(),
    "stale cache": Stale(),
    "biased beyond its budget": biased,
}


TOLD = r"states that went -?[\d.]+ -> .* not (where one shot X_.* takes them|back at their start)"


@pytest.mark.parametrize("name", NO_FLOWS)
def test_what_is_no_flow_fails_and_names_the_path(name):
    with pytest.raises(T.NotAFlowMap, match=TOLD):
        run(NO_FLOWS[name], runs=200)


def test_the_path_that_fails_is_short_and_plain():
    with pytest.raises(T.NotAFlowMap) as caught:
        run(quadratic, shrink=True)
    assert "states that went 0 -> 1 -> " in str(caught.value) or "0 -> 2 -> " in str(caught.value)


def test_a_learned_map_fails_beyond_what_it_declares():
    with pytest.raises(T.NotAFlowMap, match="of 64 rows off"):
        run(lambda s, t, x: x * (1 + t - s)[:, None], budget=T.Budget.learned(0.001))


def test_misbehaviour_is_told_with_the_path():
    with pytest.raises(T.NotAFlowMap, match=r"on the way .* -> .*: the map must return .* shape"):
        run(lambda s, t, x: x[:, :1])


def test_states_that_wrap_are_compared_by_their_difference():
    """Disturbed states that wrap are close: their derivative is one and leaves few rows out."""

    def wrap(x):
        return torch.remainder(x + torch.pi, 2 * torch.pi) - torch.pi

    def turning(error):
        return lambda s, t, x: wrap(x + 3 * (t - s)[:, None] + error * ((t - s) ** 2)[:, None])

    options = {"domain": T.Box(-torch.pi, torch.pi), "difference": lambda a, b: wrap(a - b)}
    options |= {"times": (0.0, 1.0), "budget": T.Budget.learned(0.02)}
    tally = run(turning(0.01), **options)
    assert tally.left_out < 0.01 * tally.compared
    with pytest.raises(T.NotAFlowMap):
        run(turning(-3.0), **{**options, "runs": 50})


def test_one_step_is_one_call():
    tally = run(lambda s, t, x: x * torch.exp(s - t)[:, None], runs=3, steps=1)
    assert tally.compared > 0


def test_a_budget_that_tells_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing could be compared"):
        run(DAMPED.exact, budget=0.9)


def test_a_machine_is_a_test_case():
    case = T.flow_machine(DAMPED.exact, BOX, (0.0, 1.0)).TestCase
    case.settings = settings(case.settings, max_examples=5)
    case().runTest()


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"domain": [0.0]}, TypeError, "domain must be"),
        ({"times": (1.0, 0.0)}, ValueError, "earliest < latest"),
        ({"directions": "up"}, ValueError, "directions must be"),
        ({"budget": "small"}, TypeError, "budget must be"),
        ({"batch": 0}, ValueError, "batch must be"),
        ({"atol": -1.0}, ValueError, "atol must be"),
        ({"atol": "none"}, ValueError, "atol must be"),
        ({"difference": 3}, TypeError, "difference must be a function"),
        ({"flow_map": 3}, TypeError, "flow_map must be a callable"),
    ],
)
def test_wrong_use_is_refused(refused, options, error, message):
    given = {"flow_map": DAMPED.exact, "domain": BOX, "times": (0.0, 1.0), **options}
    refused(lambda: T.flow_machine(**given), error, message)


def test_errors_are_carried_by_the_derivative_of_what_comes_after():
    """Two calls of a flow that doubles and halves: the first one's error has its own size again."""
    from flowmaps.testing._path import Path

    one, two = torch.eye(1)[None], 2 * torch.eye(1)[None]
    x = torch.ones(1, 1)
    path = Path((0.0, 1.0), x, x, None, torch.tensor([True]), (x[:, 0],), (one,))
    assert path.accumulated.item() == 1.0
    there = Path((0.0, 1.0, 2.0), x, x, None, path.known, (x[:, 0],) * 2, (two, one))
    assert there.accumulated.item() == 3.0
