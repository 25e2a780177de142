"""What the U-Net computes: its layers by hand, its start, its times, its labels, its file."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.networks._attention import Attention
from flowmaps.networks._convolutions import doubled, halved
from flowmaps.networks._features import Waves
from flowmaps.networks._layers import RMSNorm
from flowmaps.networks._levels import ConvolutionBlock

LABELLED: dict[str, Any] = {
    "shape": (1, 4, 4),
    "width": 4,
    "blocks": 1,
    "attention": (2,),
    "heads": 2,
    "classes": 3,
}


def randomised(module: Any) -> Any:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def batch(size: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s = torch.rand(size)
    return s, s + torch.rand(size), torch.randn(size, 1, 4, 4), torch.arange(size) % 4 - 1


# ---------------------------------------------------------------------------- layers


def test_resolutions_by_hand() -> None:
    h = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    assert halved(h).tolist() == [[[[4.0]]]]
    wide = doubled(torch.tensor([[[[1.0, 2.0]]]]))
    assert wide.tolist() == [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    h = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(halved(h), F.avg_pool2d(h, 2))
    assert torch.equal(doubled(h), F.interpolate(h, scale_factor=2, mode="nearest"))


def test_rms_norm_runs_along_any_axis() -> None:
    h = torch.randn(2, 6, 3, 4)
    channel, last = randomised(RMSNorm(6, axis=1)), RMSNorm(6)
    last.load_state_dict(channel.state_dict())
    torch.testing.assert_close(channel(h), last(h.movedim(1, -1)).movedim(-1, 1))
    # In bfloat16 the squares of 300 sum to 2^k steps and miss by percents.
    large = torch.full((1, 4096, 1, 1), 300.0, dtype=torch.bfloat16)
    assert RMSNorm(4096, axis=1).bfloat16()(large).float().sub(1).abs().max() < 1e-6
    assert RMSNorm(6, axis=1)(torch.zeros(1, 6, 1, 1)).abs().max() == 0.0


def test_attention_is_torchs() -> None:
    """Values as of the fused kernel, which has no forward mode."""
    layer = randomised(Attention(6, heads=2))
    h = torch.randn(3, 6, 4, 2)
    q, k, v = layer.enter(layer.norm(h)).reshape(3, 3, 2, 3, 8).transpose(3, 4).unbind(1)
    unit = lambda a: a * (3**0.5 / a.norm(dim=-1, keepdim=True))  # noqa: E731
    mixed = F.scaled_dot_product_attention(unit(q), unit(k), v)
    expected = h + layer.leave(mixed.transpose(2, 3).reshape(h.shape))
    torch.testing.assert_close(layer(h), expected, rtol=1e-5, atol=1e-5)


def test_blocks_start_as_the_identity() -> None:
    h, embedding = torch.randn(2, 4, 3, 3), torch.randn(2, 5)
    assert torch.equal(ConvolutionBlock(4, 4, 5, heads=2)(h, embedding), h)
    projection = ConvolutionBlock(4, 6, 5)
    assert projection.skip is not None
    assert torch.equal(projection(h, embedding), projection.skip(h))


def test_waves_vanish_at_zero() -> None:
    waves = Waves((1.0, 2.5), 2.0)
    assert torch.equal(waves(torch.zeros(1)), torch.zeros(1, 5))
    u = torch.tensor([0.3])
    phase = torch.pi * 0.15 * torch.tensor([1.0, 2.5])
    expected = torch.cat([u / 2, torch.sin(phase), torch.cos(phase) - 1])[None]
    torch.testing.assert_close(waves(u), expected)


# ---------------------------------------------------------------------------- the start


def test_a_new_network_is_zero_and_its_body_well_scaled() -> None:
    network = fm.networks.UNet((3, 16, 16), width=16, multipliers=(1, 2, 2), attention=(8,))
    s, x = torch.rand(8), torch.randn(8, 3, 16, 16)
    assert torch.equal(network(s, s, x), torch.zeros_like(x))
    h = network.body(network.entry(x), network.embedding(s, s, None))
    assert 0.5 < h.std() < 2.0


def test_a_new_network_does_not_depend_on_the_span() -> None:
    network = fm.networks.UNet(**LABELLED)
    for name, parameter in network.named_parameters():
        if name != "embedding.span.weight":
            nn.init.normal_(parameter, std=0.3)
    s, t, x, label = batch()
    assert torch.equal(network(s, t, x, label), network(s, s, x, label))
    assert not torch.allclose(network(s, t, x, label), network(t, t, x, label))


def test_on_the_diagonal_the_span_never_matters() -> None:
    """So flow matching, which sees the diagonal alone, leaves the span's weights at zero."""
    network = randomised(fm.networks.UNet(**LABELLED))
    s, t, x, label = batch()
    diagonal, off = network(s, s, x, label), network(s, t, x, label)
    diagonal.square().sum().backward()
    span = network.embedding.span.weight
    assert span.grad is not None and span.grad.abs().max() == 0.0
    with torch.no_grad():
        span.zero_()
    assert torch.equal(network(s, s, x, label), diagonal)
    assert not torch.allclose(network(s, t, x, label), off)


def test_gradients_reach_every_parameter() -> None:
    """Head, second convolutions, modulation start at zero: each step wakes what lies behind one."""
    network = fm.networks.UNet(**LABELLED)
    update = torch.optim.Adam(network.parameters(), lr=1e-2)
    s, t, x, label = batch(16)
    for _ in range(4):
        network.zero_grad()
        (network(s, t, x, label) - torch.roll(x, 1, 2)).square().mean().backward()
        update.step()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


# ---------------------------------------------------------------------------- labels, dtypes


def test_no_class_is_a_class_of_its_own() -> None:
    network = randomised(fm.networks.UNet(**LABELLED))
    s, t, x, _ = batch()
    values = [network(s, t, x, torch.full((5,), label)) for label in (-1, 0, 1, 2)]
    assert torch.pdist(torch.stack(values).flatten(1)).min() > 1e-3
    assert torch.equal(values[1], network(s, t, x, torch.zeros(5, dtype=torch.int32)))
    for label in (3, -2):
        with pytest.raises(IndexError, match=r"labels must be in 0\.\.2, or -1"):
            network(s, t, x, torch.full((5,), label))


def test_the_state_decides_the_dtype(default_dtype: torch.dtype) -> None:
    network = randomised(fm.networks.UNet(**LABELLED))
    s, t, x, label = batch()
    y = network(s, t, x, label)
    assert y.dtype == default_dtype and y.shape == x.shape


def test_the_size_of_cifar_on_the_meta_device() -> None:
    with torch.device("meta"):
        network = fm.networks.UNet((3, 32, 32), 128, (1, 2, 2), attention=(16,), classes=10)
        s, x, label = torch.empty(4), torch.empty(4, 3, 32, 32), torch.empty(4, dtype=torch.long)
        assert network(s, s, x, label).shape == (4, 3, 32, 32)


# ---------------------------------------------------------------------------- files


@pytest.mark.parametrize("precision", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_saved_map_comes_back_bit_for_bit(precision: torch.dtype, tmp_path: Path) -> None:
    network = randomised(fm.networks.UNet(**LABELLED, frequencies=(0.5, 3.0), embedding=7))
    learned = fm.maps.NeuralFlowMap(network.to(precision))
    again = fm.load(fm.save(learned, tmp_path / "map"))
    for name, value in learned.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    x, label = torch.randn(5, 1, 4, 4).to(precision), torch.tensor([0, 1, 2, -1, 0])
    assert torch.equal(again(0.2, 0.7, x, label), learned(0.2, 0.7, x, label))


def test_config_rebuilds_the_network() -> None:
    for settings in (LABELLED, {"shape": torch.Size((2, 6, 4)), "width": 6, "condition_dim": 3}):
        network = fm.networks.UNet(**settings)
        again = fm.networks.UNet(**json.loads(json.dumps(network.config())))
        again.load_state_dict(network.state_dict())
        assert again.config() == network.config()
