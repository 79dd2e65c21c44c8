"""Eight-bit layers, and training for them, with PyTorch's names.

In:     a module of float layers.
Out:    a trained one with int8 weights; or one that trains with the rounding of eight bits.
Never:  chooses ranges for another machine: export does, and reads what training learnt.
"""

from tenor.nn.quantized import dynamic, qat
from tenor.nn.quantized.conversion import quantize_dynamic
from tenor.nn.quantized.fake import (
    FakeQuantize,
    disable_fake_quant,
    disable_observer,
    enable_fake_quant,
    enable_observer,
    fake_quantize_per_channel_affine,
    fake_quantize_per_tensor_affine,
)
from tenor.nn.quantized.observer import (
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
)
from tenor.nn.quantized.preparation import (
    DeQuantStub,
    QuantStub,
    convert,
    fuse_modules_qat,
    prepare_qat,
)
from tenor.nn.quantized.qconfig import QConfig, get_default_qat_qconfig

__all__ = [
    "DeQuantStub", "FakeQuantize", "MinMaxObserver", "MovingAverageMinMaxObserver",
    "MovingAveragePerChannelMinMaxObserver", "PerChannelMinMaxObserver", "QConfig", "QuantStub",
    "convert", "disable_fake_quant", "disable_observer", "dynamic", "enable_fake_quant",
    "enable_observer", "fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine",
    "fuse_modules_qat", "get_default_qat_qconfig", "prepare_qat", "qat", "quantize_dynamic",
]  # fmt: skip
