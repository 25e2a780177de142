"""Errors that flowmaps raises by name, each also a built-in kind so that ordinary handlers work."""

__all__ = [
    "CheckpointError",
    "FlowMapError",
    "LoadError",
    "RunFolderError",
    "RunFolderExistsError",
    "SolveError",
    "TrainingError",
    "UnsupportedTransform",
    "UntrainedTimes",
    "UsageError",
]


class FlowMapError(Exception):
    """Base of every error that flowmaps defines."""


class UntrainedTimes(FlowMapError, ValueError):
    """A flow map was asked for a pair of times outside the set that it declares."""


class SolveError(FlowMapError, RuntimeError):
    """A solve failed for at least one sample; the message names samples, times and last step."""


class UnsupportedTransform(FlowMapError, RuntimeError):
    """A transformation (vmap, forward mode, compile) that this object does not pass through."""


class LoadError(FlowMapError, ValueError):
    """A saved flow map cannot be read: folder missing, file corrupt, or a part not supplied."""


class TrainingError(FlowMapError, RuntimeError):
    """Training cannot go on; the message names the step and the cure."""


class CheckpointError(FlowMapError, ValueError):
    """A checkpoint cannot be read: missing, truncated, corrupt, or of a newer format."""


class RunFolderError(FlowMapError, OSError):
    """A run's folder cannot be used: in use, no folder, not writable, or without a run."""


class RunFolderExistsError(RunFolderError, FileExistsError):
    """A folder meant for a new run already holds a run, or things that no run writes."""


class UsageError(FlowMapError, ValueError):
    """The command line was asked for what there is not; the message names what there is."""
