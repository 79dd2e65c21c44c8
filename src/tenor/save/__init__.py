"""Save models and tensors to files, and load them back.

In:     modules, state dicts, arrays; files from anywhere, which may be damaged or hostile.
Out:    `.safetensors` files of named tensors; `.tnr` bundles of a program, weights, signatures
        and examples; loaded models that answer with the bits the saved one answered with.
Never:  runs code from a file, unpickles, takes memory on a file's word, or leaves half a file.
"""
