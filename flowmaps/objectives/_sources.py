"""Where draws come from: pairs of base and data samples, or a domain of states."""

from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import brief, check_condition, check_state
from flowmaps._typing import Condition
from flowmaps.interpolants import Coupling, Given, Independent

__all__ = ["Domain", "Pairs", "drawn_rows", "rows_of"]


@final
class Pairs:
    """Data samples, each with a base sample by a coupling.

    Args:
        x0: base samples (n0, *event); None draws standard normal noise anew for every batch.
        x1: data samples (n, *event).
        condition: tensor or pytree with n rows, drawn together with x1.
        coupling: which x0 meets which x1, such as ``fm.interpolants.Independent()``, for which n0
            may differ from n; None for row by row, and for noise independent of the data if x0 is
            None.

    Raises:
        TypeError: if x0 or x1 is no tensor of states, or the coupling no Coupling.
        ValueError: if there are no samples, the coupling does not fit x0 and x1, or condition has
            not n rows.

    Example:
        >>> import torch, flowmaps as fm
        >>> data = fm.objectives.Pairs(None, torch.ones(10, 2), condition=torch.arange(10))
        >>> x0, x1, label = data.sample(4, torch.Generator().manual_seed(0))
        >>> x0.shape, x1.shape, label.shape
        (torch.Size([4, 2]), torch.Size([4, 2]), torch.Size([4]))
        >>> free = fm.interpolants.Independent()
        >>> unpaired = fm.objectives.Pairs(torch.zeros(3, 2), torch.ones(10, 2), coupling=free)
        >>> len(unpaired.sample()[0])
        10
    """

    def __init__(
        self,
        x0: Tensor | None,
        x1: Tensor,
        condition: Condition = None,
        coupling: Coupling | None = None,
    ):
        check_state(x1, "x1")
        if len(x1) == 0:
            raise ValueError("x1 holds no samples; give at least one row")
        if x0 is not None:
            check_state(x0, "x0")
        if coupling is None:
            coupling = Independent() if x0 is None else Given()
        elif not isinstance(coupling, Coupling):
            raise TypeError(
                "coupling must be an fm.interpolants.Coupling such as Independent(), "
                f"got {brief(coupling)}"
            )
        coupling.check(x0, x1)
        self.x0, self.x1, self.coupling = x0, x1, coupling
        self.condition = check_condition(condition, x1)

    def __len__(self) -> int:
        """Return the number of data samples."""
        return len(self.x1)

    def sample(
        self, batch: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Condition]:
        """Return x0, x1 (batch, *event) and their condition, rows of x1 drawn with replacement.

        Args:
            batch: number of rows; None takes every row of x1 once, in order.
            generator: a CPU generator, so that a draw is the same on every device.
        """
        rows = drawn_rows(len(self), batch, generator)
        x0 = self.coupling.draw(self.x0, self.x1, rows, generator)
        return x0, self.x1[rows.to(self.x1.device)], rows_of(self.condition, rows)


@final
class Domain:
    """States of a set, over an interval of time; for objectives that know the field.

    Args:
        domain: the set: any object with ``.sample(n, generator=, dtype=) -> (n, *event)``, such as
            ``fm.domains.Box``.
        times: lower and upper end of the interval of time.
        condition: None, or a set of conditions with ``.sample`` like the domain's.
        dtype: of the states; None for torch's default.

    Raises:
        TypeError: if the domain or condition cannot be sampled.
        ValueError: if times are not finite and increasing.

    Example:
        >>> import torch, flowmaps as fm
        >>> box = fm.domains.Box([-1.0, -1.0], [1.0, 1.0])
        >>> points, condition = fm.objectives.Domain(box, (0.0, 2.0)).sample(5)
        >>> points.shape, condition is None
        (torch.Size([5, 2]), True)
    """

    def __init__(
        self,
        domain: Any,
        times: tuple[float, float],
        condition: Any = None,
        dtype: torch.dtype | None = None,
    ):
        for name, value in (("domain", domain), ("condition", condition)):
            absent = name == "condition" and value is None
            if not absent and not callable(getattr(value, "sample", None)):
                raise TypeError(
                    f"{name} must have .sample(n, generator=, dtype=), got {type(value).__name__}; "
                    "use for example fm.domains.Box"
                )
        lower, upper = (float(time) for time in times)
        if not -float("inf") < lower < upper < float("inf"):
            raise ValueError(f"times must be finite with times[0] < times[1], got {(lower, upper)}")
        self.domain, self.condition, self.dtype = domain, condition, dtype
        self.times = (lower, upper)

    def sample(
        self, batch: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Condition]:
        """Return points (batch, *event) and their condition, on the CPU.

        Args:
            batch: number of points.
            generator: a CPU generator.

        Raises:
            ValueError: if batch is None: a set has no number of points of its own.
        """
        if batch is None:
            raise ValueError("a Domain has no number of points of its own; give batch=")
        dtype = self.dtype or torch.get_default_dtype()
        with torch.device("cpu"):  # where the generator is, whatever torch's default
            points = self.domain.sample(batch, generator=generator, dtype=dtype)
            if self.condition is None:
                return points, None
            return points, self.condition.sample(batch, generator=generator, dtype=dtype)


def drawn_rows(n: int, batch: int | None, generator: torch.Generator | None) -> Tensor:
    """Return rows of n drawn with replacement, (batch,), or each once, in order; on the CPU."""
    if batch is None:
        return torch.arange(n, device="cpu")
    return torch.randint(n, (batch,), generator=generator, device="cpu")


def rows_of(condition: Condition, rows: Tensor) -> Condition:
    """Return these rows of every leaf of a condition."""
    return pytree.tree_map(
        lambda leaf: None if leaf is None else leaf[rows.to(leaf.device)], condition
    )
