"""Layers whose weights are int8, with PyTorch's names.

In:     a trained module of float layers.
Out:    a module whose products are of bytes: a quarter of the memory, exact sums.
Never:  trains; the layers here have no gradient.
"""

from tenor.nn.quantized import dynamic
from tenor.nn.quantized.conversion import quantize_dynamic

__all__ = ["dynamic", "quantize_dynamic"]
