"""Classify an image with @FILE@: python @SNIPPET@ photo.jpg

Needs @PACKAGE@ and numpy; pillow to read image files.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
@include start.py@
session = onnxruntime.InferenceSession(str(FOLDER / "@FILE@"), providers=["CPUExecutionProvider"])


def run(image):
    """The scores of one image."""
    return session.run(["@OUTPUT@"], {"@INPUT@": image})[0]


@include classify.py@
