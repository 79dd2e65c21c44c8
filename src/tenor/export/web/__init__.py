"""Models for web pages.

In:     a Source: one signature of a model at fixed sizes.
Out:    what a page runs it with.
Never:  changes what a model computes.
"""
