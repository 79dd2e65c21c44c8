"""Stage 1 of 4: graph to graph.

In:     a Graph as recorded.
Out:    a Graph that computes the same values with fewer nodes.
Never:  changes a bit of any result, or decides what shares a kernel (schedule).
"""

from tenor.compiler.simplify.join import join
from tenor.compiler.simplify.pack import pack
from tenor.compiler.simplify.passes import (
    collapse,
    dead,
    distinct,
    merge,
    split_reduce,
    strip,
)
from tenor.compiler.simplify.turn import turn

__all__ = ["collapse", "dead", "distinct", "join", "merge", "pack", "split_reduce", "strip", "turn"]
