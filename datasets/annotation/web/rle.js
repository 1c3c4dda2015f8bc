// COCO run-length encoding, the same strings as pycocotools writes.
//
// A mask is a Uint8Array of height * width values 0 or 1 in column-major order (the order of COCO), so that a run is
// one contiguous stretch of memory. Runs are a Uint32Array of lengths: zeros, ones, zeros, …

/** The runs of a compressed `counts` string. Throws where the string is no encoding of `size` pixels. */
export function runsOfCounts(counts, size) {
  const runs = [];
  let at = 0;
  let total = 0;
  while (at < counts.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const code = counts.charCodeAt(at) - 48;
      if (!(code >= 0 && code < 64) || shift > 30) throw new Error(`not a COCO mask: character ${at} of "${counts.slice(0, 20)}"`);
      value |= (code & 0x1f) << shift;
      more = (code & 0x20) !== 0;
      shift += 5;
      at += 1;
      if (!more && code & 0x10 && shift < 32) value |= -1 << shift;
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    if (value < 0) throw new Error("not a COCO mask: a run is shorter than nothing");
    runs.push(value);
    total += value;
  }
  if (total !== size) throw new Error(`not a COCO mask of ${size} pixels: its runs hold ${total}`);
  return Uint32Array.from(runs);
}

/** The compressed string of runs. */
export function countsOfRuns(runs) {
  const codes = [];
  for (let i = 0; i < runs.length; i++) {
    let value = i > 2 ? runs[i] - runs[i - 2] : runs[i];
    let more = true;
    while (more) {
      let code = value & 0x1f;
      value >>= 5;
      more = code & 0x10 ? value !== -1 : value !== 0;
      if (more) code |= 0x20;
      codes.push(code + 48);
    }
  }
  let text = "";
  for (let i = 0; i < codes.length; i += 4096) text += String.fromCharCode(...codes.slice(i, i + 4096));
  return text;
}

/** The runs of a mask. */
export function runsOfMask(mask) {
  const runs = [];
  let value = 0;
  let at = 0;
  while (at < mask.length) {
    const next = mask.indexOf(1 - value, at);
    const end = next < 0 ? mask.length : next;
    runs.push(end - at);
    at = end;
    value = 1 - value;
  }
  return Uint32Array.from(runs);
}

/** Writes runs into `mask`, which is cleared first. */
export function maskOfRuns(runs, mask) {
  mask.fill(0);
  let at = 0;
  for (let i = 0; i < runs.length; i++) {
    if (i & 1) mask.fill(1, at, at + runs[i]);
    at += runs[i];
  }
  return mask;
}

export const encode = (mask) => countsOfRuns(runsOfMask(mask));
export const decode = (counts, size) => maskOfRuns(runsOfCounts(counts, size), new Uint8Array(size));

/** The number of pixels that are set. */
export function areaOfRuns(runs) {
  let area = 0;
  for (let i = 1; i < runs.length; i += 2) area += runs[i];
  return area;
}

/** The uppermost pixel that is set, [x, y], the leftmost of them; or null. */
export function topOfRuns(runs, height) {
  let at = 0;
  let top = null;
  for (let i = 0; i < runs.length; i++) {
    const end = at + runs[i];
    if (i & 1 && end > at) {
      const x = Math.floor(at / height);
      const y = at - x * height;
      if (!top || y < top[1]) top = [x, y];
      if (end > (x + 1) * height && top[1] > 0) top = [x + 1, 0]; // it goes on at the top of the next column
    }
    at = end;
  }
  return top;
}

/** Whether pixel (x, y) is set. */
export function runsContain(runs, height, x, y) {
  const wanted = x * height + y;
  let at = 0;
  for (let i = 0; i < runs.length; i++) {
    at += runs[i];
    if (wanted < at) return (i & 1) === 1;
  }
  return false;
}
