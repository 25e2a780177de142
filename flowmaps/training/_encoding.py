"""Nested states as the bytes of one safetensors file, and back, without pickle.

The file holds the state's tensors, named "0", "1", ..., and one more, "structure": JSON in which
each tensor stands by its name. What JSON has no word for is an object with one key:
{"tuple": [..]}, {"dict": [[key, value], ..]}, {"ordered": ..} for an OrderedDict, {"int": ..} in
hexadecimal beyond 64 bits, {"float": ..} as its 8 bytes if it is not finite, and
{"tensor": [name, dtype, shape, order]}, where order is that of a transposed tensor's axes in
memory, else null: products with a matrix round differently when its columns lie where its rows did.
A tensor of a dtype that old releases of safetensors lack is kept as its bytes.
"""

import json
import math
import struct
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["decode", "encode"]

_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DEEPEST = 100  # levels; json gives up at some hundreds
_KINDS = "dict, list, tuple, None, bool, int, float, str and dense torch tensors"


# ---------------------------------------------------------------------------- writing


def encode(state: Any, facts: dict[str, Any]) -> Iterator[bytes | memoryview]:
    """Return the pieces of the file, in order; one tensor at a time is copied to the CPU.

    Args:
        state: nested dict (keys str or int), list, tuple, None, bool, int, float, str, tensors.
        facts: about the state, strings and numbers; not named "state".

    Raises:
        TypeError: for anything else in the state, by its place.
        ValueError: for a state that contains itself, or of more than 100 levels.
    """
    describer = _Describer()
    structure = {**facts, "state": describer.describe(state, "state", 0)}
    text = json.dumps(structure, allow_nan=False).encode()
    # Large items first, so that all are aligned.
    tensors = dict(sorted(describer.tensors.items(), key=lambda item: -item[1].itemsize))
    return chain([_header(tensors, len(text))], map(_bytes, tensors.values()), [text])


class _Describer:
    """Turns a state into JSON; ``tensors`` are those met, by name, each place in memory once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[Any, str] = {}

    def describe(self, value: Any, place: str, depth: int) -> Any:
        """Return a value as JSON; ``place`` is what to call it in an error."""
        if depth > _DEEPEST:
            raise ValueError(f"the state contains itself or has over {_DEEPEST} levels at {place}")
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if abs(value) < 2**63 else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
        if kind is list:
            return self._items(value, place, depth)
        if kind is tuple:
            return {"tuple": self._items(value, place, depth)}
        if kind is dict or kind is OrderedDict:
            return {"dict" if kind is dict else "ordered": self._pairs(value, place, depth)}
        if isinstance(value, Tensor):
            return {"tensor": self._tensor(value, place)}
        raise TypeError(f"{place} is a {_name(kind)}; a state holds {_KINDS}: convert it to one")

    def _items(self, values: Any, place: str, depth: int) -> list[Any]:
        return [self.describe(v, f"{place}[{k}]", depth + 1) for k, v in enumerate(values)]

    def _pairs(self, values: dict[Any, Any], place: str, depth: int) -> list[Any]:
        for key in values:
            if type(key) not in (str, int):
                raise TypeError(
                    f"a key of {place} is the {_name(type(key))} {key!r}, not str or int"
                )
        return [
            [self.describe(key, place, depth), self.describe(v, f"{place}[{key!r}]", depth + 1)]
            for key, v in values.items()
        ]

    def _tensor(self, value: Tensor, place: str) -> list[Any]:
        _require_dense(value, place)
        name = self._names.setdefault(_memory(value), str(len(self.tensors)))
        order = _order(value)
        stored = self.tensors.setdefault(name, value if order is None else value.permute(order))
        return [name, str(value.dtype).removeprefix("torch."), list(stored.shape), order]


def _order(value: Tensor) -> list[int] | None:
    """Return the order of axes in which a tensor without gaps is contiguous; None if as it is."""
    order = sorted(range(value.ndim), key=lambda axis: -value.stride(axis))
    gapless = not value.is_contiguous() and value.permute(order).is_contiguous()
    return order if gapless else None


def _require_dense(value: Tensor, place: str) -> None:
    plain = type(value) in (Tensor, nn.Parameter) and not value.is_nested
    if not plain or value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise TypeError(
            f"{place} is a {_name(type(value))} ({value.layout}, {value.dtype}, {value.device}); a "
            "state holds dense tensors with values: convert it with to_dense() or full_tensor()"
        )


def _memory(value: Tensor) -> Any:
    """Return what two tensors share if they are the same numbers in the same place."""
    if value.numel() == 0:
        return id(value)
    view = (value.dtype, value.shape, value.stride(), value.is_conj(), value.is_neg())
    return value.device, value.data_ptr(), view


def _header(tensors: dict[str, Tensor], length: int) -> bytes:
    """Return the beginning of a safetensors file: the length of its JSON, and the JSON."""
    entries, end = {}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.itemsize
        code = _CODES.get(tensor.dtype)
        shape = list(tensor.shape) if code else [size]
        entries[name] = {"dtype": code or "U8", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    entries["structure"] = {"dtype": "U8", "shape": [length], "data_offsets": [end, end + length]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _bytes(tensor: Tensor) -> memoryview:
    values = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    array: Any = values.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _name(kind: type) -> str:
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return module + kind.__qualname__


# ---------------------------------------------------------------------------- reading


def decode(raw: bytes) -> tuple[dict[str, Any], Any]:
    """Return the facts of a file's content, and a function that makes its state, on the CPU.

    Raises:
        ValueError: if it is no file that ``encode`` has made.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    no_state = (SafetensorError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
    try:
        tensors = parse(raw)
        facts = json.loads(tensors.pop("structure").numpy().tobytes())
        node = facts.pop("state")
    except no_state as error:
        raise ValueError(f"it holds no state ({error!r})") from error
    return facts, lambda: _Builder(tensors).state(node)


class _Builder:
    """Turns JSON back into a state."""

    def __init__(self, tensors: dict[str, Tensor]):
        self._stored = tensors
        self._tensors: dict[str, Tensor] = {}

    def state(self, node: Any) -> Any:
        """Return what a description stands for; raise ValueError if it is none."""
        try:
            return self._build(node)
        except Exception as error:  # a description can be wrong in any way
            raise ValueError(f"its description is malformed ({error!r})") from error

    def _build(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._build(item) for item in node]
        if not isinstance(node, dict):
            return node
        [(kind, content)] = node.items()
        if kind == "int":
            return int(content, 16)
        if kind == "float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        if kind == "tensor":
            return self._tensor(*content)
        made = {"tuple": tuple, "dict": dict, "ordered": OrderedDict}[kind]
        return made(self._build(content))

    def _tensor(self, name: str, kind: str, shape: list[int], order: list[int] | None) -> Tensor:
        if name not in self._tensors:
            values, dtype = self._stored[name].cpu(), getattr(torch, kind)
            as_stored = values if values.dtype == dtype else values.view(dtype)
            shaped = as_stored.reshape(shape)
            if order is not None:
                shaped = shaped.permute([order.index(axis) for axis in range(len(order))])
            self._tensors[name] = shaped
        return self._tensors[name]
