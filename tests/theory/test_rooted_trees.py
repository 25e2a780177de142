"""Rooted trees against published counts, hand tables and brute force over labelled trees."""

import math
from collections import Counter
from itertools import permutations, product

import pytest

from flowmaps.theory import RootedTree, rooted_trees

TAU = RootedTree()
CHERRY = RootedTree((TAU, TAU))
PATH = RootedTree((RootedTree((TAU,)),))

# Butcher (2016) and Hairer, Norsett, Wanner (1993), section II.2: order, sigma, gamma, alpha.
HAND = {
    "tau": (1, 1, 1, 1),
    "[tau]": (2, 1, 2, 1),
    "[tau^2]": (3, 2, 3, 1),
    "[[tau]]": (3, 1, 6, 1),
    "[tau^3]": (4, 6, 4, 1),
    "[tau, [tau]]": (4, 1, 8, 3),
    "[[tau^2]]": (4, 2, 12, 1),
    "[[[tau]]]": (4, 1, 24, 1),
}


def parents(order: int) -> list[tuple[int, ...]]:
    """Every monotonically labelled tree: vertex k > 0 hangs on an earlier one."""
    return list(product(*[range(vertex) for vertex in range(1, order)]))


def shape(above: tuple[int, ...]) -> RootedTree:
    """The unlabelled tree of a labelled one."""
    branches: list[list[RootedTree]] = [[] for _ in range(len(above) + 1)]
    for vertex in range(len(above), 0, -1):
        branches[above[vertex - 1]].append(RootedTree(tuple(branches[vertex])))
    return RootedTree(tuple(branches[0]))


def automorphisms(above: tuple[int, ...]) -> int:
    """Number of relabellings that keep the root and every edge."""
    edges = {(vertex, parent) for vertex, parent in enumerate(above, start=1)}
    labels = range(1, len(above) + 1)
    moves = ((0, *order) for order in permutations(labels))
    return sum({(move[v], move[p]) for v, p in edges} == edges for move in moves)


def subtree_sizes(above: tuple[int, ...]) -> list[int]:
    sizes = [1] * (len(above) + 1)
    for vertex in range(len(above), 0, -1):
        sizes[above[vertex - 1]] += sizes[vertex]
    return sizes


def test_counts_agree_with_the_published_sequence() -> None:
    published = [1, 1, 2, 4, 9, 20, 48, 115, 286, 719, 1842]  # OEIS A000081
    assert [len(rooted_trees(order)) for order in range(1, 12)] == published


@pytest.mark.parametrize("order", range(1, 9))
def test_every_tree_is_listed_once_with_its_order(order: int) -> None:
    trees = rooted_trees(order)
    assert len(set(trees)) == len(trees)
    assert {tree.order for tree in trees} == {order}


@pytest.mark.parametrize("order", range(1, 11))
def test_labellings_sum_to_a_factorial(order: int) -> None:
    # A monotonic labelling hangs vertex k on one of the k - 1 earlier ones.
    assert sum(tree.labellings for tree in rooted_trees(order)) == math.factorial(order - 1)


@pytest.mark.parametrize("order", range(1, 10))
def test_labelled_trees_with_a_root_number_n_to_the_n_minus_1(order: int) -> None:
    # Cayley: n! / sigma labellings of each shape, n^(n-1) rooted labelled trees in all.
    total = sum(math.factorial(order) // tree.symmetry for tree in rooted_trees(order))
    assert total == order ** (order - 1)


def test_functions_of_small_trees_agree_with_the_books() -> None:
    trees = [tree for order in range(1, 5) for tree in rooted_trees(order)]
    found = {str(t): (t.order, t.symmetry, t.density, t.labellings) for t in trees}
    assert found == HAND


@pytest.mark.parametrize("order", range(1, 8))
def test_labellings_agree_with_a_count_of_labelled_trees(order: int) -> None:
    counted = Counter(shape(above) for above in parents(order))
    assert counted == {tree: tree.labellings for tree in rooted_trees(order)}


@pytest.mark.parametrize("order", range(1, 6))
def test_symmetry_and_density_agree_with_brute_force(order: int) -> None:
    for above in parents(order):
        tree = shape(above)
        assert tree.symmetry == automorphisms(above)
        assert tree.density == math.prod(subtree_sizes(above))


def test_the_order_of_branches_does_not_matter() -> None:
    branches = (CHERRY, TAU, PATH, TAU)
    trees = {RootedTree(order) for order in permutations(branches)}
    assert len(trees) == 1
    assert str(trees.pop()) == "[tau^2, [tau^2], [[tau]]]"


def test_trees_of_one_order_differ_though_their_numbers_agree() -> None:
    by_numbers = Counter((t.symmetry, t.density) for t in rooted_trees(6))
    assert max(by_numbers.values()) > 1  # sigma and gamma do not tell all trees apart,
    assert len({str(t) for t in rooted_trees(6)}) == 20  # the notation does


def test_printed_forms() -> None:
    assert str(RootedTree((CHERRY, CHERRY))) == "[[tau^2]^2]"
    assert repr(CHERRY) == "<RootedTree [tau^2]>"


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        (0, ValueError, "got order 0, expected at least 1"),
        (-3, ValueError, "expected at least 1"),
        (2.0, TypeError, "expected a whole number"),
        (True, TypeError, "expected a whole number"),
        ("4", TypeError, "expected a whole number"),
    ],
)
def test_bad_orders_are_refused(order: object, error: type[Exception], message: str) -> None:
    rooted_trees(1)  # a cached answer for 1 must not serve True
    with pytest.raises(error, match=message):
        rooted_trees(order)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("children", [[TAU], TAU, "tau", (TAU, 1), ("tau",)])
def test_bad_children_are_refused(children: object) -> None:
    with pytest.raises(TypeError, match="expected a (tuple|RootedTree)"):
        RootedTree(children)  # pyright: ignore[reportArgumentType]
