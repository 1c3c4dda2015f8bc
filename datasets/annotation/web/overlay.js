// The masks of many objects as one picture: opaque outlines, transparent insides, mixed where objects overlap.
//
// Pixels are column-major as masks are (rle.js): video column = row of `pixels`, where a run is one stretch of memory.

import { pixel, rgb } from "./colours.js";

const FILL = 105; // alpha of the inside at full opacity
const QUIET = 70; // of what the sentence in hand does not mean

/** Paints runs of one size of picture; keeps the memory that this takes. */
export class Painter {
  constructor(height, width) {
    Object.assign(this, { height, width });
    this.scratch = new Uint8Array(height * width);
  }

  /** Paints objects over each other. @param {{runs: Uint32Array, colour: string, quiet?: boolean}[]} objects */
  objects(pixels, objects, { opacity, contour }) {
    pixels.fill(0);
    for (const { runs, colour, quiet } of objects) {
      const value = rgb(colour);
      const alpha = quiet ? QUIET : FILL;
      this.runs(pixels, runs, pixel(value, 255), contour ? 0 : pixel(value, Math.round(alpha * opacity)));
    }
  }

  /** Pixels on the rim of the runs become `edge`, the others `inside`, mixed with what is there. */
  runs(pixels, runs, edge, inside) {
    const { height, scratch } = this;
    eachRun(runs, (from, to) => scratch.fill(1, from, to));
    eachRun(runs, (from, to) => {
      if (Math.floor(from / height) !== Math.floor((to - 1) / height)) this.rowEnds(from, to, pixels, edge);
      for (let k = from; k < to; k++) {
        if (k === from || k === to - 1 || !scratch[k - height] || !scratch[k + height]) pixels[k] = edge;
        else if (inside && pixels[k] !== edge) pixels[k] = pixels[k] ? mixed(pixels[k], inside) : inside;
      }
    });
    eachRun(runs, (from, to) => scratch.fill(0, from, to));
  }

  /** A run over several columns touches the upper and the lower border of the picture. */
  rowEnds(from, to, pixels, edge) {
    const { height } = this;
    for (let k = (Math.floor(from / height) + 1) * height; k < to; k += height) pixels[k - 1] = pixels[k] = edge;
  }
}

/** Writes column-major pixels into a picture's row-major ones, in tiles that fit into the processor's cache. */
export function transpose(columns, rows, height, width) {
  const tile = 32;
  for (let top = 0; top < height; top += tile) {
    const bottom = Math.min(height, top + tile);
    for (let left = 0; left < width; left += tile) {
      const right = Math.min(width, left + tile);
      for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) rows[y * width + x] = columns[x * height + y];
    }
  }
}

function eachRun(runs, action) {
  let at = 0;
  for (let i = 0; i < runs.length; i++) {
    const end = at + runs[i];
    if (i & 1 && end > at) action(at, end);
    at = end;
  }
}

/** Mean of two pixels, with the higher alpha. */
function mixed(a, b) {
  const alpha = Math.max(a >>> 24, b >>> 24);
  return (((((a ^ b) & 0xfefefe) >>> 1) + (a & b & 0xffffff)) | (alpha << 24)) >>> 0;
}
