"""How the damped pendulum is learned from its right-hand side alone."""

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowmaps.calculus import field_jacobian
from flowmaps.maps import Autonomous, FlowMap, NeuralFlowMap, SecondOrder, TimeSet
from flowmaps.networks import MLP
from flowmaps.objectives import Domain, FromStart, Objective, lagrangian_residual
from flowmaps.problems import DampedPendulum
from flowmaps.training import Recipe

__all__ = ["PendulumRecipe"]


@dataclass(frozen=True)
class PendulumRecipe(Recipe):
    """The flow map of the damped pendulum over spans up to ``span``, composed to any horizon.

    X = x + h b(x) + h^2 / 2 psi_h(x), trained on the Lagrangian residual over the set of bounded
    energy, which the flow never leaves up to full turns of the angle; no trajectory is computed.

    Args:
        steps: updates.
        seed: of weights and draws.
        span: longest span of one call, in seconds.
        width, depth: of the multilayer perceptron.
        batch: points of a draw.

    Example:
        >>> import flowmaps as fm
        >>> recipe = fm.surrogates.PendulumRecipe(steps=2)
        >>> surrogate = recipe.train(progress=False).flow_map
        >>> surrogate.evaluations(0.0, 1.0)
        4
    """

    name: ClassVar[str] = "pendulum"

    steps: int = 2000
    span: float = 0.25
    width: int = 64
    depth: int = 3
    batch: int = 1024

    def build(self) -> FlowMap:
        """Return the map over one span; see Recipe."""
        problem = DampedPendulum()
        network = MLP(
            dim=2,
            width=self.width,
            depth=self.depth,
            angles=(0,),
            activation="tanh",
            frequencies=(),
            span_gain=1.0,
            time_scale=self.span,
            input_scale=[1.0, 4.0],
            output_scale=_scales()[1],
        )
        times = TimeSet(0.0, self.span, backward=False)
        return NeuralFlowMap(network, SecondOrder(problem.field), times)

    def objective(self) -> Objective:
        """Return the Lagrangian residual in units of the field's spread; see Recipe."""
        problem = DampedPendulum()
        return lagrangian_residual(problem.field, times=FromStart(), scale=_scales()[0])

    def source(self) -> Domain:
        """Return the set of bounded energy; see Recipe."""
        return Domain(DampedPendulum().energy_set(), (0.0, self.span), dtype=torch.float32)

    def settings(self) -> dict[str, Any]:
        """Return the arguments of fit; see Recipe."""
        return {
            "batch": self.batch,
            "optimizer": "soap",
            "learning_rate": 5e-3,
            "warmup": 100,
            "ema": 0.995,
            "compile": "aot_eager",
        }

    def finish(self, learned: FlowMap) -> FlowMap:
        """Compose the map to any horizon; see Recipe."""
        return Autonomous(learned, self.span)


@cache
def _scales() -> tuple[Tensor, Tensor]:
    """Return the spreads of b and of its rate along the flow over the energy set, (2,) each."""
    problem = DampedPendulum()
    x = problem.energy_set().sample(
        20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float32
    )
    velocity = problem.field(0.0, x)
    acceleration = torch.einsum("bij,bj->bi", field_jacobian(problem.field, 0.0, x), velocity)
    return velocity.std(0), acceleration.std(0)
