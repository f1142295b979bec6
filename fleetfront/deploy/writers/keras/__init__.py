"""Keras models and SavedModels become TFLite files, in TensorFlow's own converter and often its own environment."""
