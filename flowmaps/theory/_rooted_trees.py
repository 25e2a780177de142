"""Rooted trees: the index set of elementary differentials, order conditions and B-series.

Notation and definitions follow J. C. Butcher, Numerical Methods for Ordinary Differential
Equations (3rd ed., 2016), chapter 3, and E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary
Differential Equations I (2nd ed., 1993), section II.2. Trees are unlabelled: two trees that differ
in the order of their branches are the same tree.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations_with_replacement
from typing import Any


@dataclass(frozen=True, repr=False)
class RootedTree:
    """An unlabelled rooted tree `[child_1, ..., child_m]`: a root and its branches.

    The branches are sorted when the tree is made, so that equal trees compare equal and hash alike.
    `RootedTree()` is the single vertex, written `tau`.

    Args:
        children: the trees that remain when the root is taken away, in any order.

    Raises:
        TypeError: if children is not a tuple of rooted trees.

    Source: Butcher (2016), chapter 3; Hairer, Norsett, Wanner (1993), section II.2.

    Example:
        >>> tau = RootedTree()
        >>> tree = RootedTree((RootedTree((tau,)), tau, tau))
        >>> print(tree, tree.order, tree.symmetry, tree.density, tree.labellings)
        [tau^2, [tau]] 5 2 10 6
        >>> tree == RootedTree((tau, RootedTree((tau,)), tau))
        True
    """

    children: tuple[RootedTree, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.children, tuple):
            kind = type(self.children).__name__
            raise TypeError(f"got children of type {kind}, expected a tuple; see RootedTree")
        for child in self.children:
            if not isinstance(child, RootedTree):
                raise TypeError(f"got the child {child!r}, expected a RootedTree")
        branches = sorted(self.children, key=lambda child: child._key)
        object.__setattr__(self, "children", tuple(branches))

    @cached_property
    def _key(self) -> tuple[int, tuple[Any, ...]]:
        """Sorting key: small trees first, then branch by branch."""
        return self.order, tuple(child._key for child in self.children)

    @cached_property
    def order(self) -> int:
        """The number of vertices, |tau| in Butcher, rho(tau) in Hairer, Norsett, Wanner."""
        return 1 + sum(child.order for child in self.children)

    @cached_property
    def symmetry(self) -> int:
        """The number of automorphisms: sigma(tau) = prod m! sigma(child)^m, distinct children."""
        counts = Counter(self.children).items()
        return math.prod(math.factorial(m) * child.symmetry**m for child, m in counts)

    @cached_property
    def density(self) -> int:
        """The density (or factorial) of the tree: gamma(tau) = |tau| prod gamma(child)."""
        return self.order * math.prod(child.density for child in self.children)

    @cached_property
    def labellings(self) -> int:
        """The number of monotonic labellings: alpha(tau) = |tau|! / (sigma(tau) gamma(tau))."""
        return math.factorial(self.order) // (self.symmetry * self.density)

    def __str__(self) -> str:
        if not self.children:
            return "tau"
        counts = Counter(self.children).items()
        return "[" + ", ".join(f"{child}^{m}" if m > 1 else str(child) for child, m in counts) + "]"

    def __repr__(self) -> str:
        return f"<RootedTree {self}>"


def rooted_trees(order: int) -> tuple[RootedTree, ...]:
    """All rooted trees with a given number of vertices, each once, in a fixed sequence.

    Args:
        order: number of vertices, at least 1. There are 1, 1, 2, 4, 9, 20, 48, 115 trees of orders
            1 to 8 (sequence A000081 of the OEIS).

    Returns:
        The trees of that order: a root and every multiset of smaller trees.

    Raises:
        TypeError: if order is not a whole number.
        ValueError: if order is below 1.

    Source: Butcher (2016), chapter 3; Hairer, Norsett, Wanner (1993), section II.2, table 2.1.

    Example:
        >>> [str(tree) for tree in rooted_trees(4)]
        ['[tau^3]', '[tau, [tau]]', '[[tau^2]]', '[[[tau]]]']
    """
    if isinstance(order, bool) or not isinstance(order, int):
        raise TypeError(f"got order {order!r}, expected a whole number; pass an int of at least 1")
    if order < 1:
        raise ValueError(f"got order {order}, expected at least 1; the empty tree is not listed")
    return _trees(order)


@cache
def _trees(order: int) -> tuple[RootedTree, ...]:
    return tuple(RootedTree(branches) for branches in _forests(order - 1, order - 1))


@cache
def _forests(vertices: int, largest: int) -> tuple[tuple[RootedTree, ...], ...]:
    """Multisets of trees with `vertices` vertices in all and at most `largest` in each."""
    if vertices == 0:
        return ((),)
    if largest == 0:
        return ()
    found = list(_forests(vertices, largest - 1))
    for count in range(1, vertices // largest + 1):
        for rest in _forests(vertices - count * largest, largest - 1):
            chosen = combinations_with_replacement(_trees(largest), count)
            found.extend(rest + branches for branches in chosen)
    return tuple(found)
