"""flowmaps doctor: exit status, table, JSON, refusals."""

import json

import pytest

MODELS = """
import torch
from torch import nn


class Sick(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, s, t, x, condition=None):
        return self.norm(x) * torch.sin(8 * t - 4 * s)[:, None]


class Field(nn.Module):
    def forward(self, t, x):
        return torch.sin(x)


def make_labelled():
    import flowmaps as fm

    return fm.networks.MLP(dim=3, width=8, depth=1, classes=4)


def ends():
    raise SystemExit(4)


def needs(a):
    return field


field = Field()
number = 3
"""


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    (tmp_path / "doctor_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def test_traps_end_with_one_and_healthy_networks_with_zero(command, tmp_path):
    path = tmp_path / "sick.json"
    status, said = command("doctor", "doctor_models:Sick", "--shape", 3, "--quick", "--json", path)
    assert status == 1 and "norm (LayerNorm)" in said and "cure" in said
    found = json.loads(path.read_text())
    assert {one["module"] for one in found["findings"] if one["status"] == "trap"} == {"norm"}
    status, said = command("doctor", "doctor_models:field", "--shape", "2,3", "--quick")
    assert status == 0 and "healthy" in said
    arguments = ("doctor_models:make_labelled", "--shape", 3, "--classes", 4, "--quick")
    assert command("doctor", *arguments)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["doctor_models"], "MODULE:OBJECT"),
        (["no_such_module:net"], "no_such_module"),
        (["doctor_models:nothing"], "nothing"),
        (["doctor_models:number"], "no torch.nn.Module"),
        (["doctor_models:ends"], "it ends the program"),
        (["doctor_models:needs"], "cannot be made"),
        (["doctor_models:field", "--shape", "3,x"], "--shape takes whole numbers"),
        (["doctor_models:field", "--dtype", "int8"], "--dtype is one of"),
        (["doctor_models:field", "--form", "song"], "form must be"),
        (["doctor_models:field", "--classes", "3"], "cannot be called as"),
        (["doctor_models:field", "--classes", "3", "--condition-shape", "2"], "not both"),
    ],
)
def test_wrong_use_is_one_sentence(declined, arguments, message):
    assert message in declined("doctor", *arguments, status=2)


def test_files_are_not_overwritten(command, declined, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("precious")
    arguments = ("doctor", "doctor_models:field", "--quick", "--json", path)
    assert "--overwrite" in declined(*arguments, status=2)
    assert path.read_text() == "precious"
    assert command(*arguments, "--overwrite")[0] == 0
    assert json.loads(path.read_text())["healthy"]
