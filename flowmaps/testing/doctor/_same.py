"""When two values count as the same."""

import torch
from torch import Tensor

__all__ = ["differing"]


def differing(a: Tensor, b: Tensor, tolerance: float = 256.0) -> bool:
    """Tell whether two tensors differ by more than some units of round-off."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return True
    if not a.is_floating_point():
        return not torch.equal(a, b)
    if a.numel() == 0:
        return False
    sizes = torch.stack([a.detach(), b.detach()]).abs()
    scale = float(torch.where(sizes.isfinite(), sizes, 0.0).max())
    return not torch.allclose(
        a, b, rtol=0.0, atol=tolerance * torch.finfo(a.dtype).eps * scale, equal_nan=True
    )
