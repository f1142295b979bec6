"""The ORT writer turns an ONNX file into ONNX Runtime's own format."""
