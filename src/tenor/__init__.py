"""Tenor: write plain Python on tensors; train it, save it, serve it.

In:     `import tenor as tn`.
Out:    tensors and their functions, and the packages nn, optim, data, metrics, train, save.
Never:  imports more than NumPy (and LLVM at the first computation) before it is asked to.
"""

from __future__ import annotations

import importlib
import math
import sys
import types
from typing import TYPE_CHECKING, Any, Final

from tenor import errors
from tenor.config import config
from tenor.engine.pin import Compiled
from tenor.engine.pin import Compiled as compile  # noqa: A004, N813 - the field's name for it
from tenor.errors import TenorError
from tenor.runtime.allocator import memory_allocated, memory_reserved
from tenor.runtime.pool import get_num_threads, set_num_threads
from tenor.tensor import *  # noqa: F403 - the one place where every tensor function is a name
from tenor.tensor import __all__ as _tensor_names
from tenor.tensor import autograd, tensor

if TYPE_CHECKING:
    from tenor import data, explain, export, metrics, nn, optim, save, serve, tensorboard, train
    from tenor.nn.quantized import (
        fake_quantize_per_channel_affine,
        fake_quantize_per_tensor_affine,
    )
    from tenor.save import load
    from tenor.train import Model

__version__ = "0.1.0"

__all__ = [  # noqa: PLE0604 - names of the tensor package follow
    "Compiled", "Model", "TenorError", "ao", "autograd", "compile", "config", "data", "errors",
    "explain", "export", "e", "fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine",
    "get_num_threads", "inf", "load", "memory_allocated", "memory_reserved",
    "metrics", "nan", "newaxis", "nn", "optim", "pi", "quantization", "save", "serve",
    "set_num_threads", "tensor", "tensorboard", "train", "utils", *_tensor_names,
]  # fmt: skip

PACKAGES: Final = frozenset(
    ("data", "explain", "export", "metrics", "nn", "optim", "save", "serve", "tensorboard", "train")
)
ELSEWHERE: Final = {
    "Model": "tenor.train", "load": "tenor.save",
    "fake_quantize_per_channel_affine": "tenor.nn.quantized",
    "fake_quantize_per_tensor_affine": "tenor.nn.quantized",
}  # fmt: skip
PYTORCHS: Final[dict[str, dict[str, str]]] = {
    "tenor.ao": {"quantization": "tenor.ao.quantization"},
    "tenor.ao.quantization": {"*": "tenor.nn.quantized"},
    "tenor.quantization": {"*": "tenor.nn.quantized"},
    "tenor.utils": {"data": "tenor.data", "checkpoint": "tenor.utils.checkpoint"},
    "tenor.utils.checkpoint": {"checkpoint": "tenor.tensor.autograd:checkpoint"},
    "tenor.utils.data": {"*": "tenor.data"},
}
"""What PyTorch's modules of other names hold here: packages, or `package:name`."""

pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None


class _Elsewhere(types.ModuleType):
    """A module PyTorch has under another name; looks up what it holds when it is asked."""

    def __getattr__(self, name: str) -> Any:
        held = PYTORCHS[self.__name__]
        if "*" in held:
            return getattr(importlib.import_module(held["*"]), name)
        if name not in held:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        package, _, member = held[name].partition(":")
        found = importlib.import_module(package)
        return getattr(found, member) if member else found


sys.modules.update({n: _Elsewhere(n, f"PyTorch's names for {n}.") for n in PYTORCHS})
ao, quantization = sys.modules["tenor.ao"], sys.modules["tenor.quantization"]
utils = sys.modules["tenor.utils"]


def __getattr__(name: str) -> Any:
    """Import a package, or the package a name lives in, the first time it is used."""
    if name in PACKAGES:
        return importlib.import_module(f"tenor.{name}")
    if name in ELSEWHERE:
        found = getattr(importlib.import_module(ELSEWHERE[name]), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'tenor' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
