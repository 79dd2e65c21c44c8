"""Data sets, and loaders that turn them into batches.

In:     arrays, tensors, and objects that give samples by index or one after another.
Out:    batches of tensors, in an order that a seed decides.
Never:  trains, or lets the number of workers change what comes out.
"""

from tenor.data.collate import default_collate
from tenor.data.dataset import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from tenor.data.handwriting import load_digits
from tenor.data.loader import DataLoader
from tenor.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from tenor.data.worker import WorkerInfo, get_worker_info

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "WorkerInfo",
    "default_collate",
    "get_worker_info",
    "load_digits",
    "random_split",
]
