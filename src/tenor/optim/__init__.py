"""Optimizers and learning-rate schedules, with PyTorch's names and formulas.

In:     parameters with gradients, and options that may change between steps.
Out:    the parameters, written in place; the whole step is one run of one plan.
Never:  computes a gradient, or bakes a learning rate into a program.
"""

from tenor.optim import lr_scheduler
from tenor.optim.adam import Adam, AdamW
from tenor.optim.optimizer import Optimizer
from tenor.optim.rmsprop import RMSprop
from tenor.optim.sgd import SGD
from tenor.tensor.clip import clip_grad_norm_, clip_grad_value_

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
]
