"""Turn a saved model into a folder that a browser runs: WebAssembly, a script, a page.

In:     a `.tnr` bundle, or a module and example inputs.
Out:    a folder for any static server, and for npm: model.js, two WebAssembly modules, weights,
        a page to try it on.
Never:  needs a toolchain, loads anything from elsewhere, or leaves half a folder behind.
"""

from tenor.export.web.bundle import Exported, export_web

__all__ = ["Exported", "export_web"]
