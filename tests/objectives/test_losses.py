"""What a loss reports, and the transformations it passes."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import flowmaps as fm


class Both(nn.Module):
    """Map and objective as one module, for functional calls."""

    def __init__(self, objective: fm.objectives.Objective, learned: fm.maps.FlowMap):
        super().__init__()
        self.objective, self.learned = objective, learned

    def forward(self, draw: fm.objectives.Draw) -> Tensor:
        return self.objective(self.learned, draw).total


def learned_map(**settings: Any) -> fm.maps.NeuralFlowMap:
    network = fm.networks.MLP(dim=2, width=16, depth=2, **settings)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return fm.maps.NeuralFlowMap(network)


def field(t: Tensor, x: Tensor) -> Tensor:
    return torch.stack([x[:, 1], -torch.sin(x[:, 0])], dim=1)


def setting(name: str) -> tuple[fm.objectives.Objective, fm.objectives.Draw]:
    if name == "lagrangian residual":
        objective = fm.objectives.lagrangian_residual(field, scale=[1.0, 2.0])
        return objective, objective.draw(
            fm.objectives.Domain(fm.domains.Box([-1.0, -1.0], [1.0, 1.0]), (0.0, 1.0)), batch=8
        )
    objective = {"flow matching": fm.objectives.flow_matching, "lsd": fm.objectives.lsd}[name]()
    return objective, objective.draw(fm.objectives.Pairs(None, torch.randn(8, 2)))


NAMES = ["flow matching", "lsd", "lagrangian residual"]


def gradients(learned: nn.Module, total: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(total, list(learned.parameters())))


# ---------------------------------------------------------------------------- transformations


@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_loss_is_the_eager_one(name: str) -> None:
    learned, (objective, draw) = learned_map(), setting(name)
    evaluate: Callable = torch.compile(
        lambda draw: objective(learned, draw), fullgraph=True, backend="aot_eager"
    )
    compiled, eager = evaluate(draw), objective(learned, draw)
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(gradients(learned, compiled.total), gradients(learned, eager.total))


@pytest.mark.parametrize("name", NAMES)
def test_functional_gradients_are_the_ordinary_ones(name: str) -> None:
    learned, (objective, draw) = learned_map(), setting(name)
    both = Both(objective, learned)
    weights = {key: value.detach() for key, value in both.named_parameters()}
    functional = torch.func.grad(lambda w: torch.func.functional_call(both, w, (draw,)))(weights)
    ordinary = gradients(learned, objective(learned, draw).total)
    torch.testing.assert_close(list(functional.values()), ordinary)


@pytest.mark.parametrize("name", NAMES)
def test_an_ensemble_is_a_loop(name: str) -> None:
    learned, (objective, draw) = learned_map(), setting(name)
    both = Both(objective, learned)
    weights = {
        key: torch.stack([value, 2 * value]).detach() for key, value in both.named_parameters()
    }
    call = lambda w: torch.func.functional_call(both, w, (draw,))  # noqa: E731
    batched = torch.func.vmap(call)(weights)
    loop = [call({key: value[i] for key, value in weights.items()}) for i in range(2)]
    torch.testing.assert_close(batched, torch.stack(loop))


def test_half_precision_is_reduced_in_single() -> None:
    learned = learned_map().bfloat16()
    objective = fm.objectives.lsd()
    draw = objective.draw(fm.objectives.Pairs(None, torch.randn(512, 2).bfloat16()))
    low = objective(learned, draw)
    assert low.total.dtype == low.per_sample.dtype == torch.float32
    high = objective(learned.double(), pytree.tree_map(lambda a: a.double(), draw))
    assert low.total.item() == pytest.approx(high.total.item(), rel=0.02)


# ---------------------------------------------------------------------------- what a loss reports


def test_parts_and_rows_add_up() -> None:
    learned, (_, draw) = learned_map(), setting("lsd")
    loss = fm.objectives.lsd(weight=0.5)(learned, draw)
    torch.testing.assert_close(loss.total, loss.per_sample.mean())
    count = draw.diagonal
    torch.testing.assert_close(loss.parts["flow matching"], loss.per_sample[:count].mean())
    torch.testing.assert_close(loss.parts["lagrangian"] * 0.5, loss.per_sample[count:].mean())
    matching = fm.objectives.flow_matching()(learned, draw[:count])
    torch.testing.assert_close(matching.per_sample, loss.per_sample[:count])
    assert not loss.parts["lagrangian"].requires_grad


def test_a_term_without_rows_is_left_out() -> None:
    learned, (objective, draw) = learned_map(), setting("lsd")
    assert set(objective(learned, draw[: draw.diagonal]).parts) == {"flow matching"}
    assert set(objective(learned, draw[draw.diagonal :]).parts) == {"lagrangian"}


def test_reductions_differ_by_the_number_of_coordinates() -> None:
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=6, width=8, depth=1))
    draw = fm.objectives.lsd().draw(fm.objectives.Pairs(None, torch.randn(16, 2, 3)))
    total, mean = (
        fm.objectives.lsd(reduction=r)(learned, draw).per_sample for r in ("sum", "mean")
    )
    torch.testing.assert_close(total, 6 * mean)


def test_scale_divides_the_residual() -> None:
    learned = learned_map()
    _, draw = setting("lagrangian residual")
    residual = fm.residuals.lagrangian(learned, field, draw.s, draw.t, draw.points)
    loss = fm.objectives.lagrangian_residual(field, scale=[1.0, 2.0])(learned, draw)
    torch.testing.assert_close(loss.per_sample, residual[:, 0] ** 2 + (residual[:, 1] / 2) ** 2)


def test_conditions_reach_map_and_field() -> None:
    learned = learned_map(condition_dim=1)
    objective = fm.objectives.lagrangian_residual(lambda t, x, c: -c * x)
    domain = fm.domains.Box([-1.0, -1.0], [1.0, 1.0])
    source = fm.objectives.Domain(domain, (0.0, 1.0), condition=fm.domains.Box([1.0], [2.0]))
    draw = objective.draw(source, batch=6)
    residual = fm.residuals.lagrangian(
        learned, lambda t, x, c: -c * x, draw.s, draw.t, draw.points, draw.condition
    )
    torch.testing.assert_close(objective(learned, draw).per_sample, residual.square().sum(1))
    labels = torch.arange(8) % 3
    classes = learned_map(classes=3)
    assert fm.objectives.lsd().loss(classes, None, torch.randn(8, 2), labels).total > 0


def test_the_convenience_is_draw_and_forward() -> None:
    learned, x0, x1 = learned_map(), torch.randn(12, 2), torch.randn(12, 2)
    objective = fm.objectives.lsd()
    short = objective.loss(learned, x0, x1, generator=torch.Generator().manual_seed(3))
    draw = objective.draw(fm.objectives.Pairs(x0, x1), generator=torch.Generator().manual_seed(3))
    assert torch.equal(short.total, objective(learned, draw).total)
    short.total.backward()
    assert all(parameter.grad is not None for parameter in learned.parameters())


def test_what_is_compiled_in_part_is_refused() -> None:
    """A derivative of it would compile nothing, silently; the whole loss is to be compiled."""
    network = fm.networks.MLP(dim=2, width=4, depth=1)
    compiled: list[Any] = [
        torch.compile(fm.maps.NeuralFlowMap(network), backend="eager"),
        fm.maps.NeuralFlowMap(torch.compile(network, backend="eager")),
    ]
    inside = fm.networks.MLP(dim=2, width=4, depth=1)
    inside.body.compile(backend="eager")
    compiled.append(fm.maps.NeuralFlowMap(inside))
    for learned in compiled:
        with pytest.raises(TypeError, match=r"is compiled: .* fm.training.fit\(compile=True\)"):
            fm.objectives.lsd().loss(learned, None, torch.randn(8, 2))


def test_states_of_fewer_digits_than_the_map_are_told() -> None:
    objective = fm.objectives.lagrangian_residual(field)
    square = fm.domains.Box([-1.0, -1.0], [1.0, 1.0])
    learned = learned_map()
    for dtype in (torch.float64, torch.float32):
        source = fm.objectives.Domain(square, (0.0, 1.0), dtype=dtype)
        draw = objective.draw(source, batch=4)
        if dtype == torch.float64:
            objective.check(draw, learned)
        else:
            with pytest.warns(UserWarning, match="give the source data in float64"):
                objective.check(draw, learned)
            objective.check(draw, learned_map().float())


def test_any_callable_principle_is_shown_and_trained() -> None:
    """A partial or a module has no __name__; the run folder tells it all the same."""
    tangent = fm.objectives.principles.tangent

    class Doubled(nn.Module):
        def forward(self, *arguments: Any) -> Tensor:
            return 2 * tangent(*arguments)

    learned, (matching, draw) = learned_map(), setting("flow matching")
    expected = matching(learned, draw).total
    named: list[tuple[Any, str, float]] = [
        (functools.partial(lambda *a, f: f(*a), f=tangent), "f=tangent", 1.0),
        (Doubled(), "Doubled", 4.0),
    ]
    for principle, name, factor in named:
        term = fm.objectives.Term("r", principle, fm.objectives.teachers.data)
        objective = fm.objectives.Composed(
            fm.objectives.Diagonal(),
            fm.objectives.OnInterpolant(fm.interpolants.Linear()),
            [term],
        )
        assert name in repr(objective) and " at 0x" not in repr(objective)
        torch.testing.assert_close(objective(learned, draw).total, factor * expected)


def test_a_known_field_is_no_part_of_what_is_trained() -> None:
    teacher = learned_map()
    objective = fm.objectives.lagrangian_residual(teacher)
    assert not any(weight.requires_grad for weight in objective.parameters())
    assert all(weight.requires_grad for weight in teacher.parameters())
