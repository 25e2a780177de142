"""Where a command computes."""

import torch

from flowmaps.errors import UsageError

__all__ = ["use_machine"]


def use_machine(device: str, threads: int) -> torch.device:
    """Set the number of CPU threads, and return the device once it has answered.

    Raises:
        UsageError: if there is no such device here.
    """
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"there is no device {device!r} here ({reason}); try cpu") from error
    torch.set_num_threads(threads)
    return torch.device(device)
