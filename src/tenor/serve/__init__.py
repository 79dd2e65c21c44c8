"""Answer HTTP requests with loaded models.

In:     servables (a name, a version, signatures, `run`), and requests in TensorFlow Serving's
        REST format or in the Open Inference Protocol v2.
Out:    answers whose numbers parse back to the same bits; errors that say what was wanted.
Never:  loads a model, computes a value, or lets a request end the process.

The journey of a request: `app` reads and admits it, a `workers` thread hands its bytes to a
protocol (`tfserving` or `v2`), which parses them to arrays (`tensors`), finds the servable
(`repository`), runs it and writes the answer. `server` owns the socket and the signals.
"""

from tenor.serve.app import Limits, create_app
from tenor.serve.repository import Repository
from tenor.serve.servable import Servable, Signature, TensorSpec
from tenor.serve.server import RunningServer, serve, start_in_thread

__all__ = [
    "Limits",
    "Repository",
    "RunningServer",
    "Servable",
    "Signature",
    "TensorSpec",
    "create_app",
    "serve",
    "start_in_thread",
]
