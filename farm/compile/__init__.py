"""From an ONNX model to a library that a device can run. Nothing here knows a search space."""
