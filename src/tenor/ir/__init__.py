"""The one representation; everything below the tensor speaks it.

In:     operations with shapes and dtypes, from the recorder or from IR text.
Out:    nodes, graphs, kernels, loops and programs: the values handed from stage to stage.
Never:  computes a value, chooses a kernel or knows a device.
"""
