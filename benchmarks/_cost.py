"""What a training step asks of networks."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps._transforms import carries_tangent


def cost(learned: fm.maps.FlowMap, objective: Any, source: Any, target: bool) -> dict[str, float]:
    """Return the network evaluations of one loss, in batches: plain, and with a tangent.

    Args:
        learned: a map made of one network; so may the teacher be.
        objective: whose loss is evaluated once, at the end of its schedules.
        source: of its draw.
        target: whether the map's moving average is asked for the target.
    """
    learned, rows, batch = (
        copy.deepcopy(learned),
        {"learned": 0.0, "tangent": 0.0, "other": 0.0},
        64,
    )
    own = {id(part) for part in learned.modules()}
    generator = torch.Generator().manual_seed(0)
    draw = objective.draw(source, batch=batch, generator=generator, progress=1.0)

    def seen(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not isinstance(module, fm.networks.MLP):
            return
        x: Tensor = inputs[2]
        kind = "learned" if id(module) in own else "other"
        if any(isinstance(i, Tensor) and carries_tangent(i) for i in inputs):
            kind = "tangent"
        rows[kind] += x.shape[0] / batch

    follower = copy.deepcopy(learned).requires_grad_(False) if target else None
    hook = nn.modules.module.register_module_forward_pre_hook(seen)
    try:
        objective(learned, draw, follower)
    finally:
        hook.remove()
    return rows
