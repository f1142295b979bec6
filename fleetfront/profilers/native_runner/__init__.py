"""The small C program that times a .tflite file on Linux targets, and building it for them."""
