"""Write a model as an `.onnx` file, in floats or in eight bits.

In:     a `.tnr` bundle, or a module and example inputs; perhaps a Quantization.
Out:    an ONNX model of standard operations, run and compared before it is put in place.
Never:  writes a part of a model, or operations of our own; imports onnx before it is asked to.

The journey: `sizes` leaves the batch open, `patterns` finds what ONNX has one operation for,
`table` has a row for every primitive (in `elementwise`, `reduce`, `movement`, `contraction`),
which appends to a `writer`; `model` conducts, `quantized` adds eight-bit values, `file` makes
bytes of it, and `check` runs them.
"""

from __future__ import annotations

from tenor.export.onnx.exporting import OPSETS, Exported, export_onnx

__all__ = ["OPSETS", "Exported", "export_onnx"]
