"""Modules of float layers turned into modules of int8 ones."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError, DTypeError
from tenor.ir import dtype as dt
from tenor.nn.attention import MultiheadAttention
from tenor.nn.linear import Linear
from tenor.nn.quantized import attention, dynamic

if TYPE_CHECKING:
    from collections.abc import Collection

    from tenor.nn.module import Module

__all__ = ["DYNAMIC", "quantize_dynamic"]

DYNAMIC: Final[dict[type[Module], type[Any]]] = {
    Linear: dynamic.Linear, MultiheadAttention: attention.MultiheadAttention,
}  # fmt: skip
"""Float layer -> its quantised one, which `from_float` makes of it."""


def quantize_dynamic(
    model: Module, qconfig_spec: Collection[Any] | None = None, dtype: Any = dt.int8,
    mapping: dict[type[Module], type[Any]] | None = None, inplace: bool = False,
) -> Module:  # fmt: skip
    """Return a model whose layers have int8 weights: `nn.Linear` and `nn.MultiheadAttention`.

    Inputs of those layers are quantised row by row while the model runs, so no data is needed
    beforehand. The result predicts; it is not trained.

    Args:
        model: A trained model; it is left as it is, unless `inplace`.
        qconfig_spec: Classes of layers, or paths of modules below which to look; every class there
            is by default. A layer's own class counts, not those it derives from.
        dtype: int8.
        mapping: Float class -> quantised class with `from_float`; `DYNAMIC` by default.
        inplace: Whether to put the new layers into the model itself.

    Raises:
        DTypeError: the dtype is not int8.
        ArgumentError: a class has no quantised one, or a path is no module's.

    Example:
        >>> import tenor as tn
        >>> model = tn.nn.Sequential(tn.nn.Linear(8, 4), tn.nn.ReLU())
        >>> tn.quantization.quantize_dynamic(model, {tn.nn.Linear}, dtype=tn.int8)
        Sequential(
          (0): Linear(in_features=8, out_features=4, dtype=int8, bias=True)
          (1): ReLU()
        )
    """
    if dt.of(dtype) is not dt.int8:
        raise DTypeError(
            "quantize_dynamic: the dtype must be int8.",
            came=dt.of(dtype).name,
            fix="pass tn.int8; for halves convert the model with .to(tn.bfloat16)",
        )
    table = DYNAMIC if mapping is None else mapping
    kinds, paths = _parted(model, table, set(table) if qconfig_spec is None else qconfig_spec)
    made: dict[Module, Any] = {}
    for path in paths or [""]:
        _convert(model.get_submodule(path), kinds or set(table), table, made)
    if not inplace:
        # What is known to the copy already is not copied: no second set of float weights.
        return copy.deepcopy(model, {id(old): new for old, new in made.items()})
    for module in list(model.modules()):
        for name, child in module._modules.items():
            module._modules[name] = made.get(child, child) if child is not None else None
    found: Module = made.get(model, model)
    return found


def _parted(model: Module, table: dict[type[Module], Any], spec: Any) -> tuple[set[Any], list[str]]:
    """Return the classes and the paths of a spec, each of which must be known."""
    known = dict(model.named_modules())
    for entry in spec:
        if entry not in (known if isinstance(entry, str) else table):
            raise ArgumentError(
                "quantize_dynamic: qconfig_spec must hold classes that have a quantised one, or "
                "paths of modules.",
                came=repr(entry) if isinstance(entry, str) else entry.__name__,
                fix="choose from " + ", ".join(kind.__name__ for kind in table),
            )
    paths = [entry for entry in spec if isinstance(entry, str)]
    return {entry for entry in spec if not isinstance(entry, str)}, paths


def _convert(
    module: Module, kinds: set[Any], table: dict[type[Module], Any], made: dict[Module, Any]
) -> None:
    """Make the quantised layer of every layer of some kinds, shared ones once."""
    if module in made:
        return
    if type(module) not in kinds:
        for child in module.children():
            _convert(child, kinds, table, made)
        return
    made[module] = table[type(module)].from_float(module)
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        getattr(made[module], hooks).update(getattr(module, hooks))
