"""The TFLite writer turns a Graph into a TFLite file, channels last, with metadata."""
