"""What was compiled is told apart by identity and goes when its owner does."""

import gc
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowmaps.solvers import PI, PID, Bosh3, Dopri5, Heun, I
from flowmaps.solvers._march_cache import MarchCache


@dataclass(frozen=True)
class Decay:
    """Fields that are equal and differ."""

    rate: float = field(compare=False)

    def __call__(self, t: Any, x: Any) -> Any:
        return -self.rate * x


@dataclass(frozen=True)
class Listed:
    """Frozen, and without a hash."""

    rates: list[float]


class Growth:
    """Whose methods are fields, made anew by every access."""

    def faster(self, t: Any, x: Any) -> Any:
        return 2 * x

    def slower(self, t: Any, x: Any) -> Any:
        return x / 2


class Slotted:
    __slots__ = ()


class Mine(PI):
    """A controller with an argument that is no field of a dataclass."""

    def __init__(self, power: float):
        super().__init__()
        object.__setattr__(self, "power", power)


@pytest.mark.parametrize("make", [Decay, lambda k: Listed([k]), Mine, lambda k: lambda: k])
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_an_owner_is_itself_alone(make: Any, drawn: list[int]) -> None:
    cache, owners = MarchCache(64), [make(1.0) for _ in range(4)]
    for i in drawn:
        assert cache.value([owners[i]], "kind", lambda i=i: i) == i
    assert len(cache) == len(set(drawn))


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab")), max_size=30))
def test_the_last_are_kept(drawn: list[tuple[int, str]]) -> None:
    cache, owners, made = MarchCache(3), [Decay(1.0) for _ in range(5)], []
    recent: list[tuple[int, str]] = []
    for pair in drawn:
        cache.value([owners[pair[0]]], pair[1], lambda pair=pair: made.append(pair))
        assert (pair in recent) == (not made)
        recent = [*(other for other in recent if other != pair), pair][-3:]
        made.clear()
        assert len(cache) == len(recent)


@given(st.lists(st.sampled_from(["owner", "other", "drop"]), max_size=12))
def test_a_value_goes_when_an_owner_does(acts: list[str]) -> None:
    cache, long_lived = MarchCache(64), Decay(1.0)
    alive: list[Any] = []
    for act in acts:
        if act == "drop":
            alive.clear()
        else:
            alive.append(Decay(1.0))
            owners = [alive[-1], long_lived]
            cache.value(owners if act == "owner" else owners[::-1], act, object)
            del owners
        assert len(cache) == len(alive)


def test_methods_of_one_object_are_known_by_it() -> None:
    growth, cache = Growth(), MarchCache(64)
    for _ in range(3):
        assert cache.value([growth.faster], 0, lambda: "faster") == "faster"
        assert cache.value([growth.slower], 0, lambda: "slower") == "slower"
    assert len(cache) == 2
    del growth
    gc.collect()
    assert len(cache) == 0


def test_methods_and_controllers_of_this_package_are_known_by_their_arguments() -> None:
    cache = MarchCache(64)
    for _ in range(2):
        for k, owner in enumerate(
            [Heun(), Bosh3(), Dopri5(), I(), PI(), PI(alpha=0.7), PI(stops=(0.5,)), PID()]
        ):
            assert cache.value([owner], 0, lambda k=k: k) == k
    gc.collect()
    assert len(cache) == 8


def test_what_cannot_be_watched_is_held_until_it_is_one_too_many() -> None:
    cache = MarchCache(2)
    for k in range(5):  # were they not held, their identities would come again
        assert cache.value([Slotted()], 0, lambda k=k: k) == k
    assert cache.value([math.sin], 0, lambda: "sin") == "sin"
    assert cache.value([torch.sin], 0, lambda: "torch") == "torch"
    assert len(cache) == 2
