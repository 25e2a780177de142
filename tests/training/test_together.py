"""Maps trained together end where each alone would; targets follow; students teach."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

o = fm.objectives


def maps(n: int, dim: int = 2) -> list[fm.maps.NeuralFlowMap]:
    made = []
    for seed in range(n):
        torch.manual_seed(seed)
        network = fm.networks.MLP(dim=dim, width=8, depth=1)
        for weight in network.parameters():  # the last layer starts at zero, and all alike
            torch.nn.init.normal_(weight, std=0.3)
        made.append(fm.maps.NeuralFlowMap(network, times=fm.maps.TimeSet(0.0, 1.0)))
    return made


def data() -> o.Pairs:
    generator = torch.Generator().manual_seed(5)
    return o.Pairs(None, 1 + 0.5 * torch.randn(64, 2, generator=generator))


def weights(flow_map: fm.maps.FlowMap) -> Tensor:
    return torch.nn.utils.parameters_to_vector(flow_map.parameters()).detach()


FIELD = lambda t, x: 1 - x  # noqa: E731
METHODS: dict[str, Any] = {
    "lsd": o.lsd,
    "psd_u": o.psd_u,
    "esd": o.esd,
    "fmm": o.fmm,
    "mean flow": o.mean_flow,
    "improved mean flow": o.improved_mean_flow,
    "ayf_emd": lambda: o.ayf_emd(teacher=FIELD),
    "ayf_lmd": lambda: o.ayf_lmd(teacher=FIELD),
    "ect": o.ect,
    "scm": o.scm,
    "ctm": lambda: o.ctm(teacher=FIELD),
    "shortcut": o.shortcut,
    "pfmm": lambda: o.pfmm(teacher=FIELD, count=2),
}


@pytest.mark.parametrize("name", METHODS)
def test_together_is_each_alone(name: str) -> None:
    target = 0.5 if name in ("ctm", "ect") else None
    settings: Any = {
        "steps": 4,
        "batch": 12,
        "learning_rate": 1e-2,
        "warmup": 2,
        "target": target,
        "ema": 0.5,
    }
    alone, together, objective = maps(2), maps(2), METHODS[name]()
    for seed, flow_map in enumerate(alone):
        own = copy.deepcopy(objective)  # a learned weight begins at random
        fm.training.fit(flow_map, own, data(), seed=seed, progress=False, **settings)
    run = fm.training.fit_together(together, objective, data(), **settings)
    assert run.finite == (True, True) and run.losses.shape == (4, 2)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-9, atol=1e-11)


def test_a_budget_of_seconds_leaves_no_trace_of_its_trials() -> None:
    together, again = maps(2), maps(2)
    run = fm.training.fit_together(together, o.lsd(), data(), seconds=0.5, batch=12)
    fm.training.fit_together(again, o.lsd(), data(), steps=run.steps, batch=12)
    for one, other in zip(together, again, strict=True):
        torch.testing.assert_close(weights(one), weights(other))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": None}, "steps or seconds"),
        ({"seconds": 1.0}, "steps or seconds"),
        ({"optimizer": "soap"}, "every weight alone"),
        ({"seeds": [1]}, "one a map"),
        ({"target": 1.5}, "in \\[0, 1\\)"),
    ],
)
def test_what_makes_no_run_together_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fm.training.fit_together(maps(2), o.lsd(), data(), **({"steps": 1, "batch": 4} | change))


def test_maps_of_two_structures_are_refused() -> None:
    with pytest.raises(ValueError, match="same names"):
        unlike = [*maps(1), fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=4, depth=1))]
        fm.training.fit_together(unlike, o.lsd(), data(), steps=1)


# ---------------------------------------------------------------------------- targets


def test_a_target_without_memory_is_the_map_itself() -> None:
    """At decay 0 the target is a copy of the weights as they are: self-distillation."""
    trained = []
    for target in (None, 0.0):
        flow_map = maps(1)[0]
        fm.training.fit(flow_map, o.lsd(), data(), steps=4, batch=12, target=target, progress=False)
        trained.append(weights(flow_map))
    torch.testing.assert_close(*trained)


# ---------------------------------------------------------------------------- stages


def test_each_student_teaches_the_next() -> None:
    seen, learned = [], maps(1)[0]

    def make(teacher: Any, count: int) -> o.Objective:
        seen.append(teacher)
        return o.progressive_distillation(teacher=teacher, count=count)

    results = fm.training.fit_in_stages(
        learned, make, data(), teacher=FIELD, stages=[4, 2], steps=3, batch=8, progress=False
    )
    assert seen[0] is FIELD and seen[1] is results[0].learned
    assert not torch.equal(weights(results[0].learned), weights(results[1].learned))
    assert torch.equal(weights(results[1].learned), weights(learned))
    assert results[1].learned is not learned


def test_a_stage_equals_fit_from_where_the_last_one_ended() -> None:
    learned = maps(1)[0]
    make = lambda teacher, count: o.pfmm(teacher=teacher, count=count)  # noqa: E731
    options: Any = {"steps": 3, "batch": 8, "progress": False}
    results = fm.training.fit_in_stages(
        learned, make, data(), teacher=FIELD, stages=[2, 4], **options
    )
    again = copy.deepcopy(results[0].learned).requires_grad_(True)
    fm.training.fit(again, o.pfmm(teacher=results[0].learned, count=4), data(), **options)
    assert torch.equal(weights(again), weights(learned))


@pytest.mark.parametrize("stages", [[], ()])
def test_no_stages_are_refused(stages: Any) -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        fm.training.fit_in_stages(
            maps(1)[0], lambda *_: o.lsd(), data(), teacher=FIELD, stages=stages, steps=1
        )
