"""One model's whole life on real data: trained, saved, served, put into a page, checked throughout.

In:     the digits that come with Tenor, and a directory.
Out:    a model file, TensorBoard event files and a request to try and a folder for
        browsers, in the directory; an Outcome.
Never:  prints, or takes a number on trust: every answer is compared bit for bit.
"""

from tenor.demo.life import Outcome, live
from tenor.demo.network import digit_network

__all__ = ["Outcome", "digit_network", "live"]
