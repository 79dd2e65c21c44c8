"""Programs to results: compile text, hold memory, launch.

In:     a Program, buffers and numbers.
Out:    buffers.
Never:  knows what a kernel computes, or when it is worth running one.
"""
