"""The network under examination: how it is called, its copies, its inputs in any precision."""

import copy
import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from flowmaps._checks import first_line

__all__ = ["Inputs", "Patient", "seeded", "wide_times"]

Inputs = dict[str, Any]
"""The arguments of a call by name: "s", "t", "x", "condition"."""

_ORDERS = {
    "map": (("s", "t", "x"), ("s", "t", "x", "condition")),
    "field": (("t", "x"), ("t", "x", "condition")),
}


@final
class Patient:
    """A network, its arguments, and copies to experiment on; the network itself is never called.

    In copies, parameters that are zero throughout get small random values: layers that start at
    zero, as last layers do, would hide everything before them.

    Args:
        network: called as ``network(s, t, x, condition)`` or ``network(t, x[, condition])``.
        x: states (batch, *event).
        condition: a pytree of tensors with a leading batch axis, or None.
        form: ``"map"``, ``"field"``, or None to read it off the signature.
        times: the interval from which times are drawn.
        seed: of times, directions and what fills zeros.

    Raises:
        ValueError: if the network cannot be copied, or its signature is none of these.
    """

    def __init__(
        self,
        network: nn.Module,
        x: Tensor,
        condition: Any,
        form: str | None,
        times: tuple[float, float],
        seed: int,
    ):
        self.seed = seed
        self.order = _order(network, condition, form)
        self.network = _copied(network)
        self.condition = condition
        self.x = _odd_batch(x.detach())
        self.times = self._drawn_times(times)

    @property
    def is_map(self) -> bool:
        """Whether the network takes two times."""
        return "s" in self.order

    @property
    def batch(self) -> int:
        """The number of samples."""
        return self.x.shape[0]

    def kind(self, name: str) -> str:
        """Return the class of a submodule."""
        return type(self.network.get_submodule(name)).__name__

    def copy(self, dtype: torch.dtype | None = None, train: bool = False) -> nn.Module:
        """Return a copy in a dtype, in train or eval mode, whose zero parameters are filled."""
        network = copy.deepcopy(self.network).train(train)
        fill = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.is_floating_point() and parameter.numel() and not parameter.any():
                    spread = max(parameter[0].numel(), 1) ** -0.5 if parameter.ndim > 1 else 0.1
                    noise = torch.randn(parameter.shape, generator=fill, dtype=torch.float64)
                    parameter.copy_(spread * noise)
        return network if dtype is None else network.to(dtype)

    def inputs(self, dtype: torch.dtype) -> Inputs:
        """Return the arguments in a dtype; times of half precision states are float32."""
        rows = self.batch

        def like(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return (leaf.to(dtype) if leaf.is_floating_point() else leaf)[:rows].clone()

        clock = wide_times(dtype)
        values: Inputs = {name: time.to(clock) for name, time in self.times.items()}
        values |= {"x": self.x.to(dtype, copy=True)}
        values["condition"] = pytree.tree_map(like, self.condition)
        return {name: values[name] for name in self.order}

    def smooth(self, inputs: Inputs) -> list[str]:
        """Return the names of the arguments that have tangents."""
        return [
            name
            for name, value in inputs.items()
            if isinstance(value, Tensor) and value.is_floating_point()
        ]

    def directions(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return a random direction for every argument that has tangents."""
        draw = torch.Generator().manual_seed(self.seed + 1)
        return {
            name: torch.randn(inputs[name].shape, generator=draw).to(inputs[name])
            for name in self.smooth(inputs)
        }

    def call(self, network: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Call a copy, with the same random numbers every time."""
        with seeded(self.seed):
            return network(*(inputs[name] for name in self.order))

    def _drawn_times(self, times: tuple[float, float]) -> dict[str, Tensor]:
        """Return times inside the interval, different for every sample, s < t."""
        lower, upper = times
        draw = torch.Generator().manual_seed(self.seed)
        rows = torch.rand(self.batch, generator=draw, dtype=torch.float64)
        spans = torch.rand(self.batch, generator=draw, dtype=torch.float64)
        s = lower + (upper - lower) * (0.05 + 0.4 * rows)
        t = s + (upper - lower) * (0.1 + 0.4 * spans)
        device = self.x.device
        return {"s": s.to(device), "t": t.to(device)} if self.is_map else {"t": t.to(device)}


class seeded:  # noqa: N801  (reads as a verb)
    """Context with its own random numbers; those outside go on as if it had not been."""

    def __init__(self, seed: int):
        self.seed = seed
        self.fork = torch.random.fork_rng(
            devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        )

    def __enter__(self) -> None:
        self.fork.__enter__()
        torch.manual_seed(self.seed)

    def __exit__(self, *exception: Any) -> None:
        self.fork.__exit__(*exception)


def wide_times(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which times are given to a network of this dtype."""
    return torch.promote_types(dtype, torch.float32)


def _odd_batch(x: Tensor) -> Tensor:
    """Drop a sample where the batch is as long as an axis of the event: it would hide mix-ups."""
    while x.shape[0] > 2 and x.shape[0] in x.shape[1:]:
        x = x[:-1]
    return x


def _check(network: nn.Module) -> None:
    """Raise ValueError for what cannot be copied, or whose copies cannot be looked into."""
    unmade = [name for name, one in network.named_parameters() if is_lazy(one)]
    if unmade:
        raise ValueError(
            f"the network is lazy and has parameters without a shape ({unmade[0]}); call it once "
            "with states as in use before"
        )
    for name, part in network.named_modules():
        place = f"its submodule {name!r}" if name else "the network"
        if isinstance(part, torch.jit.ScriptModule):
            raise ValueError(
                f"{place} is compiled by TorchScript, into which no probe can look; give the "
                "modules that it was made from"
            )
        if _calls_others(vars(part).get("forward")):
            raise ValueError(
                f"the forward of {place} was replaced on the object by a function that holds a "
                "module: copies would call that very module; define forward in the class"
            )


def _calls_others(forward: Any) -> bool:
    """Tell whether a function holds a module, or a method of one, in its closure."""
    if not isinstance(forward, FunctionType) or forward.__module__.startswith("torch."):
        return False
    held = [cell.cell_contents for cell in forward.__closure__ or ()]
    return any(isinstance(getattr(one, "__self__", one), nn.Module) for one in held)


def _copied(network: nn.Module) -> nn.Module:
    _check(network)
    try:
        return copy.deepcopy(network)
    except Exception as error:
        raise ValueError(
            f"the network cannot be copied (copy.deepcopy raised {type(error).__name__}: "
            f"{first_line(error)}); keep no tensors but parameters and buffers in it, and give it "
            "bare, not wrapped in DistributedDataParallel"
        ) from error


def _order(network: nn.Module, condition: Any, form: str | None) -> tuple[str, ...]:
    """Return the names of a network's arguments in their order."""
    least, most, first = _positional(network)
    if form is None:
        form = "field" if most < 3 or (most == 3 and first.startswith("t")) else "map"
    bare, full = _ORDERS[form]
    wished = (full,) if condition is not None else (full, bare) if form == "map" else (bare, full)
    for order in wished:
        if least <= len(order) <= most:
            return order
    calls = " or ".join(f"network({', '.join(order)})" for order in wished)
    raise ValueError(
        f"it takes {least} to {most} positional arguments and cannot be called as {calls}; "
        'wrap it in a module that can, or say form="map" or form="field"'
    )


def _positional(network: nn.Module) -> tuple[int, float, str]:
    """Return the least and greatest number of positional arguments, and the first's name."""
    parameters = list(inspect.signature(network.forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is p.empty for p in named)
    most = float("inf") if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(named)
    return least, most, named[0].name if named else ""
