"""A call by a user: PyTorch's spellings of arguments, and errors that speak of the arguments.

Inside Tenor functions call each other as they are; what users reach, `tn.f` and `x.f`, is each
function made `public`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.engine import recorder
from tenor.engine.handle import Handle
from tenor.engine.macro import PLAIN
from tenor.engine.trace import local
from tenor.errors import ArgumentError, DTypeError, ShapeError, TenorError
from tenor.ir.dtype import DType
from tenor.tensor.dims import ALIASES
from tenor.tensor.inplace import holds, overwrite
from tenor.tensor.movement import clone
from tenor.tensor.operands import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["public", "publish"]

RAW: Final = (
    ArithmeticError, AttributeError, BufferError, IndexError, KeyError, TypeError, ValueError,
)  # fmt: skip
"""What Python and NumPy raise when an argument is not what a function takes it for."""
MISTAKES: Final = (AttributeError, FloatingPointError, IndexError, KeyError, ZeroDivisionError)
"""Of those, what is a mistake of Tenor's own where every argument is of a kind it takes."""
SYNONYMS: Final = {
    "axis0": "dim0", "axis1": "dim1", "indices": "sections", "indices_or_sections": "sections",
    "split_size_or_sections": "split_size",
}  # fmt: skip
"""PyTorch's other names of arguments; `axis` and `keepdims` are seen to by `aliased`."""
SPELLED: Final = frozenset(("dims", "input", "out", "repeats", "shape", "size", *SYNONYMS))
"""Names that may have to be translated."""


# -- calls --------------------------------------------------------------------------------------
@functools.cache
def public(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as users call it; the same one each time, itself if it is that already.

    The first tensor may be named `input`, `*size` may be given by name as one sequence, and
    `out=` is written with the result. An argument of another kind than the function takes is a
    Tenor error that names it.
    """
    if "is_public" in vars(function):
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        out = None
        if kwargs and not SPELLED.isdisjoint(kwargs) and not _own(function)[0].issuperset(kwargs):
            out = kwargs.pop("out", None)
            args, kwargs = _respelled(function, args, kwargs)
        try:
            result = function(*args, **kwargs)
            return result if out is None else _written(out, result, function.__name__)
        except RAW as error:
            if isinstance(error, TenorError) or _of_others(error.__traceback__):
                raise
            complaint = _complaint(function, args, kwargs, error)
            if complaint is None:
                raise
            raise complaint from error

    made = call
    plain = PLAIN.get(function)
    if plain is not None:
        # What was recorded before is found here already, two calls further out.
        @functools.wraps(function)
        def made(*args: Any, **kwargs: Any) -> Any:
            given = (*args, *kwargs.values()) if kwargs else args
            result = recorder.current(local.trace, plain, given, kwargs)
            return call(*args, **kwargs) if result is None else result

    vars(made)["is_public"] = True
    return made


def publish(names: dict[str, Any], module: str = "") -> dict[str, Any]:
    """Return the functions of a namespace as users call them; Python's own protocols stay.

    Args:
        names: The namespace.
        module: Where users find them, for pickles of functions, which go by name.
    """
    made = {
        name: public(found)
        for name, found in names.items()
        if inspect.isfunction(found) and not name.startswith("__")
    }
    for function in made.values():
        function.__module__ = module or function.__module__
    return made


@functools.cache
def _own(function: Callable[..., Any]) -> tuple[frozenset[str], str | None]:
    """Return the names a function takes arguments by, and the name of its `*arguments`.

    Worked out at the first call that needs it: for every function it would show in the import.
    """
    kinds = {key: p.kind for key, p in inspect.signature(function).parameters.items()}
    several = [key for key, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL]
    return frozenset(kinds).difference(several), several[0] if several else None


def _respelled(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments by the names and places the function has for them.

    Raises:
        TypeError: the first tensor is given by place and as `input` too.
    """
    own, several = _own(function)
    if "input" in kwargs and "input" not in own and args:
        raise TypeError(f"{function.__name__}() got multiple values for argument 'input'")
    named = {}
    for key, value in kwargs.items():
        if key in own:
            named[key] = value
        elif key == several:
            args = (*args, value)
        elif key == "input":
            args = (value, *args)
        else:
            named[SYNONYMS.get(key, key)] = value
    return args, named


def _written(out: Any, result: Any, name: str) -> Any:
    """Write results into the tensors given for them; return those, together as results come.

    Raises:
        ArgumentError: a result is no tensor, or `out` is not a tensor for each.
        ShapeError: one has another shape than its result.
        DTypeError: one cannot hold its result. Nothing is written then.
    """
    alone = isinstance(result, Handle)
    results, outs = ((result,), (out,)) if alone else (result, out)
    if not _tensors(results):
        raise ArgumentError(
            f"{name}: out is for results that are tensors.",
            came=[f"out={_described(out)}", f"result {_described(result)}"],
            fix="leave out= away",
        )
    if not _tensors(outs) or len(outs) != len(results):
        wanted = "a tensor" if alone else f"a sequence of {len(results)} tensors"
        raise ArgumentError(
            f"{name}: out must be {wanted}.",
            came=f"out={_described(out)}",
            fix="give tensors of the results' shapes and dtypes, or leave out= away",
        )
    for tensor, made in zip(outs, results, strict=True):
        came = f"out={_described(tensor)} for {_described(made)}"
        if tensor.shape_tuple != made.shape_tuple:
            raise ShapeError(
                f"{name}: out must have the result's shape.",
                came=came,
                fix=f"make it with tn.empty({made.shape_tuple})",
            )
        if not holds(tensor.element_type, made.element_type):
            raise DTypeError(
                f"{name}: out must be of a dtype that holds the result.",
                came=came,
                fix=f"make it with dtype=tn.{made.element_type.name}",
            )
    if not alone:  # they may be views of what is written
        results = [clone(made) for made in results]
    for tensor, made in zip(outs, results, strict=True):
        overwrite(tensor, made, name)
    if alone:
        return out
    kind: Any = type(result)  # a named tuple stays one
    return kind(*outs) if hasattr(kind, "_fields") else kind(outs)


# -- errors -------------------------------------------------------------------------------------
OURS: Final = frozenset(("tenor", "numpy"))


def _of_others(trace: TracebackType | None) -> bool:
    """Tell whether an error came out of somebody else's function, such as a hook.

    Modules tell, since code typed at a prompt has no file. Python's own, such as `contextlib`,
    only pass an error on; one that begins in them may be anybody's, and stays as it is.
    """
    package = ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__")
        package = str(module).partition(".")[0]
        if package not in OURS and package not in sys.stdlib_module_names:
            return True
        trace = trace.tb_next
    return package not in OURS


def _complaint(
    function: Callable[..., Any], args: Any, kwargs: dict[str, Any], error: Exception
) -> TenorError | None:
    """Return what is wrong with the arguments.

    None where Python says it, too many or unknown, and where nothing is: a mistake of our own.
    """
    name = function.__name__
    signature = inspect.signature(function)
    try:
        given = signature.bind(*args, **{ALIASES.get(k, k): v for k, v in kwargs.items()})
    except TypeError:
        return None
    shown = [f"{key}={_described(value)}" for key, value in given.arguments.items()]
    known = True
    for key, value in given.arguments.items():
        kind = str(signature.parameters[key].annotation)
        several = signature.parameters[key].kind is inspect.Parameter.VAR_POSITIONAL
        if several or _is_one_of(kind, value):
            known &= KINDS.keys() >= set(kind.split(" | ")) and (
                not several or all(_is_one_of(kind, v) for v in value)
            )
            continue
        words = [KINDS[part][0] for part in kind.split(" | ") if KINDS[part][0]]
        return DTypeError(
            f"{name}: {key} must be {' or '.join(words)}.",
            came=f"{key}={_described(value)}",
            fix="make a tensor with tn.tensor()" if "Tensor" in kind else f"see help(tn.{name})",
        )
    if known and isinstance(error, MISTAKES):
        return None
    wrong_kind = isinstance(error, (TypeError, AttributeError))
    return (DTypeError if wrong_kind else ArgumentError)(
        f"{name}: the arguments do not go together: {error}.",
        came=shown,
        fix=f"see help(tn.{name})",
    )


def _described(value: Any) -> str:
    """Return what a value is, in a few words."""
    if isinstance(value, (tuple, list)) and _tensors(value):
        return f"({', '.join(map(_described, value))})"
    if isinstance(value, Handle):
        return f"a tensor {value.shape_tuple} {value.element_type.name}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array {value.shape} {value.dtype}"
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"


def _whole(value: Any) -> bool:
    one = isinstance(value, Handle) and not value.shape_tuple and value.element_type.kind != "float"
    return one or (isinstance(value, (int, np.integer)) and not isinstance(value, bool))


def _number(value: Any) -> bool:
    return isinstance(value, NUMBERS) or (isinstance(value, Handle) and not value.shape_tuple)


def _each(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Sequence) and all(map(kind, value))


def _tensor(value: Any) -> bool:
    return isinstance(value, Handle)


_tensors = _each(_tensor)


def _of(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


KINDS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "Tensor": ("a tensor", _tensor),
    "Number": ("a number", _number),
    "float": ("a number", _number),
    "int": ("an integer", _whole),
    "bool": ("a bool", _of(bool, np.bool_)),
    "str": ("a string", _of(str)),
    "None": ("", lambda value: value is None),
    "DType": ("a dtype", _of(DType)),
    "Dims": ("a dim or several", lambda v: v is None or _whole(v) or _each(_whole)(v)),
    "Sequence[int]": ("a sequence of integers", _each(_whole)),
    "Sequence[Tensor]": ("a sequence of tensors", _tensors),
    "tuple[Tensor, ...]": ("a sequence of tensors", _tensors),
    "NDArray[Any]": ("a NumPy array", _of(np.ndarray)),
}
"""What the parts of a parameter's annotation mean, in words and as a test."""


def _is_one_of(kind: str, value: Any) -> bool:
    """Tell whether a value is what an annotation says; True where the table does not know."""
    parts = kind.split(" | ")
    return any(part not in KINDS or KINDS[part][1](value) for part in parts)
