"""Derivatives of flow maps and fields, in forward mode where nothing else is said.

Everything here works on any callable ``flow_map(s, t, x[, condition])`` or
``field(t, x[, condition])``, returns plain tensors with a leading batch axis, and is itself
differentiable in both modes.
"""

from flowmaps.calculus._density import probes, with_divergence
from flowmaps.calculus._differences import Differences
from flowmaps.calculus._dual import dual
from flowmaps.calculus._fields import divergence, field_jacobian, logarithmic_norm
from flowmaps.calculus._jvp import directional, jvp, start_derivative, time_derivative
from flowmaps.calculus._matrices import jacobian, log_det

__all__ = [
    "Differences",
    "directional",
    "divergence",
    "dual",
    "field_jacobian",
    "jacobian",
    "jvp",
    "log_det",
    "logarithmic_norm",
    "probes",
    "start_derivative",
    "time_derivative",
    "with_divergence",
]
