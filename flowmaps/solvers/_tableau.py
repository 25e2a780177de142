"""Butcher tableaux of explicit Runge-Kutta methods, with what follows from the coefficients."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["ButcherTableau", "FloatTableau"]

Numbers = tuple[Fraction, ...]

_ROUNDING = Fraction(1, 10**12)
"""What the printed digits of a published row may add up to."""


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
        b_coarse_error: weights of a second error estimate, of lower order, or None.
        c_dense, a_dense: nodes and rows of further stages that ``b_dense`` alone weighs. They
            follow the stages and the field at the new state, so that the first row has
            ``stages + 1`` entries.

    All entries are Fractions; decimal coefficients are the Fractions of their printed digits.

    Raises:
        ValueError: if the shapes disagree, the method is not explicit, or a node is not the sum of
            its row, without which a method loses its order where the field depends on time.

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
    b_coarse_error: Numbers | None = None
    c_dense: Numbers = ()
    a_dense: tuple[Numbers, ...] = ()

    def __post_init__(self) -> None:
        stages = len(self.c)
        if [len(row) for row in self.a] != list(range(stages)):
            raise ValueError(
                f"an explicit tableau of {stages} stages needs rows of 0, 1, ..., {stages - 1} "
                f"entries, got {[len(row) for row in self.a]}"
            )
        further = [stages + 1 + i for i in range(len(self.c_dense))]
        if [len(row) for row in self.a_dense] != further:
            raise ValueError(
                f"{len(further)} nodes in c_dense need rows of {further} entries in a_dense, "
                f"got {[len(row) for row in self.a_dense]}"
            )
        for name, weights, needed in (
            ("b", self.b, stages),
            ("b_error", self.b_error, stages),
            ("b_coarse_error", self.b_coarse_error, stages),
            ("b_dense", self.b_dense, len(self.rows_of_dense)),
        ):
            if weights is not None and len(weights) != needed:
                raise ValueError(f"{name} needs {needed} entries, one a stage, got {len(weights)}")
        nodes = zip((*self.c, *self.c_dense), (*self.a, *self.a_dense), strict=True)
        for i, (node, row) in enumerate(nodes):
            if abs(node - sum(row)) > _ROUNDING:
                raise ValueError(
                    f"node {i} is {float(node):.6g}, but its row of the matrix sums to "
                    f"{float(sum(row)):.6g}; correct the node or the row"
                )

    @classmethod
    def parse(
        cls,
        c: str,
        a: list[str],
        b: str,
        b_error: str | None = None,
        b_dense: list[str] | None = None,
        b_coarse_error: str | None = None,
        c_dense: str = "",
        a_dense: Sequence[str] = (),
    ) -> "ButcherTableau":
        """Read a tableau from text: fractions or decimals between blanks, one string a row."""
        return cls(
            _numbers(c),
            tuple(_numbers(row) for row in a),
            _numbers(b),
            None if b_error is None else _numbers(b_error),
            None if b_dense is None else tuple(_numbers(row) for row in b_dense),
            None if b_coarse_error is None else _numbers(b_coarse_error),
            _numbers(c_dense),
            tuple(_numbers(row) for row in a_dense),
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
    def rows_of_dense(self) -> tuple[Numbers, ...]:
        """The matrix of all stages that ``b_dense`` weighs, one row a stage."""
        return (*self.a, self.b, *self.a_dense) if self.a_dense else self.a

    @property
    def floats(self) -> "FloatTableau":
        """The same coefficients as floats, for computing."""
        return FloatTableau(
            _floats(self.c),
            tuple(_floats(row) for row in self.a),
            _floats(self.b),
            None if self.b_error is None else _floats(self.b_error),
            None if self.b_dense is None else tuple(_floats(row) for row in self.b_dense),
            None if self.b_coarse_error is None else _floats(self.b_coarse_error),
            _floats(self.c_dense),
            tuple(_floats(row) for row in self.a_dense),
        )


@dataclass(frozen=True)
class FloatTableau:
    """A tableau rounded to floats; fields as in ButcherTableau."""

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_error: tuple[float, ...] | None
    b_dense: tuple[tuple[float, ...], ...] | None
    b_coarse_error: tuple[float, ...] | None
    c_dense: tuple[float, ...]
    a_dense: tuple[tuple[float, ...], ...]


def _numbers(text: str) -> Numbers:
    return tuple(Fraction(word) for word in text.split())


def _floats(numbers: Numbers) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)
