"""Laws in the plane that show at a glance what a generative model does."""

import math

import torch
from torch import Tensor

from flowmaps._checks import as_count

__all__ = ["checkerboard", "eight_gaussians"]


def checkerboard(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Return samples (n, 2) uniform on the dark squares of a 4x4 board over [-1, 1]^2.

    Square (i, j), counted from the lower left, is dark where i + j is even.

    Args:
        n: number of samples.
        generator: a CPU generator.

    Example:
        >>> import torch, flowmaps as fm
        >>> x = fm.generative.checkerboard(1000)
        >>> square = ((x + 1) * 2).floor()
        >>> bool((square.sum(1) % 2 == 0).all() and (x.abs() <= 1).all())
        True
    """
    n, cpu = as_count(n, "n", least=0), torch.device("cpu")  # where the generator is
    column = torch.randint(4, (n,), generator=generator, device=cpu)
    row = 2 * torch.randint(2, (n,), generator=generator, device=cpu) + column % 2
    inside = torch.rand(n, 2, generator=generator, device=cpu)
    return (torch.stack([column, row], dim=1) + inside) / 2 - 1


def eight_gaussians(
    n: int, generator: torch.Generator | None = None, radius: float = 1.0, spread: float = 0.1
) -> Tensor:
    """Return samples (n, 2) of eight equal Gaussians, evenly spaced on a circle.

    Args:
        n: number of samples.
        generator: a CPU generator.
        radius: of the circle.
        spread: standard deviation of each Gaussian.

    Example:
        >>> import torch, flowmaps as fm
        >>> x = fm.generative.eight_gaussians(1000, spread=0.01)
        >>> bool(((x.norm(dim=1) - 1).abs() < 0.1).all())
        True
    """
    n, cpu = as_count(n, "n", least=0), torch.device("cpu")  # where the generator is
    angle = torch.randint(8, (n,), generator=generator, device=cpu) * (math.pi / 4)
    centers = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centers + spread * torch.randn(n, 2, generator=generator, device=cpu)
