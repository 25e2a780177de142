"""Calling a map for some samples of a batch and leaving the others alone."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import shaped_like
from flowmaps._transforms import any_item
from flowmaps._typing import Mask

__all__ = ["nobody", "stand_in"]


def nobody(chosen: Mask) -> bool:
    """Tell on the host that no sample is chosen; compiled calls never know."""
    return not torch.compiler.is_compiling() and not any_item(chosen)


def stand_in(chosen: Mask, tree: Any) -> Any:
    """Give the samples that are not chosen the arguments of one that is.

    What they themselves hold may lie where a map fails or has no finite derivative; multiplied by
    the zero gradient of ``torch.where`` that is NaN. If none is chosen all keep theirs, detached.

    Args:
        chosen: truth values (batch,), at least one sample.
        tree: pytree of tensors (batch, ...) and None.
    """
    first = chosen.long().argmax().reshape(1)
    some = chosen.any()

    def replaced(leaf: Tensor | None) -> Tensor | None:
        if leaf is None:
            return None
        other = torch.where(some, leaf[first], leaf.detach())
        return torch.where(shaped_like(chosen, leaf), leaf, other)

    return pytree.tree_map(replaced, tree)
