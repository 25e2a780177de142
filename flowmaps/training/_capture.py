"""Losses and gradients recorded once as a CUDA graph and replayed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps.objectives import Draw

__all__ = ["captured"]

Step = Callable[[Draw], Tensor]
"""Fills in the gradients of the weights; returns the losses."""


def eager(losses: Step, weights: Sequence[Tensor], clip: float | None) -> Step:
    """Return the step as it is: losses of a draw, every map's gradient clipped alone."""

    def step(draw: Draw) -> Tensor:
        values = losses(draw)
        found = torch.autograd.grad(values.sum(), list(weights), allow_unused=True)
        for weight, gradient in zip(weights, found, strict=True):
            # laid out as the weight is, which fused optimizers ask for
            weight.grad = None if gradient is None else torch.empty_like(weight).copy_(gradient)
        if clip is not None:
            _clip([weight.grad for weight in weights if weight.grad is not None], clip)
        return values.detach()

    return step


@torch.no_grad()
def _clip(gradients: list[Tensor], longest: float) -> None:
    """Shorten the gradients (maps, ...) of every map whose norm is longer."""
    square = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    factor = (longest / (square.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.ndim - 1)))


def captured(
    losses: Step, weights: Sequence[Tensor], clip: float | None, device: torch.device
) -> Step:
    """Return the step, on CUDA recorded for every structure of draws and then replayed.

    A small network's step is hundreds of kernels of microseconds, which a host cannot launch as
    fast as they run.

    Args:
        losses: of a draw, free of anything that waits for the device.
        weights: the leaves whose gradients are wanted, (maps, ...) each.
        clip: largest norm of a map's gradient; None for no limit.
        device: of both.
    """
    plain = eager(losses, weights, clip)
    if device.type != "cuda":
        return plain
    graphs: dict[Any, _Graph] = {}

    def step(draw: Draw) -> Tensor:
        leaves, structure = pytree.tree_flatten(draw)
        key = (str(structure), tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in graphs:
            graphs[key] = _Graph(plain, draw, weights)
        return graphs[key].replay(leaves)

    return step


class _Graph:
    """One recorded step."""

    def __init__(self, step: Step, draw: Draw, weights: Sequence[Tensor]):
        leaves, structure = pytree.tree_flatten(draw)
        self.inputs = [leaf.to(weights[0].device, copy=True) for leaf in leaves]
        held, self.weights = pytree.tree_unflatten(self.inputs, structure), weights
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # lazily made handles must not be made while recording
            for _ in range(3):
                step(held)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        # other threads make draws meanwhile, and may allocate
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.losses = step(held)
        self.gradients = [weight.grad for weight in weights]

    def replay(self, leaves: list[Tensor]) -> Tensor:
        """Return the losses of a draw of these leaves; its gradients are the weights' own."""
        for mine, given in zip(self.inputs, leaves, strict=True):
            mine.copy_(given, non_blocking=True)
        self.graph.replay()
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        return self.losses.clone()
