"""Eight-bit models: find the ranges of every value, round to them, and report what that costs.

In:     a Source, and example rows.
Out:    a Quantization (one record for every exporter), graphs that round as it says, a report.
Never:  quantises a layer silently worse than asked: the report names each layer's error.
"""
