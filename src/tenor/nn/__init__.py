"""Modules and the functions they are made of, with PyTorch's names.

In:     tensors, and hyper-parameters at construction.
Out:    tensors; parameters and buffers by name.
Never:  updates a parameter (optim), reads data or writes files.
"""

import sys
from types import ModuleType

from tenor.nn import functional, init, quantized
from tenor.nn.activation import (
    ELU,
    GELU,
    GLU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softmin,
    Softplus,
    Softsign,
    Tanh,
    Threshold,
)
from tenor.nn.attention import MultiheadAttention
from tenor.nn.container import (
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from tenor.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d
from tenor.nn.distance import CosineSimilarity
from tenor.nn.dropout import Dropout, Dropout1d, Dropout2d
from tenor.nn.embedding import Embedding
from tenor.nn.linear import Flatten, Linear, Unflatten
from tenor.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MarginRankingLoss,
    MSELoss,
    NLLLoss,
    PoissonNLLLoss,
    SmoothL1Loss,
    SoftMarginLoss,
    TripletMarginLoss,
)
from tenor.nn.module import Module
from tenor.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    LayerNorm,
    RMSNorm,
)
from tenor.nn.packed import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)
from tenor.nn.padding import (
    CircularPad1d,
    CircularPad2d,
    CircularPad3d,
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReflectionPad3d,
    ReplicationPad1d,
    ReplicationPad2d,
    ReplicationPad3d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from tenor.nn.parameter import Buffer, Parameter
from tenor.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from tenor.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from tenor.nn.transformer import (
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from tenor.nn.upsample import PixelShuffle, PixelUnshuffle, Upsample
from tenor.nn.vector import pad_sequence, parameters_to_vector, vector_to_parameters
from tenor.tensor.clip import clip_grad_norm_, clip_grad_value_

__all__ = [
    "ELU", "GELU", "GLU", "GRU", "LSTM", "RNN", "SELU", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d", "BCELoss",
    "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Buffer", "CircularPad1d",
    "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "Conv1d",
    "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "CosineEmbeddingLoss",
    "CosineSimilarity", "CrossEntropyLoss", "Dropout", "Dropout1d", "Dropout2d", "Embedding",
    "Flatten", "GRUCell", "GroupNorm", "Hardsigmoid", "Hardswish", "Hardtanh", "HingeEmbeddingLoss",
    "HuberLoss", "Identity", "InstanceNorm1d", "InstanceNorm2d", "KLDivLoss", "L1Loss", "LSTMCell",
    "LayerNorm", "LeakyReLU", "Linear", "LogSigmoid", "LogSoftmax", "MSELoss", "MarginRankingLoss",
    "MaxPool1d", "MaxPool2d", "Mish", "Module", "ModuleDict", "ModuleList", "MultiheadAttention",
    "NLLLoss", "PReLU", "Parameter", "ParameterDict", "ParameterList", "PixelShuffle",
    "PixelUnshuffle", "PoissonNLLLoss", "RMSNorm", "RNNCell", "ReLU", "ReLU6", "ReflectionPad1d",
    "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
    "ReplicationPad3d", "Sequential", "SiLU", "Sigmoid", "SmoothL1Loss", "SoftMarginLoss",
    "Softmax", "Softmin", "Softplus", "Softsign", "Tanh", "Threshold", "TransformerDecoder",
    "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer", "TripletMarginLoss",
    "Unflatten", "Upsample", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
    "functional", "init", "quantized", "utils",
]  # fmt: skip

utils = ModuleType("tenor.nn.utils", "What PyTorch has in `torch.nn.utils`.")
utils.__dict__.update(
    clip_grad_norm_=clip_grad_norm_,
    clip_grad_value_=clip_grad_value_,
    parameters_to_vector=parameters_to_vector,
    rnn=ModuleType("tenor.nn.utils.rnn", "What PyTorch has in `torch.nn.utils.rnn`."),
    vector_to_parameters=vector_to_parameters,
)
utils.rnn.__dict__.update(
    PackedSequence=PackedSequence,
    pack_padded_sequence=pack_padded_sequence,
    pack_sequence=pack_sequence,
    pad_packed_sequence=pad_packed_sequence,
    pad_sequence=pad_sequence,
)
sys.modules.update({utils.__name__: utils, utils.rnn.__name__: utils.rnn})
