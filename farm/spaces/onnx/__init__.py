"""Networks from ONNX files, and search spaces written as ONNX."""
