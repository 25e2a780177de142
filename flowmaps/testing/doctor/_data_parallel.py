"""Probe: two ranks with half of the batch each find the gradient of the whole batch."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree as pytree

from flowmaps._checks import first_line
from flowmaps.testing.doctor._apart import run_apart
from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._gradients import owner
from flowmaps.testing.doctor._patient import Inputs, Patient
from flowmaps.testing.doctor._probe import Settings, fine, not_applicable, traps
from flowmaps.testing.doctor._tangents import working_copy

__all__ = ["examine_data_parallel"]

_NAME = "data parallel"
_RANKS = 2


def examine_data_parallel(patient: Patient, settings: Settings) -> list[Finding]:
    """Compare the gradients of two processes with those of one, for a loss that contains a jvp."""
    if not dist.is_available() or not dist.is_gloo_available():
        return not_applicable(_NAME, "this torch has no gloo")
    if not any(parameter.requires_grad for parameter in patient.network.parameters()):
        return not_applicable(_NAME, "there are no parameters that require gradients")
    with TemporaryDirectory(prefix="flowmaps-doctor-") as folder:
        store = str(Path(folder) / "store")
        jobs = [(patient, rank, store, settings.seconds) for rank in range(_RANKS)]
        found, _ = run_apart(share_apart, jobs, settings.seconds)
    if "alone" in found:
        seen = "this probe runs on the CPU, where the network alone raises "
        return not_applicable(_NAME, seen + found["alone"])
    around = (
        f"jvp of the wrapped network: {found['jvp(ddp)']}; "
        f"jvp of ddp.module: {found['jvp(ddp.module)']}"
    )
    cure = (
        "wrap a module whose forward computes the loss; let the network depend neither on the rank "
        "nor on the size of the batch, and leave no parameter out of its synchronisation"
    )
    if found["raised"]:
        return traps(patient, _NAME, [""], f"DistributedDataParallel: {found['raised']}", cure)
    if found["wrong"]:
        places = list(dict.fromkeys(map(owner, found["wrong"])))
        whole = len(found["wrong"]) == found["parameters"] > len(places)
        seen = (
            f"gradients of {len(found['wrong'])} of {found['parameters']} parameters are not those "
            f"of the whole batch (up to {found['error']:.1g} of their size)"
        )
        return traps(patient, _NAME, [""] if whole else places, seen, cure)
    seen = f"a module whose forward computes the loss: exact to {found['error']:.0e}; {around}"
    return fine(_NAME, seen)


class _Loss(nn.Module):
    """A loss that contains a jvp of a network, or of what wraps it."""

    def __init__(self, patient: Patient, network: nn.Module):
        super().__init__()
        self.patient, self.network = patient, network

    def forward(self, inputs: Inputs, directions: dict[str, Tensor]) -> Tensor:
        """Return the mean square of value and tangent together."""

        def act(*values: Tensor) -> Tensor:
            given = inputs | dict(zip(directions, values, strict=True))
            return self.network(*(given[name] for name in self.patient.order))

        points = tuple(inputs[name] for name in directions)
        pair = torch.func.jvp(act, points, tuple(directions.values()))
        return (pair[0] + pair[1]).square().mean()


def share_apart(patient: Patient, rank: int, store: str, seconds: float) -> dict[str, Any]:
    """Return, on one of two ranks, which gradients are not those of the whole batch."""
    patient.network.cpu()
    patient.x = patient.x.cpu()
    patient.times = {name: time.cpu() for name, time in patient.times.items()}
    patient.condition = pytree.tree_map(_on_cpu, patient.condition)
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(store, _RANKS),  # pyright: ignore[reportPrivateImportUsage]
        rank=rank,
        world_size=_RANKS,
        timeout=timedelta(seconds=seconds),
    )
    try:
        return _shared(patient, rank)
    finally:
        dist.destroy_process_group()


def _on_cpu(leaf: Any) -> Any:
    return leaf.cpu() if isinstance(leaf, Tensor) else leaf


def _shared(patient: Patient, rank: int) -> dict[str, Any]:
    network, dtype = working_copy(patient)
    inputs = patient.inputs(dtype)
    directions = patient.directions(inputs)
    half = max(patient.batch // _RANKS, 1)
    whole = _rows((inputs, directions), 0, half * _RANKS)
    mine = _rows((inputs, directions), half * rank, half * (rank + 1))
    try:
        exact = _gradients(network, lambda net: _Loss(patient, net), whole)
    except Exception as error:
        return {"alone": f"{type(error).__name__}: {first_line(error)}"}
    tolerance = 1e-8 if dtype == torch.float64 else 1e-3
    ways: dict[str, Callable[[nn.Module], Callable[..., Tensor]]] = {
        "loss": lambda net: DistributedDataParallel(_Loss(patient, net)),
        "jvp(ddp)": lambda net: _Loss(patient, DistributedDataParallel(net)),
        "jvp(ddp.module)": lambda net: _Loss(patient, DistributedDataParallel(net).module),
    }
    found: dict[str, Any] = {"parameters": len(exact), "raised": "", "wrong": [], "error": 0.0}
    for way, wrapped in ways.items():
        try:
            errors = _errors(exact, _gradients(working_copy(patient)[0], wrapped, mine))
        except Exception as error:
            told = f"raised {type(error).__name__}: {first_line(error)}"
            found |= {"raised": told} if way == "loss" else {way: told}
            continue
        wrong = [name for name, error in errors.items() if not error <= tolerance]
        if way == "loss":
            found |= {"wrong": wrong, "error": max(errors.values(), default=0.0)}
        else:
            found[way] = "gradients are NOT synchronised" if wrong else "gradients are synchronised"
    return found


def _rows(tree: Any, first: int, end: int) -> Any:
    return pytree.tree_map(lambda v: v[first:end] if isinstance(v, Tensor) else v, tree)


def _gradients(
    network: nn.Module, wrapped: Callable[[nn.Module], Callable[..., Tensor]], batch: Any
) -> dict[str, Tensor]:
    """Return a network's gradients by the parameters' names, of the second of two steps."""
    loss = wrapped(network)
    for _ in range(2):
        network.zero_grad()
        loss(*batch).backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in network.named_parameters()
        if p.requires_grad
    }


def _errors(exact: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, float]:
    """Return the error of every gradient, relative to its size or a small part of the greatest."""
    least = 1e-6 * max(float(gradient.norm()) for gradient in exact.values())
    return {
        name: float((found[name] - gradient).norm()) / max(float(gradient.norm()), least, 1e-300)
        for name, gradient in exact.items()
    }
