"""The command line: `tenor demo|serve|predict|inspect|verify|explain|doctor`.

In:     arguments, files, and data from other programs.
Out:    text for people on the terminal, JSON where a program reads it, and an exit status:
        0 done, 1 failed with a reason, 2 used wrongly, 130 interrupted.
Never:  computes anything itself. It is the only part of Tenor that prints.
"""

from tenor.cli.app import main

__all__ = ["main"]
