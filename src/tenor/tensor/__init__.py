"""What users call: PyTorch's names on tensors whose operations are recorded.

In:     Python numbers, NumPy arrays, other libraries' tensors through DLPack.
Out:    Tensor, the functions on it, dtypes, random numbers, modes, gradients.
Never:  computes anything itself; functions record, and the engine runs what was recorded.
"""

from __future__ import annotations

# The class comes first, so that the name `tensor` ends up as the function.
# isort: off
from tenor.tensor.tensor import Tensor

# isort: on
from tenor.tensor import (
    autograd,
    counting,
    creation,
    cuda,
    diagonals,
    dtypes,
    elementwise,
    indexing,
    integer,
    joining,
    linear,
    modes,
    movement,
    ordering,
    protocol,
    reduction,
    running,
    scattering,
    special,
    statistics,
    transcendental,
    typed,
)  # fmt: skip
from tenor.tensor import random as random_numbers
from tenor.tensor.conversion import from_array
from tenor.tensor.counting import *  # noqa: F403
from tenor.tensor.creation import *  # noqa: F403
from tenor.tensor.device import Device
from tenor.tensor.diagonals import *  # noqa: F403
from tenor.tensor.dims import Size
from tenor.tensor.dlpack import from_dlpack
from tenor.tensor.dtypes import *  # noqa: F403
from tenor.tensor.einsum import einsum
from tenor.tensor.elementwise import *  # noqa: F403
from tenor.tensor.indexing import *  # noqa: F403
from tenor.tensor.integer import *  # noqa: F403
from tenor.tensor.joining import *  # noqa: F403
from tenor.tensor.linear import *  # noqa: F403
from tenor.tensor.modes import *  # noqa: F403
from tenor.tensor.movement import *  # noqa: F403
from tenor.tensor.ordering import *  # noqa: F403
from tenor.tensor.printing import get_printoptions, printoptions, set_printoptions
from tenor.tensor.protocol import *  # noqa: F403
from tenor.tensor.random import *  # noqa: F403
from tenor.tensor.reduction import *  # noqa: F403
from tenor.tensor.running import *  # noqa: F403
from tenor.tensor.scattering import *  # noqa: F403
from tenor.tensor.special import *  # noqa: F403
from tenor.tensor.statistics import *  # noqa: F403
from tenor.tensor.surface import publish
from tenor.tensor.transcendental import *  # noqa: F403
from tenor.tensor.typed import *  # noqa: F403

device = Device

__all__ = [  # noqa: PLE0604 - the modules' own lists follow
    "Device", "Size", "Tensor", "autograd", "cuda", "device", "einsum", "from_array", "from_dlpack",
    "get_printoptions", "printoptions", "set_printoptions",
    *counting.__all__, *creation.__all__, *diagonals.__all__, *dtypes.__all__,
    *elementwise.__all__, *indexing.__all__, *integer.__all__, *joining.__all__,
    *linear.__all__, *modes.__all__, *movement.__all__, *ordering.__all__, *protocol.__all__,
    *random_numbers.__all__, *reduction.__all__, *running.__all__, *scattering.__all__,
    *special.__all__, *statistics.__all__, *transcendental.__all__, *typed.__all__,
]  # fmt: skip

vars(autograd).update(publish({n: vars(autograd)[n] for n in autograd.__all__}, autograd.__name__))
globals().update(publish({name: globals()[name] for name in __all__}, "tenor"))
