"""One compilation with inductor, as users compile: value and derivatives of a learned map."""

import shutil

import pytest
import torch
from torch import Tensor

import flowmaps as fm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def learned() -> fm.maps.NeuralFlowMap:
    net = fm.networks.MLP(dim=2, width=8, depth=1, frequencies=(1.0,))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return fm.maps.NeuralFlowMap(net).float()


def test_inductor_compiles_a_value_a_residual_and_its_gradient() -> None:
    """The engine's own way to compile what contains a jvp."""
    torch._dynamo.reset()
    flow = learned()
    s, t = torch.tensor([0.1, 0.2, 0.5]), torch.tensor([0.9, 1.5, 0.7])  # one beyond its times
    x = torch.randn(3, 2, dtype=torch.float32)

    def loss(s: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        y = flow(s, t, x).detach()  # else compiled code sends it a gradient of zeros, 0 NaN = NaN
        residual = fm.residuals.lagrangian(flow, lambda t, x: -x, s[::2], t[::2], x[::2])
        return y.detach(), residual.square().mean()

    from flowmaps.training._compiling import compiled

    results = []
    for function in (loss, compiled(loss, True)):
        flow.zero_grad()
        y, total = function(s, t, x)
        total.backward()
        results.append([y, *(p.grad.clone() for p in flow.parameters())])
    for ours, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert results[1][0].isnan().all(1).tolist() == [False, True, False]
