"""Butcher tableaux of explicit Runge-Kutta methods, with what follows from the coefficients."""

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["ButcherTableau", "FloatTableau"]

Numbers = tuple[Fraction, ...]


@dataclass(frozen=True)
class ButcherTableau:
    """Coefficients of an explicit Runge-Kutta method, exact as published.

    Args:
        c: nodes, one for each stage.
        a: rows of the strictly lower triangle: row i has i entries.
        b: weights of the solution.
        b_error: weights of the error estimate (b minus the embedded weights), or None.
        b_dense: polynomials b_i(theta) without constant term, entry [i][k] multiplying theta^(k+1),
            or None.

    All entries are Fractions; decimal coefficients are the Fractions of their printed digits.

    Raises:
        ValueError: if the shapes disagree or the method is not explicit.

    Example:
        >>> import flowmaps as fm
        >>> heun = fm.solvers.ButcherTableau.parse(c="0 1", a=["", "1"], b="1/2 1/2")
        >>> heun.stages, heun.first_same_as_last
        (2, False)
    """

    c: Numbers
    a: tuple[Numbers, ...]
    b: Numbers
    b_error: Numbers | None = None
    b_dense: tuple[Numbers, ...] | None = None

    def __post_init__(self) -> None:
        stages = len(self.c)
        if [len(row) for row in self.a] != list(range(stages)):
            raise ValueError(
                f"an explicit tableau of {stages} stages needs rows of 0, 1, ..., {stages - 1} "
                f"entries, got {[len(row) for row in self.a]}"
            )
        for name, weights in (("b", self.b), ("b_error", self.b_error), ("b_dense", self.b_dense)):
            if weights is not None and len(weights) != stages:
                raise ValueError(f"{name} needs {stages} entries, one a stage, got {len(weights)}")

    @classmethod
    def parse(
        cls,
        c: str,
        a: list[str],
        b: str,
        b_error: str | None = None,
        b_dense: list[str] | None = None,
    ) -> "ButcherTableau":
        """Read a tableau from text: fractions or decimals between blanks, one string a row."""
        return cls(
            _numbers(c),
            tuple(_numbers(row) for row in a),
            _numbers(b),
            None if b_error is None else _numbers(b_error),
            None if b_dense is None else tuple(_numbers(row) for row in b_dense),
        )

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.c)

    @property
    def first_same_as_last(self) -> bool:
        """Whether the last stage is the field at the new state, to be reused by the next step."""
        return self.stages > 1 and self.c[-1] == 1 and self.b[-1] == 0 and self.a[-1] == self.b[:-1]

    @property
    def floats(self) -> "FloatTableau":
        """The same coefficients as floats, for computing."""
        return FloatTableau(
            _floats(self.c),
            tuple(_floats(row) for row in self.a),
            _floats(self.b),
            None if self.b_error is None else _floats(self.b_error),
            None if self.b_dense is None else tuple(_floats(row) for row in self.b_dense),
        )


@dataclass(frozen=True)
class FloatTableau:
    """A tableau rounded to floats; fields as in ButcherTableau."""

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_error: tuple[float, ...] | None
    b_dense: tuple[tuple[float, ...], ...] | None


def _numbers(text: str) -> Numbers:
    return tuple(Fraction(word) for word in text.split())


def _floats(numbers: Numbers) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)
