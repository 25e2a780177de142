"""A metric of paths: the weighted sum of a metric at each time."""

from collections.abc import Sequence
from math import inf
from typing import final

from torch import Tensor

from flowmaps._checks import as_numbers
from flowmaps.objectives._metrics import Metric, Square, check_metric

__all__ = ["OverTimes"]


@final
class OverTimes(Metric):
    """sum_i w_i d(r_i): a metric d at each of a path's times, for the principle ``whole_path``.

    Args:
        metric: d, such as ``PseudoHuber(c)`` or ``Between(distance)``; None for ``Squared()``.
        weights: w_i, one a time, not negative; None for 1 / n each, the mean.

    Raises:
        TypeError: for what is no metric, or weights that are no numbers.
        ValueError: for weights that are negative, not finite or all zero; at a call, for another
            number of times.

    Example:
        >>> import torch, flowmaps as fm
        >>> metric = fm.objectives.OverTimes(weights=[1.0, 10.0])
        >>> path = torch.tensor([[[1.0], [2.0]]])  # the residuals of one row, at two times
        >>> metric(path, lambda r: r.square().sum(1)).tolist()
        [41.0]
    """

    def __init__(
        self, metric: Metric | None = None, weights: Sequence[float] | Tensor | None = None
    ):
        self.metric = check_metric(metric)
        self.weights = None if weights is None else _as_weights(weights)
        self.robust, self.compares = self.metric.robust, self.metric.compares

    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Return the sum over times (rows,) of residuals (rows, n, *event); see Metric."""
        return self._summed(self.metric(residual.flatten(0, 1), square), residual)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the sum over times (rows,) of the distances of states (rows, n, *event).

        Raises:
            TypeError: if the metric at each time does not compare states.
        """
        compare = getattr(self.metric, "compare", None)
        if compare is None:
            raise TypeError(f"{type(self.metric).__name__} is a function of a difference of states")
        return self._summed(compare(a.flatten(0, 1), b.flatten(0, 1)), a)

    def _summed(self, values: Tensor, path: Tensor) -> Tensor:
        values = values.reshape(path.shape[:2])
        if self.weights is None:
            return values.mean(1)
        if len(self.weights) != values.shape[1]:
            raise ValueError(
                f"weights must be one for each of the {values.shape[1]} times of a path, "
                f"got {len(self.weights)}"
            )
        # numbers, not a tensor: none is to be copied to the device while a step is recorded
        return sum(w * value for w, value in zip(self.weights, values.unbind(1), strict=True))  # type: ignore[return-value]


def _as_weights(weights: Sequence[float] | Tensor) -> tuple[float, ...]:
    """Return weights as floats; raise for what are none."""
    numbers = as_numbers(weights, "weights")
    fine = numbers.ndim == 1 and bool(((numbers >= 0) & (numbers < inf)).all())
    if not fine or not bool((numbers > 0).any()):
        raise ValueError(
            "weights must be a list of finite numbers, one a time, none negative and not all zero, "
            f"got {numbers.tolist()}"
        )
    return tuple(numbers.tolist())
