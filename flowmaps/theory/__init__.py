"""Exact mathematics behind the library: rooted trees and the order conditions of solvers.

Nothing here rounds: coefficients are read as the rationals that they stand for, so that "order p"
is proven rather than observed. Imported by tests, documentation and the command line alone.
"""

from flowmaps.theory._b_series import local_error_coefficients, stability_polynomial
from flowmaps.theory._continuous import continuous_order_of, continuous_order_residuals
from flowmaps.theory._exact import exact_number, is_explicit
from flowmaps.theory._order_conditions import (
    elementary_weights,
    is_first_same_as_last,
    order_of,
    order_residuals,
    row_sum_residuals,
)
from flowmaps.theory._rooted_trees import RootedTree, rooted_trees
from flowmaps.theory._rosenbrock import (
    rosenbrock_dense_residuals,
    rosenbrock_order_of,
    rosenbrock_order_residuals,
    rosenbrock_stability,
)

__all__ = [
    "RootedTree",
    "continuous_order_of",
    "continuous_order_residuals",
    "elementary_weights",
    "exact_number",
    "is_explicit",
    "is_first_same_as_last",
    "local_error_coefficients",
    "order_of",
    "order_residuals",
    "rooted_trees",
    "rosenbrock_dense_residuals",
    "rosenbrock_order_of",
    "rosenbrock_order_residuals",
    "rosenbrock_stability",
    "row_sum_residuals",
    "stability_polynomial",
]
