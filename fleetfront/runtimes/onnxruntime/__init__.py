"""ONNX Runtime opens and runs ONNX files on this machine, on the CPU and on CUDA."""
