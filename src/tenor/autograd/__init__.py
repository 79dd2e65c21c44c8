"""Graph to graph: how each primitive passes a gradient back.

In:     one recorded operation, the cotangent of its output, and a builder to write with.
Out:    the cotangents of its inputs, written as ordinary operations: `vjp.VJP`, one row each.
Never:  walks a trace, holds a value, or computes a number; the engine walks, the compiler computes.
"""
