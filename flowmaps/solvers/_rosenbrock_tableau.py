"""Coefficients of Rosenbrock methods, with what follows from them."""

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["FloatRosenbrockTableau", "RosenbrockTableau"]

Numbers = tuple[Fraction, ...]
Rows = tuple[Numbers, ...]


@dataclass(frozen=True)
class RosenbrockTableau:
    """Coefficients of a Rosenbrock method in the form that needs no product with the Jacobian.

    Stage i solves (1/(gamma h) - J) u_i = b(t + nodes_i h, x + sum_j a_ij u_j) + sum_j c_ij u_j / h
    + gammas_i h db/dt, and the step ends at x + sum_j m_j u_j.

    Args:
        gamma: the one diagonal entry.
        nodes: times of the stages, in steps.
        gammas: what multiplies h db/dt in each stage.
        a, c: rows of the strictly lower triangle: row i has i entries.
        m: weights of the solution.
        m_error: weights of the error estimate (m minus the embedded weights), or None.
        m_dense: polynomials m_i(theta) without constant term, entry [i][k] multiplying theta^(k+1),
            or None.

    All entries are Fractions; decimal coefficients are the Fractions of their printed digits.

    Raises:
        ValueError: if the shapes disagree or gamma is not positive.

    Source:
        Hairer, Wanner (1996), Solving ODEs II, section IV.7, equations 7.24 and 7.25.

    Example:
        >>> import flowmaps as fm
        >>> euler = fm.solvers.RosenbrockTableau.parse("1", "0", "1", a=[""], c=[""], m="1")
        >>> euler.stages, euler.weights(euler.m)
        (1, (Fraction(1, 1),))
    """

    gamma: Fraction
    nodes: Numbers
    gammas: Numbers
    a: Rows
    c: Rows
    m: Numbers
    m_error: Numbers | None = None
    m_dense: Rows | None = None

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise ValueError(f"gamma must be positive, got {self.gamma}")
        stages = len(self.nodes)
        for name, rows in (("a", self.a), ("c", self.c)):
            if [len(row) for row in rows] != list(range(stages)):
                raise ValueError(
                    f"{name} of {stages} stages needs rows of 0, 1, ..., {stages - 1} entries, "
                    f"got {[len(row) for row in rows]}"
                )
        for name in ("gammas", "m", "m_error", "m_dense"):
            weights = getattr(self, name)
            if weights is not None and len(weights) != stages:
                raise ValueError(f"{name} needs {stages} entries, one a stage, got {len(weights)}")

    @classmethod
    def parse(
        cls,
        gamma: str,
        nodes: str,
        gammas: str,
        a: list[str],
        c: list[str],
        m: str,
        m_error: str | None = None,
        m_dense: list[str] | None = None,
    ) -> "RosenbrockTableau":
        """Read a tableau from text: fractions or decimals between blanks, one string a row."""
        return cls(
            Fraction(gamma),
            _numbers(nodes),
            _numbers(gammas),
            tuple(_numbers(row) for row in a),
            tuple(_numbers(row) for row in c),
            _numbers(m),
            None if m_error is None else _numbers(m_error),
            None if m_dense is None else tuple(_numbers(row) for row in m_dense),
        )

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.nodes)

    @property
    def gamma_matrix(self) -> Rows:
        """gamma_ij of the classical form, diagonal included: the inverse of 1/gamma - c."""
        rows: list[Numbers] = []
        for i, row in enumerate(self.c):
            sums = _product(row, rows, self.stages)
            rows.append(tuple(self.gamma * (sums[j] + (i == j)) for j in range(self.stages)))
        return tuple(rows)

    @property
    def alpha_matrix(self) -> Rows:
        """alpha_ij of the classical form: a times gamma_ij."""
        return tuple(self.weights(row) for row in self.a)

    def weights(self, m: Numbers) -> Numbers:
        """Return weights b of the classical form for weights m of this one."""
        return _product(m, self.gamma_matrix, self.stages)

    @property
    def floats(self) -> "FloatRosenbrockTableau":
        """The same as floats, for computing with v = u / (gamma h): see FloatRosenbrockTableau."""
        return FloatRosenbrockTableau(
            float(self.gamma),
            self._scaled(self.nodes, Fraction(1)),
            self._scaled(self.gammas, Fraction(1)),
            tuple(self._scaled(row) for row in self.a),
            tuple(self._scaled(row) for row in self.c),
            self._scaled(self.m),
            None if self.m_error is None else self._scaled(self.m_error),
            None if self.m_dense is None else tuple(map(self._scaled, self.m_dense)),
        )

    def _scaled(self, numbers: Numbers, factor: Fraction | None = None) -> tuple[float, ...]:
        factor = self.gamma if factor is None else factor
        return tuple(float(factor * number) for number in numbers)


@dataclass(frozen=True)
class FloatRosenbrockTableau:
    """A tableau rounded to floats, with a, c, m, m_error and m_dense multiplied by gamma.

    So that stages v_i that are slopes, (1 - gamma h J) v_i = b(...) + sum_j c_ij v_j + gammas_i h
    db/dt, give the end x + h sum_j m_j v_j with nothing divided by h.
    """

    gamma: float
    nodes: tuple[float, ...]
    gammas: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    c: tuple[tuple[float, ...], ...]
    m: tuple[float, ...]
    m_error: tuple[float, ...] | None
    m_dense: tuple[tuple[float, ...], ...] | None


def _numbers(text: str) -> Numbers:
    return tuple(Fraction(word) for word in text.split())


def _product(weights: Numbers, rows: Rows | list[Numbers], width: int) -> Numbers:
    """Return sum_k weights_k rows_k over the first rows, as many as there are weights."""
    used = list(zip(weights, rows, strict=False))
    return tuple(sum((w * row[j] for w, row in used), Fraction(0)) for j in range(width))
