// Drawing into a mask: column-major Uint8Array of height * width, see rle.js. Every function returns the rectangle
// it may have changed, {left, top, right, bottom} with right and bottom exclusive, or null where it changed nothing.

import { runsOfMask } from "./rle.js";

/** A disc of `radius` swept from (x0, y0) to (x1, y1); pixel (i, j) has its centre at (i + 0.5, j + 0.5). */
export function stroke(mask, height, width, [x0, y0], [x1, y1], radius, value) {
  const left = Math.max(0, Math.floor(Math.min(x0, x1) - radius));
  const right = Math.min(width, Math.ceil(Math.max(x0, x1) + radius));
  const top = Math.max(0, Math.floor(Math.min(y0, y1) - radius));
  const bottom = Math.min(height, Math.ceil(Math.max(y0, y1) + radius));
  if (left >= right || top >= bottom) return null;
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length = dx * dx + dy * dy;
  const reach = Math.max(radius, 0.71) ** 2; // a brush of one pixel always hits the pixel it is on
  for (let x = left; x < right; x++) {
    const px = x + 0.5 - x0;
    for (let y = top; y < bottom; y++) {
      const py = y + 0.5 - y0;
      const t = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= reach) mask[x * height + y] = value;
    }
  }
  return { left, top, right, bottom };
}

/** The inside of a closed polygon (even-odd rule, pixel centres). */
export function polygon(mask, height, width, points, value) {
  if (points.length < 3) return null;
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  const left = Math.max(0, Math.floor(Math.min(...xs)));
  const right = Math.min(width, Math.ceil(Math.max(...xs)));
  for (let x = left; x < right; x++) {
    const crossings = [];
    const px = x + 0.5;
    for (let i = 0; i < points.length; i++) {
      const [ax, ay] = points[i];
      const [bx, by] = points[(i + 1) % points.length];
      if (ax > px !== bx > px) crossings.push(ay + ((px - ax) / (bx - ax)) * (by - ay));
    }
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const from = Math.min(height, Math.max(0, Math.ceil(crossings[i] - 0.5)));
      const to = Math.min(height, Math.max(0, Math.ceil(crossings[i + 1] - 0.5)));
      mask.fill(value, x * height + from, x * height + to);
    }
  }
  const top = Math.max(0, Math.floor(Math.min(...ys)));
  const bottom = Math.min(height, Math.ceil(Math.max(...ys)));
  return left < right && top < bottom ? { left, top, right, bottom } : null;
}

/** The rectangle between two corners. */
export function box(mask, height, width, [x0, y0], [x1, y1], value) {
  const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)];
  const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  return polygon(mask, height, width, [[left, top], [right, top], [right, bottom], [left, bottom]], value);
}

/** The 4-connected region of equal pixels around (x, y). */
export function fill(mask, height, width, x, y, value) {
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  const old = mask[x * height + y];
  if (old === value) return null;
  const stack = [x * height + y];
  let [left, top, right, bottom] = [width, height, 0, 0];
  while (stack.length) {
    const at = stack.pop();
    if (mask[at] !== old) continue;
    const column = Math.floor(at / height);
    const start = column * height;
    let from = at;
    while (from > start && mask[from - 1] === old) from -= 1;
    let to = at + 1;
    while (to < start + height && mask[to] === old) to += 1;
    mask.fill(value, from, to);
    left = Math.min(left, column);
    right = Math.max(right, column + 1);
    top = Math.min(top, from - start);
    bottom = Math.max(bottom, to - start);
    for (const side of [-height, height]) {
      if ((side < 0 && column === 0) || (side > 0 && column === width - 1)) continue;
      for (let i = from; i < to; i++) {
        if (mask[i + side] === old && (i === from || mask[i + side - 1] !== old)) stack.push(i + side);
      }
    }
  }
  return { left, top, right, bottom };
}

/** Takes the pixels of `other` out of `mask`; whether any was taken. */
export function subtract(mask, other) {
  let changed = false;
  for (let i = 0; i < mask.length; i++) {
    if (mask[i] && other[i]) {
      mask[i] = 0;
      changed = true;
    }
  }
  return changed;
}

/** Runs of the inside of closed rings under the even-odd rule: a ring inside a ring is a hole. */
export function runsOfRings(rings, height, width) {
  const mask = new Uint8Array(height * width);
  const ring = new Uint8Array(height * width);
  for (const flat of rings) {
    const points = [];
    for (let i = 0; i + 1 < flat.length; i += 2) points.push([flat[i], flat[i + 1]]);
    const area = polygon(ring, height, width, points, 1);
    if (!area) continue;
    for (let x = area.left; x < area.right; x++) {
      for (let k = x * height + area.top; k < x * height + area.bottom; k++) {
        mask[k] ^= ring[k];
        ring[k] = 0;
      }
    }
  }
  return runsOfMask(mask);
}
