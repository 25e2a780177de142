"""Random numbers that depend on the seed and the step alone."""

import torch

__all__ = ["step_generator", "step_seed"]

_MASK = 0xFFFFFFFF


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the CPU generator of a training step, the same after every restart.

    Args:
        seed: of the run.
        step: number of the step, from 0.

    Example:
        >>> import torch, flowmaps as fm
        >>> a = torch.rand(2, generator=fm.training.step_generator(0, 7))
        >>> b = torch.rand(2, generator=fm.training.step_generator(0, 7))
        >>> torch.equal(a, b)
        True
    """
    return torch.Generator().manual_seed(step_seed(seed, step))


def step_seed(seed: int, step: int, stream: int = 0) -> int:
    """Return the seed of a step's generator, 32 bits.

    torch's CPU generator keeps the low 32 bits of its seed, so seed and step are mixed into 32
    bits, one to one in the step: no two steps of a run share a seed before step 2^32.

    Args:
        seed: of the run.
        step: number of the step, from 0.
        stream: 0 for the draws, others for what must not repeat them, such as dropout.
    """
    key = _mix((seed & _MASK) ^ _mix((seed >> 32) & _MASK) ^ _mix(stream))
    return _mix((step + key) & _MASK)


def _mix(bits: int) -> int:
    """Scramble 32 bits one to one (the finaliser of MurmurHash3, Appleby 2011, public domain)."""
    bits = ((bits ^ (bits >> 16)) * 0x85EBCA6B) & _MASK
    bits = ((bits ^ (bits >> 13)) * 0xC2B2AE35) & _MASK
    return bits ^ (bits >> 16)
