"""Beside the span a multilayer perceptron sees one time: the start, or the end."""

import pytest
import torch

import flowmaps as fm


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("anchor", ["start", "end"])
def test_beside_its_anchor_a_network_sees_the_span_alone(anchor: str, residual: bool) -> None:
    net = fm.networks.MLP(dim=2, width=8, depth=1, residual=residual, anchor=anchor)
    torch.nn.init.normal_(net.head.weight)
    if residual:  # blocks start as the identity
        for name, weight in net.named_parameters():
            if "film" in name or "outer" in name:
                torch.nn.init.normal_(weight)
    s, t, x = torch.rand(5), 1 + torch.rand(5), torch.randn(5, 2)
    value = net(s, t, x)
    moved_s, moved_t = net(s - 0.3, t, x), net(s, t + 0.3, x)
    assert torch.equal(value, moved_t if anchor == "start" else moved_s)
    assert not torch.allclose(value, moved_s if anchor == "start" else moved_t)
    torch.nn.init.normal_(net.get_parameter(span_weights(net)))
    assert not torch.allclose(net(s, t, x), net(s - 0.3, t, x))
    assert not torch.allclose(net(s, t, x), net(s, t + 0.3, x))
    later = fm.networks.MLP(dim=2, width=8, depth=1, residual=residual, anchor="end")
    later.load_state_dict(net.state_dict())
    assert torch.allclose(net(t, t, x), later(t, t, x))  # on the diagonal there is one time


def span_weights(net: fm.networks.MLP) -> str:
    """The name of the span's weights."""
    return next(name for name, _ in net.named_parameters() if "span" in name and "weight" in name)
