"""Training: a module with Keras' compile and fit, its callbacks, and the loop under them.

In:     a module; arrays, tensors, loaders; an optimizer, a loss, metrics and callbacks.
Out:    a trained module, the history of its metrics, predictions, event files, checkpoints.
Never:  looks at a value more often than it is shown, or does what a plain loop could not.
"""

from tenor.train.board import TensorBoard
from tenor.train.callback import Callback, CallbackList, History, LambdaCallback
from tenor.train.checkpoint import ModelCheckpoint
from tenor.train.model import Model
from tenor.train.objective import LOSSES, OPTIMIZERS
from tenor.train.progress import ProgressBar
from tenor.train.table import CSVLogger
from tenor.train.watching import (
    EarlyStopping,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TerminateOnNaN,
)

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Model",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
