// The network takes @SIDE@ x @SIDE@ pixels. classify() wants them as RGB bytes, row by row: @SIDE@ * @SIDE@ * 3 values.
const SIDE = @SIDE@;
const ORDER = @ORDER@; // which of R, G, B comes first, second, third
const MEAN = @MEAN@, STD = @STD@;
export const LABELS = @LABELS@;

function prepare(rgb) {
  const pixels = SIDE * SIDE;
  if (rgb.length !== 3 * pixels) throw new Error(`expected ${3 * pixels} bytes, got ${rgb.length}`);
  const input = new @ARRAY@(3 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let place = 0; place < 3; place++) {
      const channel = ORDER[place];
      const value = rgb[3 * pixel + channel];
      input[@PLACE@] = @VALUE@;
    }
  }
  return input;
}

function best(scores) {
  const index = scores.indexOf(Math.max(...scores));
  return {index, label: LABELS[index] ?? String(index), score: scores[index]};
}
