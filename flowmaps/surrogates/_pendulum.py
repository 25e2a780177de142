"""How the damped pendulum is learned from its right-hand side alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowmaps.calculus import field_jacobian
from flowmaps.maps import Autonomous, NeuralFlowMap, SecondOrder, TimeSet
from flowmaps.networks import MLP
from flowmaps.objectives import Domain, FromStart, lagrangian_residual
from flowmaps.problems import DampedPendulum
from flowmaps.training import FitResult, fit

__all__ = ["PendulumRecipe"]


@dataclass(frozen=True)
class PendulumRecipe:
    """The flow map of the damped pendulum over spans up to ``span``, composed to any horizon.

    X = x + h b(x) + h^2 / 2 psi_h(x), trained on the Lagrangian residual over the set of bounded
    energy, which the flow never leaves up to full turns of the angle; no trajectory is computed.

    Args:
        span: longest span of one call, in seconds.
        width, depth: of the multilayer perceptron.
        steps: updates.
        batch: points of a draw.
        seed: of weights and draws.

    Example:
        >>> import flowmaps as fm
        >>> surrogate, result = fm.surrogates.PendulumRecipe(steps=2).train(progress=False)
        >>> surrogate.evaluations(0.0, 1.0)
        4
    """

    span: float = 0.25
    width: int = 64
    depth: int = 3
    steps: int = 3000
    batch: int = 1024
    seed: int = 0

    def train(self, progress: bool = True) -> tuple[Autonomous, FitResult]:
        """Train from nothing; returns the composed map and the outcome of the run."""
        problem = DampedPendulum()
        domain = problem.energy_set()
        velocity, acceleration = self._scales(problem)
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            torch.manual_seed(self.seed)
            network = MLP(
                dim=2,
                width=self.width,
                depth=self.depth,
                angles=(0,),
                activation="tanh",
                frequencies=(),
                time_scale=self.span,
                input_scale=[1.0, 4.0],
                output_scale=acceleration,
            )
        step = NeuralFlowMap(
            network, SecondOrder(problem.field), TimeSet(0.0, self.span, backward=False)
        )
        result = fit(
            step,
            lagrangian_residual(problem.field, times=FromStart(), scale=velocity),
            Domain(domain, (0.0, self.span)),
            steps=self.steps,
            batch=self.batch,
            optimizer="adam",
            learning_rate=3e-3,
            ema=0.995,
            warmup=min(100, self.steps // 2),
            seed=self.seed,
            progress=progress,
            compile="aot_eager",
        )
        return Autonomous(step, self.span), result

    def _scales(self, problem: DampedPendulum) -> tuple[Tensor, Tensor]:
        """Return the spreads of b and of its rate along the flow over the energy set, (2,) each."""
        x = problem.energy_set().sample(
            20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )
        velocity = problem.field(0.0, x)
        acceleration = torch.einsum("bij,bj->bi", field_jacobian(problem.field, 0.0, x), velocity)
        return velocity.std(0), acceleration.std(0)
