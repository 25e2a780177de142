"""The doctor: every trap is found in the submodule that holds it, and nothing else is blamed."""

import json
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowmaps.testing import diagnose

DIM = 6


class Plain(nn.Module):
    """A healthy network with a place for a sick part, between two linear layers."""

    def __init__(self, part: nn.Module | None = None):
        super().__init__()
        self.enter = nn.Linear(DIM + 8, 8)
        self.part = nn.Identity() if part is None else part
        self.leave = nn.Linear(8, DIM)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
        waves = torch.arange(1, 5, device=x.device)
        times = torch.cat([torch.sin(waves * time[:, None]) for time in (s, t)], dim=1)
        h = torch.cat([x.to(times.dtype), times], dim=1).to(self.enter.weight.dtype)
        h = self.part(torch.tanh(self.enter(h)))
        return self.leave(torch.tanh(h)).to(x.dtype)


class Wrapped(nn.Module):
    """Any function of a hidden state, with a healthy layer before it, one floor down."""

    def __init__(self, function):
        super().__init__()
        self.before = nn.Linear(8, 8)
        self.inner = Function(function)

    def forward(self, h: Tensor) -> Tensor:
        return self.inner(torch.tanh(self.before(h)))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, h: Tensor) -> Tensor:
        return self.function(h)


class NoRule(torch.autograd.Function):
    @staticmethod
    def forward(h):
        return 2.0 * h

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return 2.0 * gradient


class WrongRule(NoRule):
    @staticmethod
    def jvp(ctx, tangent):
        return 3.0 * tangent


class SecondMask(torch.autograd.Function):
    """Dropout that draws one mask for the value and another for the tangent."""

    @staticmethod
    def forward(h):
        return h * torch.bernoulli(torch.full_like(h, 0.5))

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * torch.bernoulli(torch.full_like(tangent, 0.5))


class TwoMasks(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return SecondMask.apply(h) if self.training else h


class Kernel(nn.Module):
    """Attention by torch's fused kernels."""

    def forward(self, h: Tensor) -> Tensor:
        q = h.reshape(h.shape[0], 1, 4, 2)
        return F.scaled_dot_product_attention(q, q, q).reshape(h.shape)


class Counting(nn.Module):
    """A buffer that is written at every call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, h: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return h


class Spare(nn.Module):
    """A layer that is not used."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(3, 3)

    def forward(self, h: Tensor) -> Tensor:
        return h


class MadeLate(nn.Module):
    """Makes its layer when it is called."""

    def forward(self, h: Tensor) -> Tensor:
        if not hasattr(self, "layer"):
            self.layer = nn.Linear(8, 8, dtype=h.dtype)
        return self.layer(h)


def old_spectral_norm() -> nn.Module:
    """A layer whose own hook writes its buffers."""
    return nn.utils.spectral_norm(nn.Linear(8, 8))


class NoGradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, h: Tensor) -> Tensor:
        with torch.no_grad():
            return self.layer(h)


def steep(h: Tensor) -> Tensor:
    return h + 1e-3 * torch.sin(1000.0 * h)


def at_random(h: Tensor) -> Tensor:
    return h + 0.1 * torch.randn_like(h)


SICK = {
    # the probes that find it, and the submodule
    "no forward-mode rule": (lambda: Wrapped(NoRule.apply), ["forward mode"], "part.inner"),
    "numpy": (
        lambda: Wrapped(lambda h: h + torch.from_numpy(h.detach().numpy())),
        ["forward mode"],
        "part.inner",
    ),
    "fused attention": (Kernel, ["forward mode", "attention"], "part"),
    "wrong rule": (lambda: Wrapped(WrongRule.apply), ["tangents"], "part.inner"),
    "detach": (
        lambda: Wrapped(lambda h: h + torch.sin(3 * h).detach()),
        ["tangents"],
        "part.inner",
    ),
    "data": (lambda: Wrapped(lambda h: h + torch.sin(3 * h).data), ["tangents"], "part.inner"),
    "item": (
        lambda: Wrapped(lambda h: h * h[0, 0].item()),
        ["batch coupling", "tangents"],
        "part.inner",
    ),
    "layer norm": (lambda: nn.LayerNorm(8), ["norms"], "part"),
    "group norm": (lambda: nn.Sequential(nn.Tanh(), nn.GroupNorm(2, 8)), ["norms"], "part.1"),
    "batch norm": (
        lambda: nn.BatchNorm1d(8),
        ["buffers kept", "batch coupling", "forward mode", "norms"],
        "part",
    ),
    "batch mean": (lambda: Wrapped(lambda h: h - h.mean(0)), ["batch coupling"], "part.inner"),
    "one sample fails": (
        lambda: Wrapped(lambda h: h + 0 * h.squeeze()[:, :1]),
        ["batch coupling"],
        "part.inner",
    ),
    "steep in bfloat16": (lambda: Wrapped(steep), ["bfloat16"], "part.inner"),
    "two masks": (TwoMasks, ["dropout"], "part"),
    "buffer written": (Counting, ["buffers kept"], "part"),
    "random in eval": (lambda: Wrapped(at_random), ["determinism"], "part.inner"),
    "unused parameters": (Spare, ["gradients"], "part.unused"),
    "no_grad": (NoGradient, ["gradients"], "part"),
    "overwrites what tanh needs": (
        lambda: nn.ReLU(inplace=True),
        ["forward mode", "gradients"],
        "part",
    ),
    "writes buffers in a hook": (old_spectral_norm, ["buffers kept"], "part"),
    "not finite": (lambda: Wrapped(lambda h: torch.log(h - 9.0)), ["call"], "part.inner"),
}


class InPlace(Plain):
    """Writes into its argument, in a part."""

    def __init__(self):
        super().__init__()
        self.shift = Function(lambda x: x.add_(1.0))

    def forward(self, s, t, x, condition=None):
        return super().forward(s, t, self.shift(x))


class Times(Plain):
    """Passes times through a part."""

    def __init__(self, function):
        super().__init__()
        self.clock = Function(function)

    def forward(self, s, t, x, condition=None):
        return super().forward(self.clock(s), self.clock(t), x)


class OneTime(nn.Module):
    """Takes one time for all samples only."""

    def forward(self, s, t, x, condition=None):
        return x * (t - s)


SICK_IN_TIME = {
    "in-place input": (InPlace, ["inputs kept"], "shift"),
    "times ignored": (lambda: Times(torch.zeros_like), ["times"], "clock"),
    "half times": (lambda: Times(lambda t: t.half().to(t.dtype)), ["times"], "clock"),
    "one time": (OneTime, ["call"], ""),
}


class Labelled(Plain):
    """Looks a time up in a table."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, DIM)

    def forward(self, s, t, x, condition=None):
        return x * s[:, None] + self.table((9 * t).long())


def examined(network: nn.Module, **options):
    torch.manual_seed(1)
    return diagnose(network.float(), torch.randn(7, DIM, dtype=torch.float32), **options)


@pytest.mark.parametrize("name", [*SICK, *SICK_IN_TIME])
def test_a_trap_is_found_where_it_is(name):
    if name in SICK:
        make, probes, module = SICK[name]
        network = Plain(make())
    else:
        make, probes, module = SICK_IN_TIME[name]
        network = make()
    diagnosis = examined(network, quick=True)
    assert not diagnosis.healthy
    assert {trap.module for trap in diagnosis.traps} == {module}, str(diagnosis)
    assert [trap.probe for trap in diagnosis.traps] == probes, str(diagnosis)
    assert all(trap.cure and trap.seen for trap in diagnosis.traps)
    assert all(one.status != "failed" for one in diagnosis)


def test_hooks_run_once_in_a_replay():
    """A module that is replayed by itself gets what it was given, before its own hooks."""
    network = Plain(Wrapped(lambda h: torch.log(h + 2.5)))
    network.part.inner.register_forward_pre_hook(lambda module, args: (args[0] - 1.0,))
    assert examined(network, quick=True).healthy
    seen = []
    network.part.inner.register_forward_pre_hook(lambda module, args: seen.append(args[0].min()))
    examined(network, quick=True)
    assert min(seen) > -2.5


def test_a_layer_made_late_is_named():
    traps = examined(Plain(MadeLate()), quick=True)["buffers kept"]
    assert [trap.module for trap in traps] == ["part"]
    assert "parameter part.layer.weight" in traps[0].seen


def test_times_looked_up_are_told_so():
    [trap] = examined(Labelled(), quick=True)["times"]
    assert trap.module == "" and ".long()" in trap.cure


def test_all_parts_at_fault_are_named():
    part = nn.Sequential(nn.LayerNorm(8), nn.Tanh(), nn.LayerNorm(8))
    assert [trap.module for trap in examined(Plain(part), quick=True)["norms"]] == [
        "part.0",
        "part.2",
    ]


def test_a_diagnosis_as_text_and_json(tmp_path):
    diagnosis = examined(Plain(nn.LayerNorm(8)), quick=True)
    path = tmp_path / "diagnosis.json"
    text = diagnosis.to_json(path)
    read = json.loads(path.read_text())
    assert read == json.loads(text) == diagnosis.to_dict()
    assert read["format"] == "flowmaps.diagnosis" and read["healthy"] is False
    assert "part (LayerNorm)" in diagnosis.to_markdown() and "part (LayerNorm)" in read["summary"]
    with pytest.raises(KeyError, match="no probe 'teeth'"):
        diagnosis["teeth"]


def test_wrong_use_is_refused(refused):
    x = torch.randn(4, DIM)
    network = Plain()
    refused(lambda: diagnose(lambda s, t, x: x, x), TypeError, "network must be a torch.nn.Module")
    refused(lambda: diagnose(network, x[:1]), ValueError, "at least two samples")
    refused(lambda: diagnose(network, [1.0, 2.0]), TypeError, "must be a torch tensor")
    refused(lambda: diagnose(network, x, torch.zeros(3)), ValueError, "one row for each of the 4")
    refused(lambda: diagnose(network, x, form="song"), ValueError, 'form must be "map", "field"')
    refused(lambda: diagnose(network, x, times=(1.0, 0.0)), ValueError, "finite and ascending")
    refused(lambda: diagnose(network, x, times=3.0), TypeError, "times must be two numbers")
    refused(lambda: diagnose(nn.Linear(DIM, DIM), x), ValueError, "cannot be called as")
    bad = x.clone()
    bad[1] = float("nan")
    refused(lambda: diagnose(network, bad), ValueError, "not finite in samples")
    refused(lambda: diagnose(Plain(nn.LazyLinear(8)), x), ValueError, "part.weight.*call it once")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and yet met
        scripted = torch.jit.trace(nn.Linear(8, 8), torch.zeros(1, 8))
    refused(lambda: diagnose(Plain(scripted), x), ValueError, "'part' is compiled by TorchScript")
    replaced, method = Plain(), Plain().forward
    replaced.forward = lambda *args: method(*args)
    refused(lambda: diagnose(replaced, x), ValueError, "was replaced on the object")
    network.kept = (network.enter.weight * 2).sum()
    refused(lambda: diagnose(network, x), ValueError, "cannot be copied")
