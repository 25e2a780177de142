"""Probe: a function that contains a jvp of the network compiles, and computes the same."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import first_line
from flowmaps.testing.doctor._apart import run_apart
from flowmaps.testing.doctor._diagnosis import Finding
from flowmaps.testing.doctor._fresh import NotPortable, run_fresh
from flowmaps.testing.doctor._patient import Patient
from flowmaps.testing.doctor._probe import Settings, fine, trap
from flowmaps.testing.doctor._record import Call, record

__all__ = ["examine_compilation"]

_NAME = "compilation"
_TOLERANCE = 1e-3
_TOOLS = {
    "C++ compiler (g++, clang++)": ("No working C++ compiler", "InvalidCxxCompiler"),
    "C compiler (gcc, clang)": ("Failed to find C compiler",),
    "Triton": ("Cannot find a working triton",),
}


def examine_compilation(patient: Patient, settings: Settings) -> list[Finding]:
    """Compile value, tangent and gradient in one function, in processes of their own."""
    inside = [name for name, part in patient.network.named_modules() if _is_compiled(part)]
    jobs = [(patient, "eager", stage) for stage in ("graphs", "trace")]
    counted, traced = run_apart(compile_apart, jobs, settings.seconds)
    graphs = counted["graphs"]
    if inside:
        seen = f"is compiled itself, and a jvp of that compiles {graphs} graphs: it runs uncompiled"
        cure = "leave the network uncompiled, and compile the function that contains the jvp"
        return [trap(patient, _NAME, name, seen, cure) for name in inside]
    if traced["fault"]:
        return [
            trap(patient, _NAME, module, f"in a compiled jvp: {message}", _cure(message))
            for module, message in _located(patient, traced["fault"], settings.seconds)
        ]
    found, note = _compiled(patient, settings)
    if message := found["fault"]:
        return [trap(patient, _NAME, "", f"in a compiled jvp: {message}{note}", _cure(message))]
    seen = (
        f"{found['backend']}, fullgraph: value, tangent and gradient as uncompiled to "
        f"{found['error']:.0e}; a jvp of torch.compile(network) compiles {graphs} graphs: "
        f"compile the function around the jvp{note}"
    )
    return fine(_NAME, seen)


def _compiled(patient: Patient, settings: Settings) -> tuple[dict[str, Any], str]:
    """Compile by a backend; say why if it is another than users meet.

    Inductor runs in a fresh interpreter: it starts threads and compilers, which a fork breaks.
    """
    wanted, seconds = settings.backend or "inductor", settings.seconds
    note = ""
    if wanted == "inductor":
        try:
            found = run_fresh(compile_apart, (patient, wanted, "numbers"), seconds)
        except NotPortable as error:
            note = (
                "; inductor was NOT tried, for it needs a fresh interpreter and the network does "
                f"not get there ({error}): define it in a module that can be imported"
            )
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}; or choose backend='aot_eager' (--backend aot_eager), which generates no "
                "code"
            ) from error
        else:
            missing = _missing(found["fault"])
            if not missing:
                return found, ""
            note = f"; inductor was NOT tried: there is no {missing} here, and it needs one"
        wanted = "aot_eager"
    [found] = run_apart(compile_apart, [(patient, wanted, "numbers")], seconds)
    return found, note


def _missing(told: str) -> str:
    """Return the tool that a backend did not find, if that is what it says."""
    for name, words in _TOOLS.items():
        if any(word in told for word in words):
            return name
    return ""


def _is_compiled(module: nn.Module) -> bool:
    from torch._dynamo import OptimizedModule

    own = getattr(module, "_compiled_call_impl", None)  # module.compile()
    return isinstance(module, OptimizedModule) or own is not None


def _cure(message: str) -> str:
    if any(name in message for name in ("layer_norm", "group_norm", "batch_norm")):
        return "write the normalisation in plain operations: torch's own break under a compiled jvp"
    return "write it in operations that torch.compile(fullgraph=True) follows under torch.func.jvp"


def compile_apart(patient: Patient, backend: str, stage: str) -> dict[str, Any]:
    """Return what a stage finds: graphs counted, a fault in training, a difference of results.

    The stages have processes of their own: what one compilation leaves behind spoils another.
    """
    if backend != "inductor":
        from torch._inductor import config

        config.compile_threads = 1  # pyright: ignore[reportAttributeAccessIssue]  # no pool after a fork
    with torch.compiler.set_stance("default"):
        if stage == "graphs":
            return {"graphs": _graphs_of_compiled_network(patient)}
        if stage == "numbers":
            return _compared(patient, backend)
        return {"fault": _fault(_jvp_of(patient, patient.copy(train=True)), _point(patient))}


def _compared(patient: Patient, backend: str) -> dict[str, Any]:
    """Compile in eval mode, and compare what is computed."""
    fault, difference = _differences(patient, backend)
    if not fault and not difference <= _TOLERANCE:
        fault = f"{backend} is {difference:.1g} away from what is computed uncompiled"
    return {"fault": fault, "backend": backend, "error": difference}


def _point(patient: Patient) -> tuple[Tensor, ...]:
    inputs = patient.inputs(patient.x.dtype)
    return tuple(inputs[name] for name in patient.smooth(inputs))


def _jvp_of(patient: Patient, network: nn.Module) -> Callable[..., Any]:
    """Return value and tangent as one function of the arguments that have tangents."""
    inputs = patient.inputs(patient.x.dtype)
    directions = patient.directions(inputs)
    order, names, tangents = patient.order, list(directions), tuple(directions.values())

    def both(*primals: Tensor) -> Any:
        def act(*values: Tensor) -> Tensor:
            given = dict(zip(names, values, strict=True))
            return network(*[given[name] if name in given else inputs[name] for name in order])

        return torch.func.jvp(act, primals, tangents)

    return both


def _differences(patient: Patient, backend: str) -> tuple[str, float]:
    """Return an error, or the greatest relative difference of compiled and plain results."""
    network = patient.copy()
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    both = _jvp_of(patient, network)
    try:
        plain = _results(both, _point(patient), learned)
        compiled = torch.compile(both, backend=backend, fullgraph=True)
        fast = _results(compiled, _point(patient), learned)
    except Exception as error:
        return f"{backend} raised {type(error).__name__}: {first_line(error)}", float("inf")
    pairs = zip(plain, fast, strict=True)
    return "", max(float((a - b).norm() / a.norm().clamp_min(1e-12)) for a, b in pairs)


def _results(
    both: Callable[..., Any], point: tuple[Tensor, ...], learned: list[nn.Parameter]
) -> list[Tensor]:
    value, tangent = both(*point)
    loss = (value + tangent).float().square().mean()
    gradients = ()
    if learned and loss.requires_grad:
        gradients = torch.autograd.grad(loss, learned, allow_unused=True)
    flat = [one.detach().double().flatten() for one in gradients if one is not None]
    parts = [value.detach().double(), tangent.detach().double()]
    return parts + ([torch.cat(flat)] if flat else [])


def _located(patient: Patient, error: str, seconds: float) -> list[tuple[str, str]]:
    """Return the innermost submodules of which a jvp does not compile, each with its error.

    Every fault ends its process, and the search goes on behind it in another.
    """
    found: dict[str, str] = {}
    faults: list[int] = []
    while True:
        [next_one] = run_apart(next_fault, [(patient, faults)], seconds)
        if not next_one:
            return list(found.items()) or [("", error)]
        faults.append(next_one["number"])
        found.setdefault(next_one["name"], next_one["fault"])


def next_fault(patient: Patient, faults: list[int]) -> dict[str, Any]:
    """Return the first call of a submodule behind known faults, and around none, that has one."""
    inputs = patient.inputs(patient.x.dtype)
    network = patient.copy(train=True)
    with torch.no_grad():
        calls = record(network, lambda: patient.call(network, inputs))
    with torch.compiler.set_stance("default"):
        for number in range(max(faults, default=-1) + 1, len(calls)):
            act, primals = _replayed(calls[number])
            if not primals or any(fault >= calls[number].first for fault in faults):
                continue
            if fault := _fault(act, primals):
                return {"number": number, "name": calls[number].name, "fault": fault}
    return {}


def _replayed(call: Call) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
    leaves, structure = pytree.tree_flatten(call.arguments)
    places = [
        i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
    primals = tuple(leaves[place].detach() for place in places)
    tangents = tuple(map(torch.ones_like, primals))
    module = call.module

    def act(*values: Tensor) -> Any:
        filled = list(leaves)
        for place, value in zip(places, values, strict=True):
            filled[place] = value
        args, kwargs = pytree.tree_unflatten(filled, structure)
        return module(*args, **kwargs)

    return lambda *values: torch.func.jvp(act, values, tangents), primals


def _fault(function: Callable[..., Any], point: tuple[Tensor, ...]) -> str:
    """Return what a full graph of a function fails with, or nothing.

    A failure leaves torch's forward mode in disorder: no other compilation after it means anything.
    """
    torch._dynamo.reset()
    try:
        torch.compile(function, backend="eager", fullgraph=True)(*point)
    except Exception as error:
        return f"{type(error).__name__}: {_reason(error)}"
    return ""


def _reason(error: Exception) -> str:
    """Return the line of a compiler's message that says what it stumbled over."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("Explanation:", "Developer debug context:"))]
    return " ".join((lines[:1] + told)[:3])[:300]


def _graphs_of_compiled_network(patient: Patient) -> int:
    """Count the graphs that a jvp of the compiled network compiles in eval mode."""
    count = 0

    def counting(graph: Any, example: Any) -> Any:
        nonlocal count
        count += 1
        return graph.forward

    with suppress(Exception), torch.no_grad():
        network = patient.copy()
        _jvp_of(patient, torch.compile(network, backend=counting))(*_point(patient))  # pyright: ignore[reportArgumentType]
    return count
