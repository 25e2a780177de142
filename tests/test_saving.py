"""A saved map comes back bit for bit, from files that hold data alone and are whole or refused."""

import hashlib
import json
import os
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import flowmaps as fm
from flowmaps import maps, problems, solvers
from flowmaps._saving._description import Builder, Describer
from flowmaps.errors import LoadError

PACKAGE = Path(fm.__file__).parent
DTYPES = [torch.float32, torch.float64]


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


def decay(t: Tensor, x: Tensor) -> Tensor:
    return -x * (1 + t[:, None])


def decayed(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp((s - t) * (1 + (s + t) / 2))[:, None]


def network(seed: int = 0, **options: Any) -> fm.networks.MLP:
    """A network of which no weight is zero or of few digits."""
    generator = torch.Generator().manual_seed(seed)
    made = fm.networks.MLP(dim=2, width=5, depth=1, **options)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return made


def learned(parametrization: Any = None, seed: int = 0, **options: Any) -> maps.NeuralFlowMap:
    return maps.NeuralFlowMap(network(seed, **options), parametrization, maps.TimeSet(-1.0, 2.0))


def solved(field: Any = decay, **options: Any) -> maps.SolverFlowMap:
    return maps.SolverFlowMap(field, **{"method": solvers.RK4(), "steps": 2, **options})


def exact() -> maps.ExactFlowMap:
    return maps.ExactFlowMap(decayed)


def rotation() -> maps.ExactFlowMap:
    return problems.Rotation().flow_map()


# ---------------------------------------------------------------------------- every kind comes back


@dataclass(frozen=True)
class Kind:
    make: Callable[[], nn.Module]
    supplied: dict[str, Any] = field(default_factory=dict)


GIVEN = {"field": decay}
KINDS: dict[str, Kind] = {
    **{
        f"solver, {method.__name__}": Kind(lambda method=method: solved(method=method()), GIVEN)
        for method in (solvers.Euler, solvers.Midpoint, solvers.Heun, solvers.RK4)
    },
    "solver, Tsit5": Kind(lambda: maps.SolverFlowMap(decay, max_steps=99, throw=False), GIVEN),
    "solver, Dopri5": Kind(
        lambda: maps.SolverFlowMap(
            decay,
            solvers.Dopri5(),
            rtol=1e-3,
            atol=1e-7,
            controller=solvers.I(safety=0.8),
            derivatives="independent",
            times=maps.TimeSet(0.0, max_span=3.0),
        ),
        GIVEN,
    ),
    "solver, torchdiffeq": Kind(
        lambda: maps.SolverFlowMap(
            decay, solvers.TorchDiffEq("rk4", adjoint=True, options={"step_size": 0.25})
        ),
        GIVEN,
    ),
    "solver of a problem": Kind(lambda: solved(problems.VanDerPol(2.0).field)),
    "solver of a network": Kind(lambda: solved(FieldNetwork(1)), {"field": None}),
    "solver of a learned field": Kind(lambda: solved(learned(seed=5).velocity)),
    "exact": Kind(exact, {"function": decayed}),
    "exact, with velocity": Kind(
        lambda: maps.ExactFlowMap(decayed, velocity=decay), {"function": decayed, "velocity": decay}
    ),
    "identity": Kind(maps.Identity),
    "mean velocity": Kind(learned),
    "mean velocity, bells": Kind(
        lambda: learned(
            activation="tanh",
            residual=True,
            angles=(1,),
            frequencies=(0.3, 1.7),
            input_scale=[0.1, 3.0],
            input_shift=(0.7, -0.1),
            output_scale=torch.tensor([0.3, 1.1]),
        )
    ),
    "endpoint": Kind(lambda: learned(maps.Endpoint(1.7))),
    "second order": Kind(lambda: learned(maps.SecondOrder(decay)), GIVEN),
    "second order of a problem": Kind(
        lambda: learned(maps.SecondOrder(problems.HarmonicOscillator(2.0).field))
    ),
    "one's own network": Kind(lambda: maps.NeuralFlowMap(OwnNetwork()), {"network": None}),
    "conjugated": Kind(lambda: maps.Conjugated(rotation(), maps.Affine(0.1, [2.0, 0.3]))),
    "conjugated by functions": Kind(
        lambda: maps.Conjugated(rotation(), maps.FromFunctions(torch.sinh, torch.asinh)),
        {"function": torch.sinh, "inverse_function": torch.asinh},
    ),
    "piecewise": Kind(lambda: maps.Piecewise([learned(), learned(seed=1), rotation()], [0.2, 0.6])),
    "through": Kind(lambda: learned().through([0.1, 0.2, 0.75])),
    "autonomous": Kind(lambda: maps.Autonomous(learned(), 0.3)),
    "leg": Kind(lambda: learned().between(0.1, 0.7)),
    "leg of tensors": Kind(lambda: learned().between(torch.rand(3), torch.tensor(0.7))),
    "chain": Kind(lambda: learned(seed=1).between(0.3, 1.0) @ learned().between(0.0, 0.1 + 0.2)),
    "inverse": Kind(lambda: rotation().between(0.1, 0.7).inverse("newton")),
    "network": Kind(lambda: network(classes=3)),
    "nested": Kind(
        lambda: maps.Piecewise(
            [maps.Conjugated(learned(), maps.Affine(0.1, 1.2)), solved().through([0.7])], [0.5]
        ),
        GIVEN,
    ),
}


class FieldNetwork(nn.Module):
    """A field with weights, a buffer outside the state_dict and a weight that two layers share."""

    offset: Tensor

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.register_buffer("offset", torch.rand(2), persistent=False)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)) * t[:, None]) + self.offset


class OwnNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any) -> Tensor:
        return self.layer(x) * (t - s)[:, None]


FRESH = {"solver of a network": FieldNetwork, "one's own network": OwnNetwork}


def values(module: nn.Module, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(3, 2, generator=generator, dtype=torch.float64).to(dtype)
    if isinstance(module, maps.TransitionMap):
        return module(x)
    s, t = (torch.tensor(times, dtype=dtype) for times in ([0.0, 0.3, 0.5], [0.9, 0.4, 0.5]))
    if isinstance(module, maps.FlowMap):
        return torch.cat([module(s, t, x), module(0.1, 0.8, x), module.velocity(t, x)])
    return module(s, t, x, torch.tensor([0, -1, 2]))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_comes_back_bit_for_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    kind = KINDS[name]
    for other in DTYPES:
        with default(dtype):
            made = kind.make().eval()
            assert fm.save(made, tmp_path, overwrite=True) == tmp_path
        with default(other):
            supplied = dict(kind.supplied)
            if name in FRESH:
                supplied = {key: FRESH[name]() for key in supplied}
            again = fm.load(tmp_path, **supplied)
        assert type(again) is type(made)
        assert not any(part.training for part in again.modules())
        same(dict(made.named_parameters()), dict(again.named_parameters()))
        same(dict(made.named_buffers()), dict(again.named_buffers()))
        assert torch.equal(values(made, dtype), values(again, dtype))
        assert description(again) == description(made)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert theirs[name].dtype == tensor.dtype
        assert theirs[name].requires_grad == tensor.requires_grad
        assert torch.equal(theirs[name], tensor)


def description(module: nn.Module) -> Any:
    return Describer().describe(module, "flow_map")


@pytest.mark.parametrize("name", problems.names())
def test_every_problem_comes_back(name: str, tmp_path: Path) -> None:
    problem = problems.get(name)
    fm.save(solved(problem.field), tmp_path)
    again = fm.load(tmp_path).field.__self__
    assert type(again) is type(problem)
    assert dict(again.parameters) == dict(problem.parameters)
    x = problem.domain.sample(3)
    assert torch.equal(again.field(0.5, x), problem.field(0.5, x))


@pytest.mark.parametrize(
    "given, plain",
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (Fraction(1, 4), 0.25),
        (float("-inf"), {"float": "-inf"}),
        ((1, [None, "a"]), [1, [None, "a"]]),
        ({"float": "b"}, {"dict": {"float": "b"}}),
    ],
)
def test_plain_values_are_written_as_json(given: Any, plain: Any) -> None:
    written = Describer().describe(given, "value")
    assert written == plain and type(written) is type(plain)
    built = Builder({}).build(json.loads(json.dumps(written)))
    assert built == (list(given) if isinstance(given, tuple) else given)


def test_half_precision_and_mixed_weights_come_back(tmp_path: Path) -> None:
    made = learned().float()
    made.network.head.to(torch.bfloat16)
    fm.save(made, tmp_path)
    same(made.state_dict(), fm.load(tmp_path).state_dict())


def test_odd_values_come_back(tmp_path: Path) -> None:
    given = network()
    start = torch.tensor([1e-300, 5e-324, 0.1])
    with torch.no_grad():
        given.head.weight[0, :4] = torch.tensor([-0.0, float("nan"), float("-inf"), 5e-324])
    fm.save(maps.NeuralFlowMap(given).between(start, 1.0), tmp_path)
    again = fm.load(tmp_path)
    bits = again.flow_map.network.head.weight.detach().view(torch.int64)
    assert torch.equal(bits, given.head.weight.detach().view(torch.int64))
    assert torch.equal(again.s, start) and again.s.dtype == start.dtype


def test_a_strided_weight_comes_back(tmp_path: Path) -> None:
    given = FieldNetwork()
    given.first.bias = nn.Parameter(torch.rand(6)[::3])
    fm.save(solved(given), tmp_path)
    assert torch.equal(fm.load(tmp_path, field=FieldNetwork(9)).field.first.bias, given.first.bias)


# ---------------------------------------------------------------------------- shared, supplied


def test_shared_parts_stay_shared(tmp_path: Path) -> None:
    one, both = learned(), learned(seed=3)
    made = maps.Piecewise([one, maps.NeuralFlowMap(one.network), one, both], [0.1, 0.5, 0.8])
    fm.save(made, tmp_path)
    first, second, third, fourth = fm.load(tmp_path).maps
    assert first is third and first.network is second.network
    assert fourth.network is not first.network
    assert (tmp_path / "flowmap.json").read_text().count('"networks:MLP"') == 2


def test_a_shared_problem_and_a_shared_weight_stay_shared(tmp_path: Path) -> None:
    flow = problems.HarmonicOscillator(2.0).flow_map()
    fm.save(maps.Conjugated(flow, maps.Affine(0.0, 2.0)), tmp_path / "a")
    inner = fm.load(tmp_path / "a").flow_map
    assert inner.function.__self__ is inner._velocity.__self__
    fm.save(solved(FieldNetwork()), tmp_path / "b")
    again = fm.load(tmp_path / "b", field=FieldNetwork(1)).field
    assert again.first.weight is again.second.weight


@pytest.mark.parametrize("owner_first", [True, False])
def test_the_owner_of_a_method_keeps_its_weights(owner_first: bool, tmp_path: Path) -> None:
    teacher, other = learned(), learned(seed=2)
    parts = [teacher, solved(teacher.velocity)]
    made = maps.Piecewise(
        [*(parts if owner_first else parts[::-1]), solved(other.velocity)], [0, 1]
    )
    fm.save(made, tmp_path)
    again = fm.load(tmp_path)
    assert torch.equal(values(again, torch.float64), values(made, torch.float64))
    x = torch.rand(2, 2)
    assert torch.equal(again(0.5, 1.5, x), made(0.5, 1.5, x))
    ours, theirs = again.maps if owner_first else again.maps[:2][::-1], again.maps[2]
    assert ours[1].field.__self__ is ours[0]
    assert not theirs.field.__self__.training


def test_parts_are_supplied_by_name(tmp_path: Path) -> None:
    made = maps.Piecewise([solved(), solved(lambda t, x: 2 * x), solved()], [0.1, 0.2])
    fm.save(made, tmp_path)
    again = fm.load(tmp_path, field=decay, field_2=abs)
    first, second, third = (part.field for part in again.maps)
    assert first is third is decay and second is abs


def test_methods_that_cannot_be_found_again_are_supplied(tmp_path: Path) -> None:
    class Private(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return -x

    problem, own = problems.Rotation(), Private()
    for number, method in enumerate((types.MethodType(decay_of, problem), own.forward)):
        fm.save(solved(method), tmp_path / str(number))
        assert fm.load(tmp_path / str(number), field=method).field == method


def decay_of(self: Any, t: Tensor, x: Tensor) -> Tensor:
    return -x


def test_weights_are_put_into_a_supplied_network(tmp_path: Path) -> None:
    fm.save(maps.NeuralFlowMap(OwnNetwork()), tmp_path)
    given = OwnNetwork().float()
    again = fm.load(tmp_path, network=given)
    assert again.network is given
    assert given.layer.weight.dtype == torch.float64


def test_loading_keeps_what_was_there(tmp_path: Path) -> None:
    made = learned().train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    fm.save(made, tmp_path)
    assert made.training
    again = fm.load(tmp_path)
    with torch.no_grad():
        again.network.head.weight.zero_()
    same(before, made.state_dict())
    same(before, fm.load(tmp_path).state_dict())


# ---------------------------------------------------------------------------- what the files are


def test_the_files_are_json_and_safetensors(tmp_path: Path) -> None:
    made = learned()
    fm.save(made, tmp_path)
    structure, weights = sorted(tmp_path.iterdir(), key=lambda path: path.suffix)
    written = json.loads(structure.read_text())
    assert written["weights"] == weights.name
    assert written["flow_map"]["class"] == "maps:NeuralFlowMap"
    assert written["flow_map"]["config"]["network"]["config"]["width"] == 5
    with safe_open(weights, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    named = {**dict(made.named_parameters()), **dict(made.named_buffers())}
    assert stored.keys() == named.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in named.items())


def test_the_same_map_makes_the_same_files(tmp_path: Path) -> None:
    fm.save(learned(), tmp_path / "a")
    fm.save(learned(), tmp_path / "b")
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert a == b


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = re.compile(r"\b(pickle|cloudpickle|dill|joblib|marshal|shelve|torch\.(load|save)\()")
    found = [path for path in PACKAGE.rglob("*.py") if words.search(path.read_text("utf-8"))]
    # The module of saving says in its docstring that it uses none.
    for path in found:
        code = re.sub(r'"""(?s:.*?)"""', "", path.read_text("utf-8"))
        assert not words.search(code), path

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("pickled")

    for module, name in [(pickle, "loads"), (pickle, "load"), (pickle, "dumps"), (torch, "load")]:
        monkeypatch.setattr(module, name, refuse)
    fm.load(fm.save(learned(), tmp_path))


# ---------------------------------------------------------------------------- hostile descriptions

PROBLEM = {"class": "problems:Rotation", "config": {}, "number": 1}
NETWORK = {"class": "networks:MLP", "config": {"dim": 1}, "number": 1}
LEG = {
    "class": "maps:Leg",
    "config": {
        "flow_map": {"class": "maps:Identity", "config": {}, "number": 2},
        "s": 0.0,
        "t": 1.0,
    },
    "number": 1,
}


def an(kind: Any, number: Any = 0, **config: Any) -> dict[str, Any]:
    return {"class": kind, "config": config, "number": number}


def method(name: Any, of: Any) -> dict[str, Any]:
    return an("maps:SolverFlowMap", field={"method": name, "of": of, "number": 3})


NO_CLASS = "this version of flowmaps has no"
NO_METHOD = "has no method"
HOSTILE: dict[str, tuple[Any, str]] = {
    "a class of Python": (an("os:system", command="touch marker"), NO_CLASS),
    "a function of Python": (an("builtins:eval", source="open('marker', 'w')"), NO_CLASS),
    "a path": (an("maps.torch.os:system", command="touch marker"), NO_CLASS),
    "a relative path": (an("..evil:Evil"), NO_CLASS),
    "a module not yet imported": (an("evil:Evil"), NO_CLASS),
    "a module in a room": (an("maps:_newton"), NO_CLASS),
    "a function of a room": (an("solvers:solve"), NO_CLASS),
    "a room that saves nothing": (an("training:fit"), NO_CLASS),
    "the room of saving": (an("_saving:load", folder="."), NO_CLASS),
    "a class that describes nothing": (an("maps:FlowMap"), NO_CLASS),
    "an abstract class": (an("problems:Problem"), "cannot rebuild problems:Problem"),
    "no text for a class": (an(["maps"]), NO_CLASS),
    "a class that is unknown": (an("maps:Magic"), NO_CLASS),
    "arguments that are unknown": (an("maps:Identity", magic=1), "cannot rebuild maps:Identity"),
    "itself as argument": (an("maps:Identity", self=1), "cannot rebuild maps:Identity"),
    "a network beyond all memory": (an("networks:MLP", dim=2, width=10**13), "cannot rebuild"),
    "a number beyond all floats": (an("networks:MLP", dim=2, time_scale=10**400), "cannot rebuild"),
    "a private method": (method("_parameters", PROBLEM), NO_METHOD),
    "a dunder": (method("__class__", PROBLEM), NO_METHOD),
    "a dunder of a module": (method("__init_subclass__", NETWORK), NO_METHOD),
    "an attribute": (method("times", PROBLEM), NO_METHOD),
    "a property": (method("evaluations", LEG), NO_METHOD),
    "a path of attributes": (method("field.__func__", PROBLEM), NO_METHOD),
    "no text for a method": (method(["field"], PROBLEM), NO_METHOD),
    "a method of text": (method("format", "{0.__class__}"), NO_METHOD),
    "a method of a list": (method("append", [1]), NO_METHOD),
    "a method of a supplied part": (
        method("explode", {"supplied": "thing", "type": "-", "number": 4}),
        NO_METHOD,
    ),
    "a dtype that is none": (an("maps:Affine", shift={"tensor": 1, "dtype": "os"}), "no dtype os"),
    "a ragged tensor": (
        an("maps:Affine", shift={"tensor": [[1], [1, 2]], "dtype": "float32"}),
        "malformed",
    ),
    "a tensor of text": (
        an("maps:Affine", shift={"tensor": "a", "dtype": "float32"}),
        "malformed",
    ),
    "a float that is none": (an("maps:Endpoint", time={"float": "1"}), "malformed"),
    "an object not yet made": (an("maps:Endpoint", time={"same": 7}), "malformed"),
    "itself": (an("maps:Endpoint", time={"same": 0}), "malformed"),
    "a number twice": (an("maps:SecondOrder", field=an("maps:Identity")), "has number 0"),
    "a number that is none": (an("maps:Identity", number=[]), "has number"),
    "no number": ({"class": "maps:Identity", "config": {}}, "malformed"),
    "another root": (an("maps:Identity", number=5), "not a map's description"),
    "arguments that are no dictionary": (
        {"class": "maps:Identity", "config": [], "number": 0},
        "malformed",
    ),
    "no object": (7, "not a map's description"),
    "no map": (an("maps:TimeSet"), "not a map's description"),
    "another map": (an("maps:Identity"), "do not fit the map"),
}


class Thing:
    touched = False

    @property
    def explode(self) -> None:
        Thing.touched = True


def forge(folder: Path, node: str) -> None:
    """Write a description, JSON with sorted keys, with the checksum that belongs to it."""
    written = {**json.loads((folder / "flowmap.json").read_text()), "flow_map": "@"}
    written["sha256"] = hashlib.sha256(node.encode()).hexdigest()
    (folder / "flowmap.json").write_text(json.dumps(written).replace('"@"', node))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    for evil in (tmp_path / "evil.py", tmp_path / "marker.py"):
        evil.write_text("open('marker', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    fm.save(learned(), tmp_path / "run")
    forge(tmp_path / "run", json.dumps(node, sort_keys=True))
    supplied = {"thing": Thing()} if "thing" in json.dumps(node) else {}
    with pytest.raises(LoadError, match=message) as caught:
        fm.load("run", **supplied)
    assert "\n" not in str(caught.value)
    assert not Path("marker").exists() and "evil" not in sys.modules and not Thing.touched


@pytest.mark.parametrize("depth", [100, 300, 450, 900, 100_000])
@pytest.mark.parametrize("ends", [("[", "]"), ('{"dict": {"a": ', "}}")], ids=["list", "dict"])
def test_huge_nesting_is_refused(depth: int, ends: tuple[str, str], tmp_path: Path) -> None:
    fm.save(learned(), tmp_path)
    forge(tmp_path, f"{ends[0] * depth}1{ends[1] * depth}")
    with pytest.raises(LoadError):
        fm.load(tmp_path)


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F64", "shape": [9], "data_offsets": [0, 8]}}).encode()
    for raw in (
        b"",
        b"garbage",
        b"\xff" * 99,
        len(header).to_bytes(8, "little") + header + b"0" * 8,
    ):
        fm.save(learned(), tmp_path, overwrite=True)
        name = f"flowmap-{hashlib.sha256(raw).hexdigest()}.safetensors"
        (tmp_path / name).write_bytes(raw)
        path = tmp_path / "flowmap.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "weights": name}))
        with pytest.raises(LoadError, match="is no file of weights"):
            fm.load(tmp_path)


def test_weights_of_another_map_are_refused(tmp_path: Path) -> None:
    fm.save(learned(), tmp_path / "a")
    fm.save(learned(residual=True), tmp_path / "b")
    (other,) = (tmp_path / "b").glob("*.safetensors")
    path = tmp_path / "a" / "flowmap.json"
    other.rename(path.with_name(other.name))
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": other.name}))
    with pytest.raises(LoadError, match="do not fit the map: look at"):
        fm.load(tmp_path / "a")


# ---------------------------------------------------------------------------- interrupted saves


class Crash(BaseException):
    """Ends a save wherever it is, as an interruption does."""


def crashing(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    count = iter(range(100))

    def crash(*arguments: Any) -> Any:
        if next(count) == call:
            raise Crash
        return function(*arguments)

    return crash


SYSTEM = [("replace", 0), ("replace", 1), ("fsync", 0), ("fsync", 1), ("unlink", 0)]


@pytest.mark.parametrize("name, call", SYSTEM)
@pytest.mark.parametrize("where", ["fresh", "overwrite"])
def test_an_interrupted_save_leaves_a_whole_map(
    name: str, call: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, x = learned(), solved(learned(seed=1).velocity), torch.rand(3, 2)
    if where == "overwrite":
        fm.save(old, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, crashing(getattr(os, name), call))
        crashed = True
        try:
            fm.save(new, tmp_path, overwrite=where == "overwrite")
            crashed = False
        except Crash:
            pass
    assert crashed == (name != "unlink" or where == "overwrite")
    assert not list(tmp_path.glob("*.new"))
    if name == "unlink":  # comes last: the new map is there
        assert torch.equal(fm.load(tmp_path)(0.0, 1.0, x), new(0.0, 1.0, x))
    elif where == "overwrite":
        assert torch.equal(fm.load(tmp_path)(0.0, 1.0, x), old(0.0, 1.0, x))
    else:
        with pytest.raises(LoadError, match="holds no saved map"):
            fm.load(tmp_path)
    fm.save(new, tmp_path, overwrite=where == "overwrite" or name == "unlink")
    assert torch.equal(fm.load(tmp_path)(0.0, 1.0, x), new(0.0, 1.0, x))
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_power_cut_leaves_is_cleared_away(tmp_path: Path) -> None:
    fm.save(learned(), tmp_path)
    weights = f"flowmap-{'0' * 64}.safetensors"
    for left in (weights, f"{weights}.new", "flowmap.json.new"):
        (tmp_path / left).write_bytes(b"half of i")
    (tmp_path / "notes.txt").write_text("mine")
    assert isinstance(fm.load(tmp_path), maps.NeuralFlowMap)
    fm.save(solved(), tmp_path, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 3 and (tmp_path / "notes.txt").exists()


def test_a_map_that_cannot_be_saved_leaves_what_was_there(tmp_path: Path) -> None:
    class OwnMap(maps.FlowMap):
        def _transport(self, s: Any, t: Any, x: Tensor, condition: Any) -> Tensor:
            return x

    fm.save(learned(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError, match="save needs a flow map of flowmaps, got OwnMap"):
        fm.save(OwnMap(), tmp_path, overwrite=True)
    odd = solved(method=solvers.TorchDiffEq(options={"a": 1.0, 2: 3.0}), steps=None)  # type: ignore
    with pytest.raises(TypeError, match="keys of options must be text"):
        fm.save(odd, tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    # Inside another map it is a part that only its owner has.
    inner = OwnMap()
    fm.save(inner.between(0.0, 1.0), tmp_path, overwrite=True)
    assert fm.load(tmp_path, flow_map=inner).flow_map is inner
