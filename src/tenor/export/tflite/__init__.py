"""Write `.tflite` files, float or in eight bits, which LiteRT runs on phones and small devices.

In:     a model, and perhaps how its values are held in eight bits.
Out:    one `.tflite` file, run on the model's own example rows before it is put in place.
Never:  needs TensorFlow; writes custom operators; writes a file that it knows to be wrong.
"""

from __future__ import annotations

from tenor.export.tflite.exported import Exported, export_tflite

__all__ = ["Exported", "export_tflite"]
