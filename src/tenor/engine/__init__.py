"""The conductor: record operations, decide when to run them, reuse what was compiled.

In:     operations on handles, from `tensor`.
Out:    buffers on the handles that are still alive after a flush.
Never:  knows PyTorch's names, differentiates (autograd's table does) or emits code.
"""
