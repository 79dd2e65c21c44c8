"""Save models and tensors to files, and load them back.

In:     modules, state dicts, arrays; files from anywhere, which may be damaged or hostile.
Out:    `.safetensors` files of named tensors; `.tnr` bundles of programs, weights, signatures
        and examples; loaded models that answer with the bits the saved one answered with.
Never:  runs code from a file, unpickles, takes memory on a file's word, or leaves half a file.

The journey of a model: `recording` gives its graph, `symbolic` makes one text of it for every
batch size, `model` adds weights (`safetensors`), a `manifest` and `examples`, `bundle` lays them
out in an `archive`, and `atomic` puts the file in place. Back: `loaded` opens the bundle, and
`programs` compiles the text for each size that comes.
"""

import sys
import types

from tenor.save.atomic import atomic_write, replace_file
from tenor.save.files import load, save
from tenor.save.loaded import LoadedModel, Mismatch, Verification, load_model
from tenor.save.model import save_model
from tenor.save.safetensors import load_file, save_file

__all__ = [
    "LoadedModel",
    "Mismatch",
    "Verification",
    "atomic_write",
    "load",
    "load_file",
    "load_model",
    "replace_file",
    "save",
    "save_file",
    "save_model",
]


class _Callable(types.ModuleType):
    """A package that is its main function as well: `tn.save(model, path)`."""

    __call__ = staticmethod(save)


sys.modules[__name__].__class__ = _Callable
