
FOLDER = Path(__file__).resolve().parent.parent
SIDE = @SIDE@
CROP = @CROP@  # share of the image's shorter side that is looked at; 1 squeezes the whole image
MEAN, STD = np.float32(@MEAN@), np.float32(@STD@)
LABELS = @LABELS@


def prepare(pixels):
    """The input for pixels uint8[@SIDE@, @SIDE@, 3], RGB."""
    if pixels.shape != (SIDE, SIDE, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"expected uint8 pixels of {SIDE} x {SIDE} x 3, got {pixels.dtype} {pixels.shape}")
    image = @PY_VALUE@
    return np.ascontiguousarray(@PY_LAYOUT@)[None]


def pixels_of(path):
    """An image file's pixels, cut as the network was trained."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    if CROP < 1:
        edge = min(image.size) * CROP
        left, top = (image.width - edge) / 2, (image.height - edge) / 2
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + edge, top + edge)))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


