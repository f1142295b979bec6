"""The TensorRT writer turns a Graph into a plan for the GPU of this machine."""
