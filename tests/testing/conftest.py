"""Maps and fields that verification is tried on."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

BOX = fm.testing.Box([-1.0, -1.0], [1.0, 1.0])


def turning(t: Tensor, x: Tensor) -> Tensor:
    """A quarter turn a unit of time, faster and faster."""
    return (1 + t)[:, None] * torch.stack([-x[:, 1], x[:, 0]], dim=1)


def turned(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """Its flow map."""
    angle = (t - s) * (1 + (s + t) / 2)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], dim=1)


def verify(flow_map: Callable[..., Any], field: Any = turning, **options: Any) -> Any:
    given = dict(domain=BOX, times=(0.0, 1.0), points=256, shrink=False)
    return fm.testing.verify(flow_map, field, **{**given, **options})


@pytest.fixture(scope="session")
def spin() -> SimpleNamespace:
    """A field, its flow map, and ``verify`` with a domain and times that suit both."""
    return SimpleNamespace(field=turning, flow_map=turned, domain=BOX, verify=verify)
