"""DSNO: draws of whole paths, the loss at the exact map, one evaluation a row, and training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import flowmaps as fm

o = fm.objectives

MATRIX = torch.tensor([[0.0, 1.0], [-9.0, -0.5]], dtype=torch.float64)
"""Of the damped oscillator x'' = -9 x - x' / 2."""
UNITS = [1.0, 3.0]


def oscillate(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """The closed form: exp((t - s) A) x by the eigenvalues -1/4 +- i w."""
    w, span = (9.0 - 0.25**2) ** 0.5, (t - s)[:, None]
    a, b = torch.cos(w * span), torch.sin(w * span) / w
    centred = x @ (MATRIX + 0.25 * torch.eye(2)).to(x).T
    return torch.exp(-0.25 * span) * (a * x + b * centred)


EXACT = fm.maps.ExactFlowMap(oscillate)


def records(n: int = 6, times: Tensor | None = None, **options: Any) -> o.Trajectories:
    clock = torch.linspace(1.0, 2.0, 9) if times is None else times
    x = torch.randn(n, 2) * torch.tensor(UNITS)
    start = clock[0] if clock.ndim == 1 else clock[0].clone()
    return o.Trajectories(clock, EXACT.along(start, clock, x), **options)


def test_the_closed_form_is_the_matrix_exponential() -> None:
    x = torch.randn(4, 2)
    t = torch.rand(4)
    whole = torch.linalg.matrix_exp(t[:, None, None] * MATRIX) @ x[..., None]
    torch.testing.assert_close(EXACT(0.0, t, x), whole[..., 0])


# ---------------------------------------------------------------------------- draws


@pytest.mark.parametrize(
    "times, picked",
    [
        (None, [1, 2, 3, 4, 5, 6, 7, 8]),
        (3, [2, 5, 8]),
        (1, [8]),
        ([1.25, 1.5, 2.0], [2, 4, 8]),
        (torch.tensor([1.125]), [1]),
    ],
)
def test_a_draw_holds_the_first_record_and_the_chosen_later_ones(
    times: Any, picked: list[int]
) -> None:
    data = records(condition=torch.arange(6.0)[:, None])
    draw = o.dsno(times).draw(data)
    assert torch.equal(draw.points, data.states[0]) and (draw.s == 1.0).all()
    assert draw.path is not None and draw.path_times is not None
    assert torch.equal(draw.path, data.states[picked].transpose(0, 1))
    assert torch.equal(draw.path_times, data.times[picked].expand(6, -1))
    assert torch.equal(draw.t, draw.path_times[:, -1]) and draw.diagonal == 0
    many = o.dsno(times).draw(data, batch=40, generator=torch.Generator().manual_seed(0))
    row = many.condition[:, 0].long()
    assert torch.equal(many.path, draw.path[row]) and torch.equal(many.points, draw.points[row])


def test_trajectories_may_have_times_of_their_own() -> None:
    own = torch.cat([torch.zeros(1, 5), torch.rand(4, 5).cumsum(0) + 0.1]) + torch.rand(5)
    data = records(5, own)
    draw = o.dsno(2).draw(data)
    assert torch.equal(draw.path_times, own[[2, 4]].T) and torch.equal(draw.s, own[0])
    assert o.dsno(2)(EXACT, draw).total < 1e-24


def test_paths_are_sliced_moved_and_flattened_with_the_rest() -> None:
    draw = o.dsno(3).draw(records())
    part = draw[1:5:2]
    assert torch.equal(part.path, draw.path[1:5:2])
    assert torch.equal(part.path_times, draw.path_times[1:5:2])
    leaves, tree = pytree.tree_flatten(draw)
    again = pytree.tree_unflatten(leaves, tree)
    assert again.path is draw.path and again.path_times is draw.path_times
    assert draw.to("meta").path.device.type == "meta"
    loss = o.dsno(3)(EXACT.to("cpu"), part)
    torch.testing.assert_close(loss.per_sample, o.dsno(3)(EXACT, draw).per_sample[1:5:2])


# ---------------------------------------------------------------------------- the loss


class Grown(fm.maps.FlowMap):
    """The exact map times a factor that is one at theta = 0, times what grows with the span."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.zeros(2))

    def _transport(self, s: Any, t: Any, x: Tensor, condition: Any) -> Tensor:
        span = torch.as_tensor(t - s)[:, None]
        return EXACT(s, t, x) * torch.exp(span * self.theta)


METRICS = [None, o.PseudoHuber(0.1), o.Adaptive(1.0, 0.1), o.InHighDimension(o.PseudoHuber())]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [None, UNITS])
def test_the_exact_map_has_no_loss_and_no_gradient(metric: Any, scale: Any) -> None:
    learned, objective = Grown(), o.dsno(metric=metric, scale=scale)
    draw = objective.draw(records())
    objective.check(draw, learned)
    loss = objective(learned, draw).total
    (gradient,) = torch.autograd.grad(loss, learned.theta)
    assert loss < 1e-24 and gradient.abs().max() < 1e-9
    with torch.no_grad():
        learned.theta.add_(0.1)
    assert objective(learned, draw).total > 1e-3


def test_absolute_values_are_least_at_the_exact_map() -> None:
    learned, objective = Grown(), o.dsno(metric=o.Absolute())
    draw = objective.draw(records())
    least = objective(learned, draw).total.item()
    assert least < 1e-12
    for move in (0.1 * torch.randn(2), -1e-3 * torch.rand(2)):
        with torch.no_grad():
            learned.theta.copy_(move)
        assert objective(learned, draw).total.item() > 1e-5


def test_the_loss_is_the_weighted_sum_over_times() -> None:
    """Written out, for every reduction and for a user's own distance."""
    data = records()
    learned = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.cos(t - s)[:, None])
    weights, units = [0.5, 0.0, 2.0], torch.tensor(UNITS)
    draw = o.dsno(3).draw(data)
    assert draw.path is not None and draw.path_times is not None
    residual = torch.stack(
        [
            (learned(draw.s, draw.path_times[:, i], draw.points) - draw.path[:, i]) / units
            for i in range(3)
        ]
    )
    each = {
        "sum": (None, residual.square().sum(2)),
        "mean": (None, residual.square().mean(2)),
        "l1": (o.Absolute(), residual.abs().sum(2)),
        "l1 mean": (o.Absolute(), residual.abs().mean(2)),
        "largest": (o.Between(lambda a, b: (a - b).abs().amax(1)), residual.abs().amax(2)),
    }
    for name, (metric, values) in each.items():
        reduction = "mean" if "mean" in name else "sum"
        objective = o.dsno(3, metric, weights, UNITS, reduction=reduction)
        expected = torch.tensor(weights) @ values
        torch.testing.assert_close(objective(learned, draw).per_sample, expected)
        plain = o.dsno(3, metric, None, UNITS, reduction=reduction)
        torch.testing.assert_close(plain(learned, draw).per_sample, values.mean(0))


@pytest.mark.parametrize("own", [False, True])
def test_a_network_that_decodes_is_called_once(own: bool) -> None:
    """Whether or not rows share their times; and the loss is that of the map time by time."""
    net = fm.networks.TemporalFourier(2, width=8, depth=1, nodes=5, start=1.0, end=2.0)
    torch.nn.init.normal_(net.head.weight)
    learned, calls = fm.maps.NeuralFlowMap(net), []
    clock = torch.linspace(1.0, 2.0, 9)[:, None].expand(9, 6).clone()
    if own:
        clock[1:-1] += 0.1 * torch.rand(7, 6) - 0.05
    data = records(times=clock if own else clock[:, 0].contiguous())
    net.register_forward_hook(lambda *_: calls.append(1))
    objective = o.dsno()
    draw = objective.draw(data)
    loss = objective(learned, draw)
    assert len(calls) == 1
    assert draw.path is not None and draw.path_times is not None
    each = [learned(draw.s, t, draw.points) for t in draw.path_times.T]
    expected = (torch.stack(each, 1) - draw.path).square().sum(2).mean(1)
    torch.testing.assert_close(loss.per_sample, expected)


def test_compiled_and_vmapped_losses_agree() -> None:
    net = fm.networks.TemporalFourier(2, width=8, depth=1, nodes=5, start=1.0, end=2.0)
    torch.nn.init.normal_(net.head.weight)
    learned = fm.maps.NeuralFlowMap(net)
    objective = o.dsno(3, o.PseudoHuber(0.1), [1.0, 2.0, 3.0])
    draw = objective.draw(records())
    expected = objective(learned, draw)
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda draw: objective(learned, draw).total, backend="aot_eager", fullgraph=True
    )
    total = compiled(draw)
    torch.testing.assert_close(total, expected.total)
    gradients = torch.autograd.grad(total, list(net.parameters()), allow_unused=True)
    known = torch.autograd.grad(expected.total, list(net.parameters()), allow_unused=True)
    torch.testing.assert_close(
        [g for g in gradients if g is not None], [g for g in known if g is not None]
    )

    def one(row: o.Draw) -> Tensor:
        return objective(learned, pytree.tree_map(lambda leaf: leaf[None], row)).total

    torch.testing.assert_close(torch.func.vmap(one)(draw), expected.per_sample)


def test_a_network_learns_the_damped_oscillator() -> None:
    """On states and at times that it did not see, to a tenth of their size."""
    times = torch.linspace(0.0, 2.0, 17)
    x = torch.randn(512, 2) * torch.tensor(UNITS)
    data = o.Trajectories(times, EXACT.along(0.0, times, x).float())
    units = {"input_scale": UNITS, "output_scale": [3.0, 9.0]}
    net = fm.networks.TemporalFourier(2, width=32, depth=2, nodes=13, end=2.0, **units).float()
    learned = fm.maps.NeuralFlowMap(net)
    objective = o.dsno(scale=UNITS)
    fm.training.fit(
        learned,
        objective,
        data,
        steps=300,
        batch=128,
        optimizer="adam",
        learning_rate=1e-2,
        ema=None,
        progress=False,
    )
    unseen = torch.randn(200, 2) * torch.tensor(UNITS)
    between = torch.linspace(0.03, 1.97, 40)
    known = EXACT.along(0.0, between, unseen)
    with torch.no_grad():
        found = learned.along(0.0, between, unseen.float()).double()
    error = ((found - known) / torch.tensor(UNITS)).norm() / (known / torch.tensor(UNITS)).norm()
    assert error < 0.1


# ---------------------------------------------------------------------------- bad input


BAD: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "too few records": (
        lambda: o.dsno(9).draw(records()),
        ValueError,
        "have 8 records after the first, got times=9",
    ),
    "no record there": (
        lambda: o.dsno([1.3]).draw(records()),
        ValueError,
        r"got 1.3; trajectory 0 is recorded from 1 to 2, nearest at 1.25",
    ),
    "after the end": (lambda: o.dsno([1.5, 3.0]).draw(records()), ValueError, "got 3; trajectory"),
    "the first": (lambda: o.dsno([1.0]).draw(records()), ValueError, "after the first, got 1;"),
    "no times": (lambda: o.dsno([]), ValueError, "at least one"),
    "in disorder": (lambda: o.dsno([2.0, 1.0]), ValueError, "must increase strictly"),
    "not finite": (lambda: o.dsno([float("nan")]), ValueError, "list of finite times"),
    "zero": (lambda: o.dsno(0), ValueError, "whole number of at least 1, got 0"),
    "half": (lambda: o.dsno(2.5), TypeError, "whole number"),  # type: ignore[arg-type]
    "text": (lambda: o.dsno("all"), TypeError, "times must be"),  # type: ignore[arg-type]
    "negative weights": (lambda: o.dsno(weights=[-1.0]), ValueError, "none negative"),
    "no weight": (lambda: o.dsno(weights=[0.0]), ValueError, "not all zero"),
    "weights in words": (lambda: o.dsno(weights=["a"]), TypeError, "weights must be"),  # type: ignore[list-item]
    "too few weights": (
        lambda: o.dsno(3, weights=[1.0])(EXACT, o.dsno(3).draw(records())),
        ValueError,
        "one for each of the 3 times of a path, got 1",
    ),
    "no metric": (lambda: o.dsno(metric="l1"), TypeError, "metric must be"),  # type: ignore[arg-type]
    "another source": (
        lambda: o.dsno().draw(o.Pairs(None, torch.zeros(3, 2))),
        TypeError,
        "draws whole paths from fm.objectives.Trajectories",
    ),
    "another draw": (
        lambda: o.dsno()(EXACT, o.trajectory_matching().draw(records())),
        ValueError,
        "carries no paths; draw it from Trajectories by WholePaths",
    ),
    "another principle": (
        lambda: o.Term("a", o.principles.recorded, o.teachers.own, metric=o.OverTimes()),
        TypeError,
        "the principle recorded compares at one time; take whole_path",
    ),
    "another routing": (
        lambda: o.Term("a", o.principles.whole_path, o.teachers.own, "target"),
        ValueError,
        r"routings of the principle whole_path are \('full',\)",
    ),
    "a distance without sides": (
        lambda: o.Term(
            "a",
            o.principles.lagrangian,
            o.teachers.own,
            metric=o.OverTimes(o.Between(lambda a, b: a)),
        ),
        TypeError,
        "Between compares two states",
    ),
    "no distance": (
        lambda: o.OverTimes().compare(torch.ones(1, 2, 3), torch.ones(1, 2, 3)),
        TypeError,
        "Squared is a function of a difference",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])


def test_paths_that_do_not_fit_are_refused(refused: Callable[..., None]) -> None:
    draw = o.dsno(3).draw(records())
    assert draw.path is not None and draw.path_times is not None
    path, times = draw.path, draw.path_times
    for wrong, error, message in (
        ({"path": path[:, :2]}, ValueError, r"path must have shape \(6, 3, 2\)"),
        ({"path": None}, TypeError, "path must be a tensor"),
        ({"path_times": None}, ValueError, r"path_times must have shape \(6, n\)"),
        ({"path_times": times[0]}, ValueError, r"path_times must have shape \(6, n\)"),
        ({"path_times": times[:3]}, ValueError, r"path_times must have shape \(6, 3\)"),
        ({"path_times": times[:, :0], "path": path[:, :0]}, ValueError, "one time of a path"),
    ):
        refused(lambda wrong=wrong: replace(draw, **wrong), error, message)


def test_a_map_that_is_not_for_the_times_is_refused_before_training(
    refused: Callable[..., None],
) -> None:
    """A time in the middle of the path, too, which s and t do not tell."""
    data, objective = records(), o.dsno([1.5, 2.0])
    late = fm.maps.ExactFlowMap(oscillate, fm.maps.TimeSet(1.0, 2.0, end=2.0))
    short = fm.maps.NeuralFlowMap(fm.networks.TemporalFourier(2, width=4, depth=1))
    for a_map in (late, short):
        refused(
            lambda a_map=a_map: objective.check(objective.draw(data), a_map),
            fm.errors.UntrainedTimes,
            "give the map times=TimeSet",
            fm.errors.UntrainedTimes,
        )
