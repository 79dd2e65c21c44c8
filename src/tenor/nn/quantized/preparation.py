"""A float model made ready to train with rounding, and made plain again afterwards."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError
from tenor.nn import activation, conv, linear, norm, pooling
from tenor.nn.container import Sequential
from tenor.nn.module import Module
from tenor.nn.parameter import Parameter
from tenor.nn.quantized import qat
from tenor.nn.quantized.fake import FakeQuantize
from tenor.nn.quantized.qconfig import get_default_qat_qconfig
from tenor.tensor import no_grad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.nn.quantized.qconfig import QConfig
    from tenor.tensor import Tensor

__all__ = ["DeQuantStub", "QuantStub", "convert", "fuse_modules_qat", "prepare_qat"]


class QuantStub(Module):
    """Return the input; after `prepare_qat`, rounded: where numbers enter an eight-bit model."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


class DeQuantStub(Module):
    """Return the input: where numbers leave an eight-bit model."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


QAT: Final[dict[type[Module], type[Any]]] = {
    linear.Linear: qat.Linear, conv.Conv1d: qat.Conv1d, conv.Conv2d: qat.Conv2d,
    conv.Conv3d: qat.Conv3d,
}  # fmt: skip
"""Float layer -> the one that trains with a rounded weight."""
NORMS: Final = (norm.BatchNorm1d, norm.BatchNorm2d, norm.BatchNorm3d)
CLIPS: Final = (activation.ReLU, activation.ReLU6)
CURVES: Final = (
    activation.LeakyReLU, activation.ELU, activation.GELU, activation.SiLU, activation.Hardswish,
    activation.Mish, pooling.AvgPool1d, pooling.AvgPool2d, pooling.AdaptiveAvgPool1d,
    pooling.AdaptiveAvgPool2d,
)  # fmt: skip
ROUNDED: Final = (*QAT, *CLIPS, *CURVES, QuantStub)
"""Layers whose results are rounded, where the next does not belong to them."""


def prepare_qat(
    model: Module, mapping: dict[type[Module], Any] | None = None, inplace: bool = False
) -> Module:
    """Return a model that trains with the rounding it will meet in eight bits.

    Linear and convolution layers round their weights, and results are rounded where an eight-bit
    machine stores them: in a Sequential after a layer, its batch norm and its ReLU together;
    elsewhere `fuse_modules_qat` says what belongs together. How is in each module's `qconfig`, or
    the nearest one's above it; None leaves a module as it is. Parameters keep their names.

    Args:
        model: A float model in training mode; it is left as it is, unless `inplace`.
        mapping: Float layer -> the one that takes its place; `QAT` by default.
        inplace: Whether to change the model itself.

    Raises:
        ArgumentError: The model is in evaluation mode.

    Example:
        >>> import tenor as tn
        >>> model = tn.nn.Sequential(tn.nn.Linear(4, 3), tn.nn.ReLU())
        >>> ready = tn.ao.quantization.prepare_qat(model)
        >>> type(ready[0]).__module__, tuple(ready(tn.ones(2, 4)).shape)
        ('tenor.nn.quantized.qat', (2, 3))
    """
    if not model.training:
        raise ArgumentError(
            "prepare_qat: the model must be in training mode.", came="one after eval()",
            fix="call model.train() first; to quantise without training use tenor.export",
        )  # fmt: skip
    table = QAT if mapping is None else mapping
    model = model if inplace else copy.deepcopy(model)
    for module in list(model.modules()):
        if isinstance(module, Sequential):
            _mark(list(module.children()))
    made: dict[Module, Module] = {}
    _prepare(model, getattr(model, "qconfig", get_default_qat_qconfig()), table, made)
    return _replaced(model, made)


def fuse_modules_qat(
    model: Module, modules_to_fuse: Sequence[Any], inplace: bool = False
) -> Module:
    """Return a model in which groups of modules are rounded once, after the last.

    Args:
        model: The model; it is left as it is, unless `inplace`.
        modules_to_fuse: A group as a list of paths, e.g. ["conv", "bn", "relu"], or several.
        inplace: Whether to change the model itself.

    Raises:
        ArgumentError: A group is none of layer, batch norm and ReLU in this order.
    """
    model = model if inplace else copy.deepcopy(model)
    single = bool(modules_to_fuse) and isinstance(modules_to_fuse[0], str)
    groups: Sequence[Any] = [modules_to_fuse] if single else modules_to_fuse
    for paths in groups:
        group = [model.get_submodule(path) for path in paths]
        if len(group) < 2 or _run(group) != len(group):
            raise ArgumentError(
                "fuse_modules_qat: a group is a layer with a weight, then a batch norm, then a "
                "ReLU, one of the two perhaps left out.",
                came=", ".join(type(module).__name__ for module in group),
                fix="name them in the order in which they are called",
            )
        _mark(group)
    return model


def convert(model: Module, inplace: bool = False) -> Module:
    """Return a trained model of plain layers with rounded weights, and fixed scales.

    It computes what the trained one does in evaluation mode. Exporting it (or the trained one)
    finds the scales; that is where it is made of integers.

    Args:
        model: What `prepare_qat` gave, trained; it is left as it is, unless `inplace`.
        inplace: Whether to change the model itself.
    """
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    made: dict[Module, Module] = {}
    for module in model.modules():
        if isinstance(module, qat.Rounding):
            made[module] = _plain(module)
        elif isinstance(module, FakeQuantize):
            module.disable_observer()
    return _replaced(model, made)


# -- pieces ---------------------------------------------------------------------------------------
def _run(modules: Sequence[Module]) -> int:
    """Return how many modules from the first on are rounded together."""
    if type(modules[0]) not in QAT:
        return 1
    count = 1
    for kinds in (NORMS, CLIPS):
        if count < len(modules) and isinstance(modules[count], kinds):
            count += 1
    return count


def _mark(modules: Sequence[Module]) -> None:
    """Note at each module whether its result is rounded, or goes on into the next one."""
    at = 0
    while at < len(modules):
        count = _run(modules[at:])
        for module in modules[at : at + count - 1]:
            module.rounded_later = True
        modules[at + count - 1].rounded_here = count > 1
        at += count


def _prepare(module: Module, how: QConfig | None, table: Any, made: dict[Module, Module]) -> None:
    """Prepare a module and those below it, each by its own qconfig or that above."""
    if module in made:
        return
    how = getattr(module, "qconfig", how)
    for child in list(module.children()):
        _prepare(child, how, table, made)
    kind = type(module)
    found: Any = module
    if how is not None and kind in table:
        found = table[kind].from_float(module, how)
    made[module] = found
    ends = kind in ROUNDED or getattr(module, "rounded_here", False)
    if how is not None and ends and not getattr(module, "rounded_later", False):
        found.activation_post_process = how.activation()
        found.register_forward_hook(_round)


def _round(module: Any, _inputs: Any, output: Tensor) -> Tensor:
    """Round a module's result; its forward hook."""
    found: Tensor = module.activation_post_process(output)
    return found


def _plain(module: qat.Rounding) -> Module:
    """Return the plain layer of a rounding one, its weight rounded."""
    with no_grad():
        weight = module.rounded()
    made = module.to_float()
    made.register_parameter("weight", Parameter(weight))
    return made


def _replaced(model: Module, made: dict[Module, Module]) -> Module:
    """Put modules in the places of others, and return what the model has become."""
    for module in list(model.modules()):
        owner = made.get(module, module)
        for name, child in list(owner._modules.items()):
            if child in made:
                owner._modules[name] = made[child]
    return made.get(model, model)
