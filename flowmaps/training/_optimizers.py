"""Optimisers by name, or by a factory."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn

__all__ = ["OptimizerFactory", "make_optimizer"]

OptimizerFactory = Callable[..., torch.optim.Optimizer]
"""Called as ``factory(parameters, lr=...)``."""


def _soap(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    try:
        from pytorch_optimizer import SOAP
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the optimiser SOAP comes with pytorch-optimizer; install it with "
            "pip install flowmaps[surrogates]"
        ) from error
    return SOAP(parameters, lr=lr, betas=(0.95, 0.95), weight_decay=0.0, precondition_frequency=10)


_BY_NAME: dict[str, OptimizerFactory] = {
    # One weight decay for all: small enough that norms and biases need no group of their own.
    "adam": partial(torch.optim.Adam, betas=(0.9, 0.99)),
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=1e-3),
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "soap": _soap,
}


def make_optimizer(
    optimizer: str | OptimizerFactory, parameters: Iterable[nn.Parameter], learning_rate: float
) -> torch.optim.Optimizer:
    """Return an optimiser over the parameters that ask for gradients.

    Args:
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"``, ``"soap"``, or a factory
            ``(parameters, lr=...)`` such as ``torch.optim.RAdam``.
        parameters: of everything that is trained.
        learning_rate: the peak.

    Raises:
        ValueError: for another name, or if nothing asks for gradients.
        TypeError: if the factory does not return an optimiser, or one that needs a closure.
        ModuleNotFoundError: for ``"soap"`` without pytorch-optimizer.
    """
    named = isinstance(optimizer, str) and optimizer in _BY_NAME
    if not named and not callable(optimizer):
        raise ValueError(
            f"optimizer must be one of {sorted(_BY_NAME)} or a factory (parameters, lr=...), "
            f"got {optimizer!r}"
        )
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise ValueError("nothing to train: no parameter of the learned map asks for a gradient")
    factory = optimizer if callable(optimizer) else _BY_NAME[optimizer]
    made = factory(trained, lr=learning_rate)
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            f"the optimizer factory must return a torch optimizer, got {type(made).__name__}"
        )
    if isinstance(made, torch.optim.LBFGS):
        raise TypeError(
            "LBFGS evaluates the loss several times a step, which this loop does not; use a "
            'first-order optimizer such as "adamw", or "soap" for curvature'
        )
    return made
