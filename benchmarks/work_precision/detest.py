"""The 25 non-stiff problems of DETEST, each from time 0 to 20: case (e).

Source:
    Hull, Enright, Fellen, Sedgwick (1972), Comparing numerical methods for ordinary differential
        equations, SIAM J. Numer. Anal. 9, 603-637.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from work_precision.case import Case, of_components

__all__ = ["detest"]

Formula = Callable[[Any, Any, Any, Any], Sequence[Any]]
END = 20.0


def _few(start: Sequence[float], formula: Formula) -> Case:
    """Return a problem of few components, which scipy is given in plain numbers."""
    x = torch.tensor([start], dtype=torch.float64)
    return Case(x, torch.zeros(1), END, of_components(formula), formula)


def _many(start: Sequence[float], field: Callable[[Any, Any], Any]) -> Case:
    """Return an autonomous problem written in arrays (..., n)."""
    x = torch.tensor([start], dtype=torch.float64)
    return Case(x, torch.zeros(1), END, lambda library, t, x, _: field(library, x))


def _unit(n: int) -> list[float]:
    return [1.0] + [0.0] * (n - 1)


def _class_a() -> dict[str, Case]:
    """Single equations."""
    return {
        "A1": _few([1.0], lambda m, t, y, _: [-y[0]]),
        "A2": _few([1.0], lambda m, t, y, _: [-(y[0] ** 3) / 2]),
        "A3": _few([1.0], lambda m, t, y, _: [y[0] * m.cos(t)]),
        "A4": _few([1.0], lambda m, t, y, _: [y[0] / 4 * (1 - y[0] / 20)]),
        "A5": _few([4.0], lambda m, t, y, _: [(y[0] - t) / (y[0] + t)]),
    }


def _class_b() -> dict[str, Case]:
    """Small systems: two populations, two chemical reactions, a torus, Euler's rigid body."""

    def torus(m: Any, t: Any, y: Any, _: Any) -> Sequence[Any]:
        a, b, c = y
        radius = m.sqrt(a**2 + b**2)
        return -b - a * c / radius, a - b * c / radius, a / radius

    return {
        "B1": _few(
            [1.0, 3.0],
            lambda m, t, y, _: [2 * (y[0] - y[0] * y[1]), -(y[1] - y[0] * y[1])],
        ),
        "B2": _few(
            [2.0, 0.0, 1.0],
            lambda m, t, y, _: [y[1] - y[0], y[0] - 2 * y[1] + y[2], y[1] - y[2]],
        ),
        "B3": _few([1.0, 0.0, 0.0], lambda m, t, y, _: [-y[0], y[0] - y[1] ** 2, y[1] ** 2]),
        "B4": _few([3.0, 0.0, 0.0], torus),
        "B5": _few(
            [0.0, 1.0, 1.0], lambda m, t, y, _: [y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]]
        ),
    }


def _class_c() -> dict[str, Case]:
    """Systems of 10 to 51 equations: two decay chains, heat in two rods, the outer planets."""

    def chain(m: Any, y: Any) -> Any:
        return m.concatenate([-y[..., :1], y[..., :-2] - y[..., 1:-1], y[..., -2:-1]], -1)

    def faster_chain(m: Any, y: Any) -> Any:
        rates = m.asarray([float(i) for i in range(1, 10)])
        lost = rates * y[..., :-1]
        return m.concatenate([-lost[..., :1], lost[..., :-1] - lost[..., 1:], lost[..., -1:]], -1)

    def heat(m: Any, y: Any) -> Any:
        nothing = 0 * y[..., :1]
        left = m.concatenate([nothing, y[..., :-1]], -1)
        right = m.concatenate([y[..., 1:], nothing], -1)
        return left - 2 * y + right

    return {
        "C1": _many(_unit(10), chain),
        "C2": _many(_unit(10), faster_chain),
        "C3": _many(_unit(10), heat),
        "C4": _many(_unit(51), heat),
        "C5": _many([*PLACES, *VELOCITIES], planets),
    }


GRAVITY, SUN = 2.95912208286, 1.00000597682
MASSES = [
    0.000954786104043, 0.000285583733151, 0.0000437273164546, 0.0000517759138449,
    0.00000277777777778,
]  # fmt: skip
PLACES = [
    3.42947415189, 3.35386959711, 1.35494901715, 6.64145542550, 5.97156957878, 2.18231499728,
    11.2630437207, 14.6952576794, 6.27960525067, -30.1552268759, 1.65699966404, 1.43785752721,
    -21.1238353380, 28.4465098142, 15.3882659679,
]  # fmt: skip
VELOCITIES = [
    -0.557160570446, 0.505696783289, 0.230578543901, -0.415570776342, 0.365682722812,
    0.169143213293, -0.325325669158, 0.189706021964, 0.0877265322780, -0.0240476254170,
    -0.287659532608, -0.117219543175, -0.176860753121, -0.216393453025, -0.0148647893090,
]  # fmt: skip
"""Jupiter, Saturn, Uranus, Neptune, Pluto; in astronomical units and hundreds of days."""


def planets(m: Any, y: Any) -> Any:
    """Return the field of five planets seen from the sun."""
    masses = m.asarray(MASSES)
    place = y[..., :15].reshape(*y.shape[:-1], 5, 3)
    own = ((place**2).sum(-1) ** -1.5)[..., None]
    apart = place[..., None, :, :] - place[..., :, None, :]  # [j, k]: from planet j to planet k
    square = (apart**2).sum(-1) + m.asarray([[float(j == k) for k in range(5)] for j in range(5)])
    pull = apart * (square**-1.5)[..., None] - (place * own)[..., None, :, :]
    pull = (masses[:, None] * pull).sum(-2) + masses[:, None] * place * own
    force = GRAVITY * (pull - (SUN + masses[:, None]) * place * own)
    return m.concatenate([y[..., 15:], force.reshape(*y.shape[:-1], 15)], -1)


def _class_d() -> dict[str, Case]:
    """Orbits of two bodies, of eccentricity 0.1 to 0.9."""

    def orbit(m: Any, t: Any, y: Any, _: Any) -> Sequence[Any]:
        cube = (y[0] ** 2 + y[1] ** 2) ** 1.5
        return y[2], y[3], -y[0] / cube, -y[1] / cube

    found = {}
    for i, eccentricity in enumerate((0.1, 0.3, 0.5, 0.7, 0.9), start=1):
        speed = math.sqrt((1 + eccentricity) / (1 - eccentricity))
        found[f"D{i}"] = _few([1 - eccentricity, 0.0, 0.0, speed], orbit)
    return found


def _class_e() -> dict[str, Case]:
    """Equations of second order: Bessel, Van der Pol, Duffing, a falling body, a pursuit."""

    def bessel(m: Any, t: Any, y: Any, _: Any) -> Sequence[Any]:
        return y[1], -(y[1] / (t + 1) + (1 - 0.25 / (t + 1) ** 2) * y[0])

    def duffing(m: Any, t: Any, y: Any, _: Any) -> Sequence[Any]:
        return y[1], y[0] ** 3 / 6 - y[0] + 2 * m.sin(2.78535 * t)

    return {
        "E1": _few([0.6713967071418030, 0.09540051444747446], bessel),
        "E2": _few([2.0, 0.0], lambda m, t, y, _: [y[1], (1 - y[0] ** 2) * y[1] - y[0]]),
        "E3": _few([0.0, 0.0], duffing),
        "E4": _few([30.0, 0.0], lambda m, t, y, _: [y[1], 0.032 - 0.4 * y[1] ** 2]),
        "E5": _few([0.0, 0.0], lambda m, t, y, _: [y[1], m.sqrt(1 + y[1] ** 2) / (25 - t)]),
    }


def detest() -> dict[str, Case]:
    """Return the problems by name."""
    return {**_class_a(), **_class_b(), **_class_c(), **_class_d(), **_class_e()}
