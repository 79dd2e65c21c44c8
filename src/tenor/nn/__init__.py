"""Modules and the functions they are made of, with PyTorch's names.

In:     tensors, and hyper-parameters at construction.
Out:    tensors; parameters and buffers by name.
Never:  updates a parameter (optim), reads data or writes files.
"""

from tenor.nn import functional, init
from tenor.nn.activation import (
    ELU,
    GELU,
    Hardswish,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tenor.nn.container import ModuleDict, ModuleList, ParameterList, Sequential
from tenor.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d
from tenor.nn.dropout import Dropout
from tenor.nn.embedding import Embedding
from tenor.nn.linear import Flatten, Linear, Unflatten
from tenor.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from tenor.nn.module import Module, Parameter
from tenor.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from tenor.nn.pooling import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from tenor.nn.recurrent import LSTM, LSTMCell

__all__ = [
    "ELU", "GELU", "LSTM", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d",
    "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Conv1d", "Conv2d", "Conv3d",
    "ConvTranspose1d", "ConvTranspose2d", "CrossEntropyLoss", "Dropout", "Embedding", "Flatten",
    "GroupNorm", "Hardswish", "Identity", "L1Loss", "LSTMCell", "LayerNorm", "LeakyReLU", "Linear",
    "LogSoftmax", "MSELoss", "MaxPool1d", "MaxPool2d", "Module", "ModuleDict", "ModuleList",
    "NLLLoss", "Parameter", "ParameterList", "RMSNorm", "ReLU", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Softplus", "Tanh", "Unflatten", "functional", "init",
]  # fmt: skip
