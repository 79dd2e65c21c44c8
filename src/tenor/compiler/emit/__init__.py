"""Stage 4 of 4: loops to text, one printer a language; and the interpreter that is the oracle.

In:     a loops Function and a Target; for the interpreter a Graph.
Out:    text in the target's language; for the interpreter NumPy arrays.
Never:  chooses an order of loops (lower) or runs compiled code (runtime).
"""
