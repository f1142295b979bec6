"""MODEL IMAGES COUNT: label and score that MediaPipe's classifier gives COUNT square images of raw RGB bytes."""

import json
import sys

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions

model, images, count = sys.argv[1:]
raw = np.fromfile(images, np.uint8)
side = round((raw.size / int(count) / 3) ** 0.5)
options = ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=1)
found = []
with ImageClassifier.create_from_options(options) as classifier:
    for pixels in raw.reshape(int(count), side, side, 3):
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        best = classifier.classify(image).classifications[0].categories[0]
        found.append([best.category_name, best.score])
sys.stdout.write(json.dumps(found))
