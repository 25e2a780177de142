"""Sets of states that can be sampled: where initial states lie, where a map is learned."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flowmaps._checks import as_count, as_numbers, brief, is_number
from flowmaps._typing import Count

__all__ = ["Ball", "Box", "Domain", "Points", "SubLevel"]

Rows = Float[Tensor, "n d"]
"""Points of a domain, one a row."""
Inside = Bool[Tensor, " n"]
"""One truth value for every point."""


class Domain(ABC):
    """A set of states in R^d with a law to draw from it.

    Draws are made in float64 on the generator's device and converted last, so that a seed gives the
    same points in every dtype and on every device. To add a domain, implement ``_draw`` and
    ``_contains``.

    Args:
        dim: number d of coordinates, at least 1; ValueError if it is less.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Interval(fm.domains.Domain):
        ...     def _draw(self, n, generator):
        ...         return torch.rand(n, 1, generator=generator, dtype=torch.float64)
        ...     def _contains(self, x):
        ...         return ((x >= 0) & (x <= 1)).all(1)
        >>> unit = Interval(dim=1)
        >>> bool(unit.contains(unit.sample(10)).all())
        True
    """

    def __init__(self, dim: int):
        if dim < 1:
            raise ValueError(f"a domain needs at least one coordinate, got dim = {dim}")
        self.dim = dim

    def sample(
        self,
        n: Count,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Rows:
        """Draw points of the domain.

        Args:
            n: how many.
            generator: source of randomness; torch's default one when None.
            dtype: of the result; torch's default when None.
            device: of the result; torch's default when None.

        Returns:
            Tensor (n, d).

        Raises:
            ValueError: if n is negative, or the domain cannot be drawn from.
            TypeError: if n is no integer or dtype is no floating-point one.

        Example:
            >>> import torch, flowmaps as fm
            >>> box = fm.domains.Box([0.0, -1.0], [1.0, 1.0])
            >>> box.sample(5, generator=torch.Generator().manual_seed(0)).shape
            torch.Size([5, 2])
        """
        count = as_count(n, "n", least=0)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if not dtype.is_floating_point:
            raise TypeError(f"states need a floating-point dtype, got {dtype}; use torch.float32")
        device = torch.get_default_device() if device is None else device
        return self._draw(count, generator).to(dtype=dtype, device=device)

    def contains(self, x: Rows) -> Inside:
        """Tell for each point whether it lies in the domain, its boundary included.

        Args:
            x: points (n, d). Bounds are rounded to x's dtype: samples are inside in every dtype.

        Returns:
            Tensor (n,) of truth values; a point with NaN is outside.

        Raises:
            TypeError: if x is no tensor.
            ValueError: if x has another shape.

        Example:
            >>> import torch, flowmaps as fm
            >>> fm.domains.Box(0.0, 1.0).contains(torch.tensor([[0.5], [2.0]])).tolist()
            [True, False]
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"points must be a tensor (n, {self.dim}), got {type(x).__name__}")
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"points must have shape (n, {self.dim}), got {tuple(x.shape)}")
        return self._contains(x)

    @abstractmethod
    def _draw(self, n: int, generator: torch.Generator | None) -> Rows:
        """Draw n points on the generator's device, in float64 unless the points are given data."""

    @abstractmethod
    def _contains(self, x: Rows) -> Inside:
        """Tell for each row of x, whose shape is right, whether it lies in the domain."""


def _device_of(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _random(
    law: Callable[..., Tensor], n: int, d: int, generator: torch.Generator | None
) -> Tensor:
    device = _device_of(generator)
    return law(n, d, generator=generator, dtype=torch.float64, device=device)


def _vector(value: float | Sequence[float] | Tensor, name: str) -> Tensor:
    vector = torch.atleast_1d(as_numbers(value, name)).cpu()
    if vector.ndim != 1 or not torch.isfinite(vector).all():
        raise ValueError(
            f"{name} must be a finite number or vector (d,), "
            f"got shape {tuple(vector.shape)} with values {brief(vector.tolist())}"
        )
    return vector.clone()


@final
class Box(Domain):
    """The box lower <= x <= upper, drawn from uniformly.

    Args:
        lower, upper: numbers, lists or tensors (d,); finite, lower < upper in every coordinate.

    Raises:
        TypeError: if a bound is no number, list or tensor.
        ValueError: if a bound is not finite, the lengths differ, or lower is not below upper.

    Example:
        >>> import flowmaps as fm
        >>> fm.domains.Box([-1.0, 0.0], [1.0, 2.0])
        Box([-1.0, 0.0], [1.0, 2.0])
    """

    def __init__(
        self, lower: float | Sequence[float] | Tensor, upper: float | Sequence[float] | Tensor
    ):
        self.lower, self.upper = _vector(lower, "lower"), _vector(upper, "upper")
        if self.lower.shape != self.upper.shape:
            raise ValueError(
                "lower and upper must have the same length, "
                f"got {len(self.lower)} and {len(self.upper)}"
            )
        bad = (self.lower >= self.upper).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                "lower must be below upper in every coordinate, "
                f"got lower = {self.lower.tolist()} and upper = {self.upper.tolist()}; "
                f"look at coordinates {bad}"
            )
        super().__init__(len(self.lower))

    def config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the box."""
        return {"lower": self.lower.tolist(), "upper": self.upper.tolist()}

    def _draw(self, n: int, generator: torch.Generator | None) -> Rows:
        uniform = _random(torch.rand, n, self.dim, generator)
        lower, upper = self.lower.to(uniform.device), self.upper.to(uniform.device)
        return torch.lerp(lower, upper, uniform)

    def _contains(self, x: Rows) -> Inside:
        return ((x >= self.lower.to(x)) & (x <= self.upper.to(x))).all(1)

    def __repr__(self) -> str:
        return f"Box({self.lower.tolist()}, {self.upper.tolist()})"


@final
class Ball(Domain):
    """The Euclidean ball |x - center| <= radius, drawn from uniformly.

    Args:
        center: number, list or tensor (d,).
        radius: positive number.

    Raises:
        TypeError: if the radius is no number, or the center no number, list or tensor.
        ValueError: if the center is not finite or the radius not positive.

    Example:
        >>> import torch, flowmaps as fm
        >>> ball = fm.domains.Ball([0.0, 0.0], 2.0)
        >>> bool(ball.contains(ball.sample(100)).all())
        True
    """

    def __init__(self, center: float | Sequence[float] | Tensor, radius: float):
        self.center = _vector(center, "center")
        if not is_number(radius):
            raise TypeError(f"radius must be a number, got {brief(radius)}")
        if not 0.0 < radius < float("inf"):
            raise ValueError(f"radius must be positive and finite, got {radius}")
        self.radius = float(radius)
        super().__init__(len(self.center))

    def config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the ball."""
        return {"center": self.center.tolist(), "radius": self.radius}

    def _draw(self, n: int, generator: torch.Generator | None) -> Rows:
        direction = torch.nn.functional.normalize(_random(torch.randn, n, self.dim, generator))
        distance = _random(torch.rand, n, 1, generator) ** (1 / self.dim) * self.radius
        return self.center.to(direction.device) + distance * direction

    def _contains(self, x: Rows) -> Inside:
        # Rounding the coordinates of a point on the sphere moves it by this much.
        size = self.center.abs().max().item() + self.radius
        slack = self.dim**0.5 * torch.finfo(x.dtype).eps * size
        offset = x.double() - self.center.to(x.device)
        return torch.linalg.vector_norm(offset, dim=1) <= self.radius + slack

    def __repr__(self) -> str:
        return f"Ball({self.center.tolist()}, {self.radius})"


@final
class SubLevel(Domain):
    """The part {x in box: function(x) <= level} of a box, drawn from uniformly by rejection.

    Args:
        function: takes points (n, d), returns (n,); of each point alone.
        level: the largest value allowed.
        box: encloses the set; the closer, the faster the sampling.

    Raises:
        ValueError: if level is not finite; when sampling, if hardly a draw (one in 10,000) is
            accepted.
        TypeError: if box is no Box, function not callable or level no number.

    Example:
        >>> import torch, flowmaps as fm
        >>> square = fm.domains.Box([-1.0, -1.0], [1.0, 1.0])
        >>> disc = fm.domains.SubLevel(lambda x: x.square().sum(1), 1.0, square)
        >>> bool(disc.sample(100).norm(dim=1).max() <= 1)
        True
    """

    def __init__(self, function: Callable[[Tensor], Tensor], level: float, box: Box):
        if not isinstance(box, Box):
            raise TypeError(f"box must be a flowmaps.domains.Box, got {type(box).__name__}")
        if not callable(function) or not is_number(level):
            raise TypeError(
                f"SubLevel needs a callable and a number, got {brief(function)} and {brief(level)}"
            )
        if not abs(level) < float("inf"):
            raise ValueError(f"level must be finite, got {level}")
        super().__init__(box.dim)
        self.function, self.level, self.box = function, float(level), box

    def _draw(self, n: int, generator: torch.Generator | None) -> Rows:
        accepted: list[Tensor] = []
        missing, tried = n, 0
        while missing > 0:
            # A fixed number of candidates at a time: the stream of points does not depend on n.
            candidates = self.box.sample(4096, generator, torch.float64, _device_of(generator))
            points = candidates[self._contains(candidates)]
            accepted.append(points)
            missing, tried = missing - len(points), tried + len(candidates)
            if tried > 40_000 and n - missing < tried / 10_000:
                raise ValueError(
                    f"only {n - missing} of {tried} draws from {self.box} have "
                    f"function(x) <= {self.level}; give a tighter box or a higher level"
                )
        empty = torch.empty(0, self.dim, dtype=torch.float64, device=_device_of(generator))
        return torch.cat([empty, *accepted])[:n]

    def _contains(self, x: Rows) -> Inside:
        values = self.function(x)
        if values.shape != x.shape[:1]:
            raise ValueError(
                f"function must return one value a point, shape ({len(x)},), "
                f"got {tuple(values.shape)}"
            )
        # A point drawn in float64 and rounded may lie outside by rounding: allow for it.
        slack = 8 * torch.finfo(x.dtype).eps * abs(self.level) if x.dtype != torch.float64 else 0.0
        return self.box.contains(x) & (values <= self.level + slack)

    def __repr__(self) -> str:
        named = getattr(self.function, "__qualname__", repr(self.function))
        return f"SubLevel({named}, {self.level}, {self.box})"


@final
class Points(Domain):
    """A finite set of states, drawn from with replacement and equal chances.

    Args:
        data: tensor (m, d), m at least 1; kept detached, as it is.
        radius: how far from the nearest of the points, in units of ``scale``, a state may lie and
            still be inside; 0 admits the points alone. Draws are always points of the data.
        scale: units of the coordinates for the radius, a number or (d,), positive; None for the
            data's standard deviation, and one where the data does not vary.

    Raises:
        TypeError: if data is no tensor, radius no number, or scale no number, list or tensor.
        ValueError: if data has another shape or values that are not finite, radius is negative, or
            scale has another shape or is not positive.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.domains.Points(torch.tensor([[1.0, 2.0]])).sample(3).tolist()
        [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
        >>> near = fm.domains.Points(torch.tensor([[0.0], [1.0]]), radius=0.2, scale=1.0)
        >>> near.contains(torch.tensor([[0.1], [0.5], [1.2]])).tolist()
        [True, False, True]
    """

    def __init__(
        self,
        data: Rows,
        radius: float = 0.0,
        scale: float | Sequence[float] | Tensor | None = None,
    ):
        if not isinstance(data, Tensor):
            raise TypeError(f"data must be a tensor (m, d), got {type(data).__name__}")
        if data.ndim != 2 or len(data) == 0 or not torch.isfinite(data).all():
            raise ValueError(
                f"data must be finite points (m, d) with m >= 1, got shape {tuple(data.shape)}; "
                "remove rows with NaN"
            )
        if not is_number(radius):
            raise TypeError(f"radius must be a number, got {brief(radius)}")
        if not 0.0 <= radius < float("inf"):
            raise ValueError(f"radius must be at least 0 and finite, got {radius}")
        super().__init__(data.shape[1])
        self.data, self.radius = data.detach().clone(), float(radius)
        self.scale = _units(self.data) if scale is None else self._checked(scale)
        self._tree = None if radius == 0 else self._planted()

    def _checked(self, scale: float | Sequence[float] | Tensor) -> Tensor:
        units = _vector(scale, "scale")
        if len(units) not in (1, self.dim) or not bool((units > 0).all()):
            raise ValueError(
                f"scale must be a positive number or {self.dim} of them, "
                f"got {brief(units.tolist())}"
            )
        return units.expand(self.dim).clone()

    def _planted(self) -> Any:
        from scipy.spatial import KDTree

        return KDTree((self.data.cpu().double() / self.scale).numpy())

    def _draw(self, n: int, generator: torch.Generator | None) -> Rows:
        device = _device_of(generator)
        rows = torch.randint(len(self.data), (n,), generator=generator, device=device)
        return self.data[rows.to(self.data.device)]

    def _contains(self, x: Rows) -> Inside:
        return self._among(x) if self._tree is None else self._near(x, self._tree)

    def _among(self, x: Rows) -> Inside:
        data = self.data.to(x)
        # One coordinate at a time: (n, m) truth values, not (n, m, d).
        same = torch.ones(len(x), len(data), dtype=torch.bool, device=x.device)
        for i in range(self.dim):
            same &= x[:, i, None] == data[:, i]
        return same.any(1)

    def _near(self, x: Rows, tree: Any) -> Inside:
        places = x.detach().cpu().double() / self.scale
        finite = torch.isfinite(places).all(1)
        # Rounding a point to x's dtype moves it by this much.
        size = torch.linalg.vector_norm(self.data.abs().amax(0).cpu().double() / self.scale).item()
        reach = self.radius + torch.finfo(x.dtype).eps * (size + self.radius)
        distance = tree.query(places[finite].numpy())[0]
        inside = torch.zeros(len(x), dtype=torch.bool, device="cpu")
        inside[finite] = torch.from_numpy(distance) <= reach
        return inside.to(x.device)

    def __repr__(self) -> str:
        near = f", radius {self.radius:.3g}" if self.radius else ""
        return f"Points({len(self.data)} points in {self.dim} dimensions{near})"


def _units(data: Rows) -> Tensor:
    """Return the coordinates' standard deviations over data (m, d), one where that is rounding."""
    wide = data.cpu().double()
    spread = wide.std(0, correction=0)
    return torch.where(spread > 1e-12 * wide.abs().amax(0), spread, 1.0)
