"""Tenor: write plain Python on tensors; train it, save it, serve it.

In:     `import tenor as tn`.
Out:    tensors and their functions, and the packages nn, optim, data, metrics, train, save.
Never:  imports more than NumPy (and LLVM at the first computation) before it is asked to.
"""

from __future__ import annotations

import importlib
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
    from tenor import data, explain, metrics, nn, optim, save, serve, tensorboard, train
    from tenor.save import load
    from tenor.train import Model

__version__ = "0.1.0"

__all__ = [  # noqa: PLE0604 - names of the tensor package follow
    "Compiled", "Model", "TenorError", "autograd", "compile", "config", "data", "errors", "explain",
    "get_num_threads", "load", "memory_allocated", "memory_reserved", "metrics", "nn", "optim",
    "save", "serve", "set_num_threads", "tensor", "tensorboard", "train", *_tensor_names,
]  # fmt: skip

PACKAGES: Final = frozenset(
    ("data", "explain", "metrics", "nn", "optim", "save", "serve", "tensorboard", "train")
)
ELSEWHERE: Final = {"Model": "tenor.train", "load": "tenor.save"}


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
