"""Classify an image with @FILE@: python @SNIPPET@ photo.jpg

Needs @PACKAGE@ and numpy; pillow to read image files.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
@include start.py@
interpreter = Interpreter(model_path=str(FOLDER / "@FILE@"))
interpreter.allocate_tensors()
runner = interpreter.get_signature_runner("serving_default")


def run(image):
    """The scores of one image."""
    return runner(**{"@INPUT@": image})["@OUTPUT@"]


@include classify.py@
