"""Nests of dicts, lists and tensors as named tensors and one text, and back.

A checkpoint is seldom tensors alone: `{"model": ..., "optimizer": ..., "epoch": 3}`. Its tensors
are named after the way to them, "model/0.weight"; the rest is JSON. Plain values stand for
themselves; what JSON has no word for is an object of one key:

    {"tensor": name} {"dict": [[key, value], ...]} {"list": [...]} {"tuple": [...]} {"float": "nan"}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from tenor.errors import ArgumentError, FormatError
from tenor.save import strict_json
from tenor.save.elements import restored, stored
from tenor.tensor import Tensor

if TYPE_CHECKING:
    from tenor.save.safetensors import Typed

__all__ = ["NEST", "is_nested", "packed", "unpacked"]

NEST: Final = "tenor.nest"
"""The metadata entry that holds the text."""

MAX_NESTING: Final = 64
"""Dicts and lists inside one another; each is up to three levels of JSON."""

PLAIN: Final = (str, bool, int, type(None))
SPECIAL: Final = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
WHAT: Final = f"the metadata {NEST!r}"


def is_nested(what: Mapping[Any, Any]) -> bool:
    """Tell whether a dict is more than tensors by name."""
    arrays = (Tensor, np.ndarray)
    return not all(isinstance(k, str) and isinstance(v, arrays) for k, v in what.items())


def packed(what: Any) -> tuple[dict[str, Typed | Any], str]:
    """Return a nest's tensors by name, and the text that says where they belong.

    Raises:
        ArgumentError: there is something else in it; says where.
    """
    found: dict[str, Any] = {}
    text = json.dumps(_packed(what, (), found), separators=(",", ":"), ensure_ascii=False)
    try:
        _parsed(text)
    except (FormatError, UnicodeEncodeError) as error:
        came = error.came if isinstance(error, FormatError) else str(error)
        raise ArgumentError(
            "save: a nest that can be read again: what is large in it is tensors.",
            came=came,
            fix="keep long lists of numbers as tensors, and huge integers and odd text as bytes",
        ) from None
    return found, text


def _packed(value: Any, way: tuple[str, ...], found: dict[str, Any]) -> Any:
    if len(way) > MAX_NESTING:
        raise ArgumentError(
            f"save: a nest is at most {MAX_NESTING} deep.",
            came=f"more at {'/'.join(way[:8])}/...",
            fix="look for a dict or list that holds itself",
        )
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (Tensor, np.ndarray)):
        name = _name(way, found)
        found[name] = stored(value) if isinstance(value, Tensor) else value
        return {"tensor": name}
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else {"float": str(value)}
    if isinstance(value, Mapping):
        pairs = [[_key(k, way), _packed(v, (*way, str(k)), found)] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_packed(v, (*way, str(i)), found) for i, v in enumerate(value)]}
    raise ArgumentError(
        "save: a nest holds tensors, arrays, dicts, lists, tuples, strings, numbers and None.",
        came=f"{type(value).__name__} at {'/'.join(way) or 'the top'}",
        fix="save its state_dict(), or plain data to make it from again",
    )


def _key(key: Any, way: tuple[str, ...]) -> Any:
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, PLAIN) or (isinstance(key, float) and abs(key) < float("inf")):
        return key
    raise ArgumentError(
        "save: the keys of a dict are strings, numbers or None.",
        came=f"{type(key).__name__} in {'/'.join(way) or 'the top'}",
        fix="use the parameter's name or number as the key",
    )


def _name(way: tuple[str, ...], found: dict[str, Any]) -> str:
    name = first = "/".join(way) or "tensor"
    again = 1
    while name in found:
        again += 1
        name = f"{first}#{again}"
    return name


def unpacked(text: str, arrays: Mapping[str, Typed]) -> Any:
    """Return the nest that a text and its tensors stand for.

    Raises:
        FormatError: the text says something else than `packed` writes.
    """
    return _unpacked(_parsed(text), arrays)


def _parsed(text: str) -> Any:
    return strict_json.parse(text.encode(), WHAT, max_depth=3 * MAX_NESTING + 3)


def _unpacked(tree: Any, arrays: Mapping[str, Typed]) -> Any:
    if not isinstance(tree, (dict, list)):
        return tree
    if not isinstance(tree, dict) or len(tree) != 1:
        _refuse("a list or an object of several keys")
    ((kind, value),) = tree.items()
    if kind == "tensor" and isinstance(value, str):
        if value not in arrays:
            _refuse(f"the tensor {value[:80]!r}, which is not in the file")
        return restored(arrays[value])
    if kind == "float" and value in ("nan", "inf", "-inf"):
        return SPECIAL[value]
    if kind not in ("dict", "list", "tuple") or not isinstance(value, list):
        _refuse(f"an object with the key {kind[:80]!r}")
    if kind == "dict":
        return _dict(value, arrays)
    items = [_unpacked(v, arrays) for v in value]
    return items if kind == "list" else tuple(items)


def _dict(pairs: list[Any], arrays: Mapping[str, Typed]) -> dict[Any, Any]:
    found = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or isinstance(pair[0], (dict, list)):
            _refuse("a dict whose entries are not pairs")
        if pair[0] in found:
            _refuse(f"the key {str(pair[0])[:80]!r} twice")
        found[pair[0]] = _unpacked(pair[1], arrays)
    return found


def _refuse(problem: str) -> NoReturn:
    raise FormatError(
        f"{WHAT} must say where the file's tensors belong.",
        came=problem,
        fix="the file was damaged, or was not written by tn.save",
    )
