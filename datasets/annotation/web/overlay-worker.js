// Beside the page: decodes the masks of a frame and paints them, so that a frame that comes next only has to be shown.

import { Painter, transpose } from "./overlay.js";
import { runsOfCounts, topOfRuns } from "./rle.js";

let painter = new Painter(0, 0);
let columns = new Uint32Array(0);

/** @param data {frame, height, width, objects: {counts, colour, quiet}[], look: {opacity, contour}} */
self.onmessage = async ({ data: { frame, height, width, objects, look } }) => {
  if (painter.height !== height || painter.width !== width) {
    painter = new Painter(height, width);
    columns = new Uint32Array(height * width);
  }
  const decoded = objects.map((object) => ({ ...object, runs: runsOfCounts(object.counts, height * width) }));
  painter.objects(columns, decoded, look);
  const image = new ImageData(width, height);
  transpose(columns, new Uint32Array(image.data.buffer), height, width);
  const picture = await createImageBitmap(image);
  self.postMessage({ frame, picture, tops: decoded.map(({ runs }) => topOfRuns(runs, height)) }, [picture]);
};
