// Colours of objects and of the origins of masks.

/** Twelve hues that stay apart from each other on video; objects beyond twelve get golden-angle hues. */
const PALETTE = [
  "#ff5c5c", "#3fa7ff", "#43d17a", "#ffb02e", "#c77dff", "#2fd6d0", "#ff7ac8", "#b5d33d", "#8f9bff", "#ff8f5a", "#5ee0ff", "#e6d34a",
];

/** The colour of the object at `position` in the list, as #rrggbb. */
export function colourOf(position) {
  if (position < PALETTE.length) return PALETTE[position];
  return hslToHex((position * 137.508) % 360, 0.72, 0.62);
}

function hslToHex(hue, saturation, lightness) {
  const a = saturation * Math.min(lightness, 1 - lightness);
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    const value = lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

/** [red, green, blue] of #rrggbb. */
export const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** Black or white, whichever can be read on #rrggbb. */
export function inkOn(hex) {
  const [r, g, b] = rgb(hex);
  return 0.299 * r + 0.587 * g + 0.114 * b > 130 ? "#111318" : "#ffffff";
}

/** A pixel for a Uint32Array over ImageData (little-endian, as every machine that runs a browser is). */
export const pixel = ([r, g, b], alpha) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;

/** What a frame of an object is: code, name, key of the colour in style.css. */
export const ORIGINS = {
  ".": ["not annotated", "--origin-none"],
  a: ["absent", "--origin-absent"],
  h: ["drawn by a person", "--origin-human"],
  p: ["propagated", "--origin-propagated"],
  r: ["propagated, looked at", "--origin-reviewed"],
  i: ["imported", "--origin-imported"],
};
