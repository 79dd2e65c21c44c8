"""Eight-bit models: find the ranges of every value, round to them, and report what that costs.

In:     a Source, and example rows.
Out:    a Quantization (one record for every exporter), graphs that round as it says, a report.
Never:  quantises a layer silently worse than asked: the report names each layer's error.
"""

from tenor.export.quantize.calibrate import calibrate, weights_only
from tenor.export.quantize.integer import integer
from tenor.export.quantize.layers import Layer, layers
from tenor.export.quantize.moving import moved
from tenor.export.quantize.record import Quantization, Scheme
from tenor.export.quantize.report import Report, report
from tenor.export.quantize.simulate import simulate

__all__ = [
    "Layer", "Quantization", "Report", "Scheme", "calibrate", "integer", "layers", "moved",
    "report", "simulate", "weights_only",
]  # fmt: skip
