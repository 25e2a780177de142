"""A log reads as one run: strict JSON lines, whole or dropped, cut off where a run is resumed."""

import json
import math
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowmaps.errors import RunFolderError
from flowmaps.training._log import JsonLines, require_json

NUMBERS = {"nan", "inf", "-inf"}
"""Texts that a log reads as numbers, as it says."""
TEXTS = st.text(max_size=5).filter(lambda text: text not in NUMBERS)


@pytest.fixture
def log(tmp_path: Path) -> JsonLines:
    return JsonLines(tmp_path / "log.jsonl")


def steps(log: JsonLines) -> list[int]:
    return [record["step"] for record in log.read()]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


# ---------------------------------------------------------------------------- there and back


@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=4))
def test_records_come_back(tmp_path_factory: Any, records: list[dict[str, Any]]) -> None:
    log = JsonLines(tmp_path_factory.mktemp("log") / "log.jsonl")
    for record in records:
        log.write(**record)
    assert repr(log.read()) == repr(records)  # NaN equals nothing, -0.0 too much


def test_lines_are_strict_json(log: JsonLines) -> None:
    log.write(step=1, loss=math.nan, parts={"a": [math.inf, -math.inf, 1.5]}, self="me")
    [line] = log.path.read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": 1, "loss": "nan", "parts": {"a": ["inf", "-inf", 1.5]}, "self": "me"
    }  # fmt: skip
    assert math.isnan(log.read()[0]["loss"])


def test_numbers_of_numpy_and_tuples_will_do(log: JsonLines) -> None:
    log.write(loss=np.float64(0.1), pair=(1, np.float64("inf")))
    assert log.path.read_text() == '{"loss": 0.1, "pair": [1, "inf"]}\n'


def test_a_record_is_there_when_write_returns(log: JsonLines) -> None:
    for step in range(5):
        log.write(step=step, text="line\nbreak\u2028")
        assert steps(JsonLines(log.path)) == list(range(step + 1))


def test_no_file_holds_no_records(log: JsonLines) -> None:
    assert log.read() == []
    log.truncate_from(0)
    assert not log.path.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(()), r"^loss is a Tensor, which JSON does not have.*\.item\(\)"),
        ([np.int64(1)], r"^loss\[0\] is a int64"),
        ({"a": {1: 2}}, r"^loss\['a'\] has the key 1; keys in JSON are text"),
        ({1, 2}, "^loss is a set"),
        (b"bytes", "^loss is a bytes"),
    ],
)
def test_other_values_are_refused(
    value: Any, message: str, log: JsonLines, refused: Callable[..., None]
) -> None:
    log.write(step=0)
    refused(lambda: log.write(loss=value), TypeError, message)
    assert log.read() == [{"step": 0}]


def test_json_that_would_change_is_refused(refused: Callable[..., None]) -> None:
    require_json({"a": [1, 2.5, None, True, "x", {"b": []}]}, "it")
    refused(lambda: require_json([math.inf], "it"), ValueError, r"^it\[0\] is inf, which JSON")
    refused(lambda: require_json({"a": (1,)}, "it"), TypeError, r"^it\['a'\] is a tuple")


# ---------------------------------------------------------------------------- torn lines


def test_a_torn_line_is_dropped_at_every_length(log: JsonLines) -> None:
    for step in range(2):
        log.write(step=step, loss=0.5)
    first, whole = log.path.read_bytes().index(b"\n") + 1, log.path.read_bytes()
    for length in range(len(whole) + 1):
        log.path.write_bytes(whole[:length])
        left = list(range((length >= first) + (length == len(whole))))
        assert steps(log) == left
        assert log.path.stat().st_size == length  # a reader changes nothing
        log.write(step=7)
        assert steps(log) == [*left, 7]


def test_zeros_after_a_loss_of_power_are_dropped(log: JsonLines) -> None:
    log.write(step=0)
    with open(log.path, "ab") as file:
        file.write(b"\0" * 10_000)
    log.write(step=1)
    assert steps(log) == [0, 1]


@pytest.mark.parametrize("line", ["", "[1]", "{", "NaN,", '"text"'])
def test_a_corrupt_line_is_named(line: str, log: JsonLines, refused: Callable[..., None]) -> None:
    log.write(step=0)
    with open(log.path, "a") as file:
        file.write(line + "\n")
    log.write(step=2)
    content = log.path.read_bytes()
    for act in (log.read, lambda: log.truncate_from(0)):
        refused(act, OSError, "^line 2 of the log .*log.jsonl is no JSON object", RunFolderError)
    assert log.path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit to the size of files")
def test_a_full_disk_leaves_whole_lines(log: JsonLines) -> None:
    import resource

    log.write(step=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RunFolderError, match="cannot write the log .*log.jsonl .*free space"):
            log.write(step=1, text="x" * 1000)
        assert log.path.read_bytes() == b'{"step": 0}\n'
        log.write(step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.path.read_bytes() == b'{"step": 0}\n{"step": 2}\n'


def test_a_log_in_no_folder_is_refused(tmp_path: Path, refused: Callable[..., None]) -> None:
    log = JsonLines(tmp_path / "missing" / "log.jsonl")
    refused(lambda: log.write(step=0), OSError, "cannot write the log", RunFolderError)


# ---------------------------------------------------------------------------- resuming


def test_a_resumed_log_reads_as_one_run(log: JsonLines) -> None:
    log.write(event="start")
    for step in range(10):
        log.write(step=step, attempt=1)
    log.truncate_from(6)
    for step in range(6, 9):
        log.write(step=step, attempt=2)
    event, *records = log.read()
    assert event == {"event": "start"}
    assert [record["step"] for record in records] == list(range(9))
    assert [record["attempt"] for record in records] == [1] * 6 + [2] * 3
    assert os.listdir(log.path.parent) == ["log.jsonl"]


@given(st.lists(st.integers(-3, 3) | st.floats() | st.none() | st.text(max_size=3), max_size=8))
def test_what_remains_is_before_the_step_byte_for_byte(tmp_path_factory: Any, found: list) -> None:
    log = JsonLines(tmp_path_factory.mktemp("log") / "log.jsonl")
    for step in found:
        log.write(step=step)
    lines = log.path.read_bytes().splitlines() if found else []
    log.truncate_from(1)
    kept = [
        line
        for line, step in zip(lines, found, strict=True)
        if not (isinstance(step, int | float) and math.isfinite(step) and step >= 1)
    ]
    assert (log.path.read_bytes().splitlines() if found else []) == kept


def test_a_torn_line_goes_with_the_rest(log: JsonLines) -> None:
    log.write(step=0)
    with open(log.path, "ab") as file:
        file.write(b'{"step": 1')
    log.truncate_from(5)
    assert log.path.read_bytes() == b'{"step": 0}\n'


def test_an_interrupted_truncation_changes_nothing(
    log: JsonLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(3):
        log.write(step=step)

    def failing(*arguments: Any) -> None:
        raise OSError("interrupted")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(RunFolderError, match="interrupted"):
        log.truncate_from(1)
    assert steps(log) == [0, 1, 2] and os.listdir(log.path.parent) == ["log.jsonl"]


def test_a_reader_beside_the_writer_sees_whole_records(log: JsonLines) -> None:
    writer = threading.Thread(target=lambda: [log.write(step=k) for k in range(3000)])
    writer.start()
    while writer.is_alive():
        seen = steps(log)
        assert seen == list(range(len(seen)))
    writer.join()
    assert len(log.read()) == 3000
