"""Turn a saved model into something that runs without Tenor.

In:     a `.tnr` bundle, or a module and example inputs.
Out:    files for other machines: a folder for a browser, an object file and header for a device,
        a `.tflite` or `.onnx` file for other runtimes.
Never:  writes anything before it is known that the whole model can be written; changes the bundle.
"""
