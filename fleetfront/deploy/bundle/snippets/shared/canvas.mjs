
// The pixels of an <img>, <video> or ImageBitmap, cut as the network was trained.
export function pixelsOf(image) {
  const width = image.videoWidth ?? image.naturalWidth ?? image.width;
  const height = image.videoHeight ?? image.naturalHeight ?? image.height;
  const share = @CROP@;
  const cut = Math.min(width, height) * share;
  const [w, h] = share < 1 ? [cut, cut] : [width, height];
  const context = new OffscreenCanvas(SIDE, SIDE).getContext('2d');
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h, 0, 0, SIDE, SIDE);
  const rgba = context.getImageData(0, 0, SIDE, SIDE).data;
  return Uint8Array.from({length: 3 * SIDE * SIDE}, (_, i) => rgba[4 * Math.floor(i / 3) + (i % 3)]);
}
