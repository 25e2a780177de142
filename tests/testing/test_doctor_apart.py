"""The doctor's probes in processes of their own: compilation, data parallelism, time-outs."""

import os
import time

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.testing import diagnose
from flowmaps.testing.doctor._apart import run_apart
from flowmaps.testing.doctor._compilation import examine_compilation
from flowmaps.testing.doctor._fresh import NotPortable, run_fresh
from flowmaps.testing.doctor._patient import Patient
from flowmaps.testing.doctor._probe import Settings

DIM = 4


class Plain(nn.Module):
    """A healthy network with a place for a sick part."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.enter = nn.Linear(DIM + 8, 8)
        self.part = part
        self.leave = nn.Linear(8, DIM)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
        waves = torch.arange(1, 5, device=x.device)
        times = [torch.sin(waves * time[:, None]).to(x.dtype) for time in (s, t)]
        h = torch.cat([x, *times], dim=1)
        return self.leave(self.part(torch.tanh(self.enter(h))))


class Branching(nn.Module):
    """Branches on a value, which breaks the graph."""

    def forward(self, h: Tensor) -> Tensor:
        return h if bool((h.detach() ** 2).sum() < 0) else 2.0 * h


class Unshared(nn.Module):
    """Scales the gradient of one layer's weight by the rank, and nothing else."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, h: Tensor) -> Tensor:
        distributed = torch.distributed.is_initialized()
        scale = 1.0 + torch.distributed.get_rank() if distributed else 1.0
        weight, still = self.layer.weight, self.layer.weight.detach()
        return nn.functional.linear(h, still + scale * (weight - still), self.layer.bias)


def examined(network: nn.Module, **options):
    torch.manual_seed(1)
    x = torch.randn(7, DIM, dtype=torch.float32)
    return diagnose(network.float(), x, backend="aot_eager", **options)


SICK = {
    "layer norm": (lambda: Plain(nn.LayerNorm(8)), ["norms", "compilation"], "part"),
    "branch on a value": (
        lambda: Plain(nn.Sequential(nn.Tanh(), Branching())),
        ["compilation"],
        "part.1",
    ),
    "compiled inside": (
        lambda: Plain(torch.compile(nn.Linear(8, 8), backend="eager")),
        ["compilation"],
        "part",
    ),
    "gradient that differs by rank": (lambda: Plain(Unshared()), ["data parallel"], "part.layer"),
}


@pytest.mark.parametrize("name", SICK)
def test_a_trap_is_found_where_it_is(name):
    make, probes, module = SICK[name]
    diagnosis = examined(make())
    assert [trap.probe for trap in diagnosis.traps] == probes, str(diagnosis)
    assert {trap.module for trap in diagnosis.traps} == {module}, str(diagnosis)
    assert all(one.status != "failed" for one in diagnosis), str(diagnosis)


def test_our_network_is_healthy():
    diagnosis = examined(fm.networks.MLP(dim=DIM, width=16, depth=1, residual=True))
    assert diagnosis.healthy, str(diagnosis)
    assert diagnosis["compilation"][0].status == diagnosis["data parallel"][0].status == "fine"


def test_inductor_is_met_in_a_fresh_interpreter():
    network = fm.networks.MLP(dim=2, width=8, depth=1).float()
    [found] = _compilation(network)
    assert found.status == "fine" and found.seen.startswith("inductor, fullgraph"), found


def test_what_keeps_inductor_away_is_said(monkeypatch):
    """Without a compiler, and for a network that pickle does not take to another interpreter."""
    network = fm.networks.MLP(dim=2, width=8, depth=1).float()
    network.note = lambda: None
    [found] = _compilation(network)
    assert found.status == "fine" and found.seen.startswith("aot_eager, fullgraph"), found
    assert "inductor was NOT tried" in found.seen and "fresh interpreter" in found.seen
    del network.note
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    [found] = _compilation(network)
    assert "there is no C++ compiler" in found.seen and found.status == "fine", found


def _compilation(network):
    x = torch.randn(5, 2, dtype=torch.float32)
    patient = Patient(network, x, None, None, (0.0, 1.0), 0)
    with torch.compiler.set_stance("force_eager"):
        return examine_compilation(patient, Settings())


@pytest.mark.slow
def test_our_image_network_is_healthy():
    network = fm.networks.UNet(
        (1, 4, 4), width=8, blocks=1, multipliers=(1,), attention=(4,), heads=2
    )
    diagnosis = diagnose(
        network.float(), torch.randn(5, 1, 4, 4, dtype=torch.float32), backend="aot_eager"
    )
    assert diagnosis.healthy, str(diagnosis)
    assert diagnosis["compilation"][0].status == diagnosis["data parallel"][0].status == "fine"


def test_what_hangs_is_ended():
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="did not end within 0.5 s"):
        run_apart(_sleep, [(60.0,)], 0.5)
    assert time.monotonic() - began < 30


def test_a_fresh_interpreter_ends_in_time_and_tells():
    with pytest.raises(TimeoutError, match=r"did not end within 0.2 s"):
        run_fresh(time.sleep, (60.0,), 0.2)
    with pytest.raises(RuntimeError, match="ended with status 7"):
        run_fresh(os._exit, (7,), 60.0)
    with pytest.raises(RuntimeError, match="TypeError"):
        run_fresh(os._exit, ("x",), 60.0)
    with pytest.raises(NotPortable):
        run_fresh(dict, (lambda: None,), 60.0)


def test_what_dies_or_raises_is_told():
    with pytest.raises(RuntimeError, match="ended with status 7"):
        run_apart(_die, [(7,)], 60.0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: division by zero"):
        run_apart(_divide, [(0,)], 60.0)
    assert run_apart(_divide, [(2,), (4,)], 60.0) == [{"half": 0.5}, {"half": 0.25}]


def _sleep(seconds):
    time.sleep(seconds)
    return {}


def _die(status):
    os._exit(status)


def _divide(number):
    return {"half": 1 / number}
