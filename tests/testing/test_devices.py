"""Values on an accelerator against those on the CPU."""

import pytest
import torch
from torch import Tensor

import flowmaps as fm

BOX, TIMES = fm.testing.Box([-3.0, -3.0], [3.0, 3.0]), (0.0, 1.0)


def _decay(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(s - t)[:, None]


def test_without_an_accelerator_there_is_nothing_to_compare() -> None:
    report = fm.testing.verify(_decay, None, BOX, TIMES, only=["device consistency"])
    assert report["device consistency"].status == "not applicable"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
class TestDevices:
    """On an accelerator."""

    def test_one_map_on_both_devices_passes(self) -> None:
        report = fm.testing.verify(_decay, lambda t, x: -x, BOX, TIMES, device="cuda")
        assert report["device consistency"].status == "passed", str(report)
        assert report.verdict == "flow map of the field"

    def test_another_value_on_the_accelerator_is_found(self) -> None:
        def apart(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            return _decay(s, t, x) * (1 + 1e-9 * (x.device.type == "cuda"))

        report = fm.testing.verify(apart, lambda t, x: -x, BOX, TIMES, device="cuda")
        assert report["device consistency"].status == "failed"
        assert report.verdict == "not a flow"

    def test_a_module_is_moved_and_stays_where_it_was(self) -> None:
        class Scaled(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.rate = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

            def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
                return x * torch.exp(self.rate * (s - t))[:, None]

        module = Scaled().cuda()
        report = fm.testing.verify(module, lambda t, x: -x, BOX, TIMES, device="cuda")
        assert report["device consistency"].status == "passed", str(report)
        assert module.rate.device.type == "cuda"

    def test_a_map_of_one_device_is_excused(self) -> None:
        rate = torch.ones((), dtype=torch.float64, device="cuda").expand(4096)

        def held(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            return x * torch.exp(rate[:1].to(x.dtype) * (s - t))[:, None]

        report = fm.testing.verify(held, lambda t, x: -x, BOX, TIMES, device="cuda")
        assert report["device consistency"].status == "not applicable"
        assert report.verdict == "flow map of the field"
