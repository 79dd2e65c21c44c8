"""Stop training, write a checkpoint, go on in a new process's stead: the losses are the same bits.

A checkpoint is three things: the model's weights, the optimizer's and schedule's state, and the
position of the random numbers. Tensors go to safetensors, the rest is JSON: no pickle.
"""

from __future__ import annotations

import tenor as tn

images, labels, *_ = tn.data.load_digits()
x, y = tn.from_numpy(images).flatten(1), tn.from_numpy(labels)
