"""The ONNX writer turns a Graph into an ONNX file."""
