"""What eight bits cost: each layer alone, all of them through the net, and the answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tenor.export.quantize.measuring import Measuring
from tenor.export.quantize.page import decibels, how, page
from tenor.export.quantize.scaling import held_weights

if TYPE_CHECKING:
    from tenor.export.quantize.measuring import Measured
    from tenor.export.quantize.record import Quantization, Scheme

__all__ = ["Error", "LayerReport", "OutputReport", "Report", "report"]


LEGEND: Final = (
    "alone, through: signal to noise of a layer's result, where it alone and where all are",
    "quantised; answers: the answers' relative error where the layer alone is quantised.",
)


@dataclass(frozen=True)
class Error:
    """How far a value is off: signal = sum x^2, noise = sum (x' - x)^2 over all rows.

    Attributes:
        signal: Of the float32 value.
        noise: Of the difference.
    """

    signal: float
    noise: float

    @property
    def decibels(self) -> float:
        """Signal to quantisation noise, 10 log10(signal / noise); infinite without noise."""
        if self.noise == 0:
            return math.inf
        return 10.0 * math.log10(self.signal / self.noise) if self.signal else -math.inf

    @property
    def relative(self) -> float:
        """The root of noise / signal."""
        if self.noise == 0:
            return 0.0
        return math.sqrt(self.noise / self.signal) if self.signal else math.inf


@dataclass(frozen=True)
class LayerReport:
    """What eight bits cost in one layer.

    Attributes:
        name: The layer's name, that of its weight without the last part.
        kind: What it is; see `layers`.
        low: The least number its result can be held as; NaN where that stays float32.
        high: The greatest.
        scale: Of its result.
        zero_point: Of its result.
        alone: Error of its result where this layer alone is quantised.
        through: Error of its result where every layer is.
        output: Error of the model's answers where this layer alone is quantised.
        bytes_before: Of its weights in float32.
        bytes_after: Of its weights in eight bits, their scales counted.
    """

    name: str
    kind: str
    low: float
    high: float
    scale: float
    zero_point: int
    alone: Error
    through: Error
    output: Error
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class OutputReport:
    """How far the answers of the quantised model are off.

    Attributes:
        name: The output's name.
        error: Over all rows.
        largest: The largest difference of two elements.
        agreement: The share of rows with the same argmax, or, of integers, the same value;
            None where neither can be asked.
    """

    name: str
    error: Error
    largest: float
    agreement: float | None


@dataclass(frozen=True)
class Report:
    """What a quantised model costs.

    Attributes:
        name: The model's name.
        method: How its ranges were found.
        rows: How many rows were compared.
        layers: Every layer, those first that harm the answers most.
        outputs: Every output.
        bytes_before: Of all weights in float32.
        bytes_after: Of all weights as they are held.
    """

    name: str
    method: str
    rows: int
    layers: tuple[LayerReport, ...]
    outputs: tuple[OutputReport, ...]
    bytes_before: int
    bytes_after: int

    def text(self, most: int = 40) -> str:
        """Return the report for a terminal, of at most so many layers."""
        width = max([len(layer.name) for layer in self.layers[:most]] + [5])
        head = (f"{'layer':{width}}  {'kind':15}  {'range':>23}  {'alone':>8}  {'through':>8}  "
                f"{'answers':>8}")  # fmt: skip
        lines = [
            f"{self.name}: int8, {how(self.method)}, on {self.rows} rows",
            f"weights: {self.bytes_before:,} -> {self.bytes_after:,} bytes",
            *(_answer(found) for found in self.outputs), "", head,
        ]  # fmt: skip
        for layer in self.layers[:most]:
            held = math.isfinite(layer.low)
            span = f"{layer.low:.4g} .. {layer.high:.4g}" if held else "float32"
            lines.append(
                f"{layer.name:{width}}  {layer.kind:15}  {span:>23}  "
                f"{decibels(layer.alone):>8}  {decibels(layer.through):>8}  "
                f"{layer.output.relative:>8.2%}"
            )
        if len(self.layers) > most:
            lines.append(f"... and {len(self.layers) - most} more")
        return "\n".join([*lines, "", *LEGEND])

    def html(self) -> str:
        """Return the report as one page that needs nothing besides itself."""
        return page(self)


def _answer(found: OutputReport) -> str:
    agreed = "" if found.agreement is None else f", {found.agreement:.2%} of rows agree"
    return (
        f"output {found.name}: {decibels(found.error)}, relative error "
        f"{found.error.relative:.3%}, at most {found.largest:.3g}{agreed}"
    )


def report(quantization: Quantization, rows: Any) -> Report:
    """Run rows through a model with and without eight bits, and return what they cost.

    The answers where one layer alone is quantised are worked out on the first 64 rows.

    Args:
        quantization: What `calibrate` or `weights_only` found.
        rows: As for `calibrate`; better other rows than those.

    Raises:
        ArgumentError: Rows of other inputs.
        ShapeError: Rows that do not fit.

    Example:
        >>> import tenor as tn
        >>> from tenor.export.fold import folded
        >>> from tenor.export.quantize import calibrate
        >>> from tenor.export.source import opened, source_of
        >>> source = folded(source_of(opened(tn.nn.Linear(3, 2), tn.ones(4, 3)), batch=4))
        >>> found = report(calibrate(source, source.rows), source.rows)
        >>> found.bytes_before, found.bytes_after, found.layers[0].alone.decibels > 30
        (32, 22, True)
    """
    measured = Measuring(quantization, rows).measured()
    source, schemes = quantization.source, quantization.schemes
    sizes = _sizes(quantization)
    names = {leaf: name for name, leaf in source.leaves.items()}
    made = [
        LayerReport(
            layer.name, layer.kind, *_range(schemes.get(layer.end)),
            Error(*measured.alone[at]), Error(*measured.through[at]), Error(*measured.output[at]),
            sum(source.weights[names[w]].nbytes for w in layer.weights),
            sum(sizes[names[w]] for w in layer.weights),
        )
        for at, layer in enumerate(measured.layers)
    ]  # fmt: skip
    worst = sorted(made, key=lambda layer: (-layer.output.relative, layer.alone.decibels))
    return Report(
        source.name, quantization.method, measured.rows, tuple(worst), _outputs(measured),
        sum(a.nbytes for a in source.weights.values()), sum(sizes.values()),
    )  # fmt: skip


def _range(scheme: Scheme | None) -> tuple[float, float, float, int]:
    if scheme is None or scheme.axis is not None:
        return math.nan, math.nan, math.nan, 0
    scale, zero = float(scheme.scale), int(scheme.zero_point)
    return scale * (-128 - zero), scale * (127 - zero), scale, zero


def _outputs(measured: Measured) -> tuple[OutputReport, ...]:
    return tuple(
        OutputReport(name, Error(found.signal, found.noise), found.largest, found.agreement)
        for name, found in measured.outputs.items()
    )


def _sizes(quantization: Quantization) -> dict[str, int]:
    """Return the bytes of every weight as it is held."""
    source, schemes = quantization.source, quantization.schemes
    found = {name: array.nbytes for name, array in source.weights.items()}
    names = {leaf: name for name, leaf in source.leaves.items()}
    for held in held_weights(source):
        scheme = schemes.get(held.leaf)
        if scheme is not None:
            name = names[held.leaf]
            found[name] = source.weights[name].size + scheme.scale.nbytes
    return found
