"""Objectives inside torch.compile and torch.func; test_losses has three more."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

o = fm.objectives


def field(t: Tensor, x: Tensor) -> Tensor:
    return torch.stack([x[:, 1], -torch.sin(x[:, 0])], dim=1)


def learned_map() -> fm.maps.NeuralFlowMap:
    network = fm.networks.MLP(dim=2, width=8, depth=1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return fm.maps.NeuralFlowMap(network)


OBJECTIVES: dict[str, Callable[[], o.Composed]] = {
    "esd": o.esd,
    "psd_u": o.psd_u,
    "lmd, value": lambda: o.lmd(teacher=field, routing="value"),
    "emd, value": lambda: o.emd(teacher=field, routing="value"),
    "emd, target": lambda: o.emd(teacher=learned_map(), routing="target"),
    "eulerian residual": lambda: o.eulerian_residual(field, weight=lambda s, t: t - s),
}


def setting(name: str) -> tuple[o.Objective, o.Draw]:
    objective = OBJECTIVES[name]()
    if name == "eulerian residual":
        source = o.Domain(fm.domains.Box([-1.0, -1.0], [1.0, 1.0]), (0.0, 1.0))
        return objective, objective.draw(source, batch=8)
    return objective, objective.draw(o.Pairs(None, torch.randn(8, 2)))


class Both(nn.Module):
    """Map and objective as one module, for functional calls."""

    def __init__(self, objective: o.Objective, learned: fm.maps.FlowMap):
        super().__init__()
        self.objective, self.learned = objective, learned

    def forward(self, draw: o.Draw) -> Tensor:
        return self.objective(self.learned, draw).total


def gradients(learned: nn.Module, total: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(total, list(learned.parameters())))


@pytest.mark.parametrize("name", ["esd", "psd_u", "emd, value"])
def test_the_compiled_loss_is_the_eager_one(name: str) -> None:
    learned, (objective, draw) = learned_map(), setting(name)
    draw = draw[::2]  # rows that are views, as the micro-batches of a draw are
    evaluate: Callable = torch.compile(
        lambda draw: objective(learned, draw), fullgraph=True, backend="aot_eager"
    )
    compiled, eager = evaluate(draw), objective(learned, draw)
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(gradients(learned, compiled.total), gradients(learned, eager.total))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_functional_gradients_are_the_ordinary_ones(name: str) -> None:
    learned, (objective, draw) = learned_map(), setting(name)
    both = Both(objective, learned)
    weights = {f"learned.{key}": value.detach() for key, value in learned.named_parameters()}
    functional = torch.func.grad(lambda w: torch.func.functional_call(both, w, (draw,)))(weights)
    ordinary = gradients(learned, objective(learned, draw).total)
    torch.testing.assert_close(list(functional.values()), ordinary)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_ensemble_is_a_loop(name: str) -> None:
    learned, (objective, draw) = learned_map(), setting(name)
    both = Both(objective, learned)
    weights = {
        f"learned.{key}": torch.stack([value, 2 * value]).detach()
        for key, value in learned.named_parameters()
    }
    call = lambda w: torch.func.functional_call(both, w, (draw,))  # noqa: E731
    batched = torch.func.vmap(call)(weights)
    loop = [call({key: value[i] for key, value in weights.items()}) for i in range(2)]
    torch.testing.assert_close(batched, torch.stack(loop))
