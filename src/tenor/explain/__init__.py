"""Show every stage of a computation: graph, kernels, loops, LLVM IR, machine code.

In:     the path of a script, or graphs and their programs from the engine.
Out:    a Report; renderables of it for a terminal, or one HTML page that needs no network.
Never:  prints, serves, or changes what the script computes.

The journey of a report: `script` runs the user's file and listens to the engine; `record` compiles
each graph once more, keeping what every pass left; `formula`, `traffic`, `machine` and `timing`
say what each kernel does and costs; `terminal` and `page` show it.
"""

from tenor.explain.page import page
from tenor.explain.record import Body, KernelCall, ProgramRecord, Report, SourceLine, record_of
from tenor.explain.script import explain_script, listening
from tenor.explain.terminal import STAGES, stage, summary

__all__ = [
    "STAGES",
    "Body",
    "KernelCall",
    "ProgramRecord",
    "Report",
    "SourceLine",
    "explain_script",
    "listening",
    "page",
    "record_of",
    "stage",
    "summary",
]
