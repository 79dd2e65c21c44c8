"""Turn a model into code for machines where nothing else of Tenor is.

In:     a `.tnr` bundle, or a module and example inputs; the name of a machine.
Out:    an object file, a C99 file or a shared library that needs no library, its header, and its
        weights; and how large and how fast they are.
Never:  allocates, calls or links anything on that machine; writes a file before it is known that
        the whole model can be written.
"""

from tenor.export.edge.benchmark import Report, benchmark
from tenor.export.edge.export import Exported, export_edge
from tenor.export.edge.support import unsupported
from tenor.export.edge.targets import TARGETS, Machinery

__all__ = ["TARGETS", "Exported", "Machinery", "Report", "benchmark", "export_edge",
           "unsupported"]  # fmt: skip
