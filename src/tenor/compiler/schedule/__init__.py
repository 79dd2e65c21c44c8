"""Stage 2 of 4: graph to kernels.

In:     a Graph.
Out:    a Schedule: kernels in order, and where each of their buffers lies.
Never:  writes loops (lower) or prints code (emit).
"""
