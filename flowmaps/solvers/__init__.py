"""Numerical integration of ordinary differential equations, every sample on its own.

Each has its own start and end time, steps, result code and statistics. Knows nothing of flow maps
and is usable alone.
"""

from flowmaps.solvers._bosh3 import Bosh3
from flowmaps.solvers._controllers import PI, PID, Controller, I
from flowmaps.solvers._dense import DenseOutput
from flowmaps.solvers._dop853 import Dop853
from flowmaps.solvers._dopri5 import Dopri5
from flowmaps.solvers._euler import Euler
from flowmaps.solvers._event import Event, Occurrences
from flowmaps.solvers._gradients import ContinuousAdjoint, DiscreteGradient, Gradient
from flowmaps.solvers._heun import Heun
from flowmaps.solvers._method import Method, Step, Stepper
from flowmaps.solvers._midpoint import Midpoint
from flowmaps.solvers._ralston import Ralston
from flowmaps.solvers._rk4 import RK4
from flowmaps.solvers._rodas5p import Rodas5P
from flowmaps.solvers._rosenbrock import Rosenbrock
from flowmaps.solvers._rosenbrock_tableau import RosenbrockTableau
from flowmaps.solvers._runge_kutta import ExplicitRungeKutta
from flowmaps.solvers._semi_implicit_euler import SemiImplicitEuler
from flowmaps.solvers._solution import Result, Solution, Statistics
from flowmaps.solvers._solve import solve
from flowmaps.solvers._ssprk3 import SSPRK3
from flowmaps.solvers._stormer_verlet import StormerVerlet
from flowmaps.solvers._symplectic import Symplectic
from flowmaps.solvers._tableau import ButcherTableau
from flowmaps.solvers._tolerances import Tolerance
from flowmaps.solvers._torchdiffeq import TorchDiffEq
from flowmaps.solvers._tsit5 import Tsit5
from flowmaps.solvers._yoshida4 import Yoshida4

__all__ = [
    "PI",
    "PID",
    "RK4",
    "SSPRK3",
    "Bosh3",
    "ButcherTableau",
    "ContinuousAdjoint",
    "Controller",
    "DenseOutput",
    "DiscreteGradient",
    "Dop853",
    "Dopri5",
    "Euler",
    "Event",
    "ExplicitRungeKutta",
    "Gradient",
    "Heun",
    "I",
    "Method",
    "Midpoint",
    "Occurrences",
    "Ralston",
    "Result",
    "SemiImplicitEuler",
    "Rodas5P",
    "Rosenbrock",
    "RosenbrockTableau",
    "Solution",
    "Statistics",
    "Step",
    "Stepper",
    "Tolerance",
    "StormerVerlet",
    "Symplectic",
    "TorchDiffEq",
    "Tsit5",
    "Yoshida4",
    "solve",
]
