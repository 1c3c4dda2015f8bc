// The picture with its masks: a frame, the masks of all objects, the mask in hand, zoom and pan.
//
// Masks are column-major (rle.js), so the layers are kept transposed – video column = picture row – where runs are
// contiguous, and drawn through a transform that swaps the axes.

import { inkOn, pixel, rgb } from "./colours.js";
import { Painter } from "./overlay.js";
import { runsOfMask, topOfRuns } from "./rle.js";

const OWN = 150; // alpha of the inside of the object in hand
const MOST_LABELS = 40; // more numbers than that hide the picture

export class Stage {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas, { onZoom = () => {} } = {}) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.onZoom = onZoom;
    this.options = { opacity: 1, contour: false, hidden: false, labels: true };
    this.objects = [];
    this.active = null; // {colour, mask, number}
    this.frame = null;
    this.tool = null;
    this.pointer = null;
    this.size = null;
    this.drawn = 0;
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(canvas);
    this.listen();
  }

  // Content -----------------------------------------------------------------------------------------------------------

  setSize(height, width) {
    this.size = { height, width };
    this.others = layer(height, width);
    this.own = layer(height, width);
    this.painter = new Painter(height, width);
    this.overlay = null; // what was painted ahead: {picture, tops}
    this.view = null;
    this.resized();
  }

  setFrame(picture) {
    this.frame = picture;
    this.redraw();
  }

  /** @param {{number: number|string, colour: string, runs: Uint32Array, quiet?: boolean}[]} objects all but the one in hand */
  setObjects(objects) {
    this.objects = objects;
    this.overlay = null;
    this.paintOthers();
  }

  /** The same objects, painted already (overlays.js). */
  setPainted(objects, overlay) {
    this.objects = objects;
    this.overlay = overlay;
    this.redraw();
  }

  /** The mask that tools draw into: shared, not copied; `touch` tells what changed. */
  setActive(active) {
    this.active = active;
    this.paintOwn();
  }

  setOptions(options) {
    Object.assign(this.options, options);
    this.paintOthers();
    this.paintOwn();
  }

  paintOthers() {
    if (!this.size || this.overlay) return;
    const { pixels, image, context } = this.others;
    this.painter.objects(pixels, this.objects, this.options);
    context.putImageData(image, 0, 0);
    this.redraw();
  }

  ownColours() {
    const colour = rgb(this.active.colour);
    const { contour, opacity } = this.options;
    return [pixel(colour.map((v) => Math.round(v * 0.35 + 255 * 0.65)), 255), contour ? 0 : pixel(colour, Math.round(OWN * opacity))];
  }

  /** Paints the whole mask in hand: only the columns that it has, or had before, are touched. */
  paintOwn() {
    if (!this.size) return;
    const { height } = this.size;
    const { pixels, image, context } = this.own;
    const runs = this.active ? this.active.runs ?? runsOfMask(this.active.mask) : [];
    const before = this.own.columns;
    const columns = columnsOfRuns(runs, height);
    if (before) pixels.fill(0, before[0] * height, before[1] * height);
    if (columns) this.painter.runs(pixels, runs, ...this.ownColours());
    this.own.columns = columns;
    const [from, to] = union(before, columns) ?? [0, 0];
    if (to > from) context.putImageData(image, 0, 0, 0, from, height, to - from);
    this.redraw();
  }

  /** Paints the mask in hand inside a rectangle. */
  paintOwnInside(rectangle) {
    const { height, width } = this.size;
    const { pixels, image, context } = this.own;
    const { mask } = this.active;
    const [edge, inside] = this.ownColours();
    const [left, right] = [Math.max(0, rectangle.left - 1), Math.min(width, rectangle.right + 1)];
    const [top, bottom] = [Math.max(0, rectangle.top - 1), Math.min(height, rectangle.bottom + 1)];
    this.own.columns = union(this.own.columns, [left, right]);
    for (let x = left; x < right; x++) {
      for (let y = top; y < bottom; y++) {
        const k = x * height + y;
        if (!mask[k]) pixels[k] = 0;
        else {
          const border = y === 0 || y === height - 1 || !mask[k - 1] || !mask[k + 1] || !mask[k - height] || !mask[k + height];
          pixels[k] = border ? edge : inside;
        }
      }
    }
    context.putImageData(image, 0, 0, top, left, bottom - top, right - left);
    this.redraw();
  }

  /** The mask in hand changed inside `rectangle`. */
  touch(rectangle) {
    if (!rectangle || !this.active) return;
    this.active.runs = null; // they say what the mask was
    this.paintOwnInside(rectangle);
  }

  // View --------------------------------------------------------------------------------------------------------------

  resized() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const ratio = window.devicePixelRatio || 1;
    const fitted = this.size && this.isFitted();
    this.canvas.width = Math.max(1, Math.round(box.width * ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * ratio));
    if (!this.view || fitted) this.fit();
    this.redraw();
  }

  fitScale() {
    const margin = 0.985;
    return margin * Math.min(this.canvas.width / this.size.width, this.canvas.height / this.size.height);
  }

  isFitted() {
    return !this.view || this.view.fitted;
  }

  fit() {
    if (!this.size || this.canvas.width < 2) return;
    const scale = this.fitScale();
    this.view = {
      scale, fitted: true,
      x: (this.canvas.width - scale * this.size.width) / 2,
      y: (this.canvas.height - scale * this.size.height) / 2,
    };
    this.redraw();
    this.onZoom(scale);
  }

  /** Zooms by `factor` and keeps the image point under (cx, cy) – canvas pixels, the middle by default – in its place. */
  zoom(factor, cx = this.canvas.width / 2, cy = this.canvas.height / 2) {
    if (!this.view) return;
    const scale = Math.min(40, Math.max(this.fitScale() * 0.5, this.view.scale * factor));
    const change = scale / this.view.scale;
    this.view = { scale, fitted: false, x: cx - (cx - this.view.x) * change, y: cy - (cy - this.view.y) * change };
    this.redraw();
    this.onZoom(scale);
  }

  pan(dx, dy) {
    this.view = { ...this.view, fitted: false, x: this.view.x + dx, y: this.view.y + dy };
    this.redraw();
  }

  /** Image coordinates of a pointer event. */
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const x = ((event.clientX - box.left) * ratio - this.view.x) / this.view.scale;
    const y = ((event.clientY - box.top) * ratio - this.view.y) / this.view.scale;
    return [x, y];
  }

  // Drawing -----------------------------------------------------------------------------------------------------------

  redraw() {
    if (this.scheduled || this.closed) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = 0;
      this.draw();
    });
  }

  draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#0b0c0f";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.view || !this.size) return;
    const { scale, x, y } = this.view;
    if (this.frame) {
      context.imageSmoothingEnabled = scale < 3;
      context.setTransform(scale, 0, 0, scale, x, y);
      context.drawImage(this.frame, 0, 0, this.size.width, this.size.height);
    }
    if (!this.options.hidden) {
      context.imageSmoothingEnabled = false;
      context.setTransform(scale, 0, 0, scale, x, y);
      if (this.overlay) context.drawImage(this.overlay.picture, 0, 0);
      context.setTransform(0, scale, scale, 0, x, y);
      if (!this.overlay && this.objects.length) context.drawImage(this.others.canvas, 0, 0);
      if (this.own.columns) this.drawOwn(context);
      context.setTransform(1, 0, 0, 1, 0, 0);
      if (this.options.labels) this.drawLabels();
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.tool?.draw?.(context, this.view, this.pointer);
    this.drawn += 1;
    this.onDrawn?.();
  }

  drawOwn(context) {
    const [from, to] = this.own.columns;
    const { height } = this.size;
    context.drawImage(this.own.canvas, 0, from, height, to - from, 0, from, height, to - from);
  }

  drawLabels() {
    if (this.objects.length > MOST_LABELS) return;
    const ratio = window.devicePixelRatio || 1;
    this.objects.forEach((object, i) => {
      object.top ??= this.overlay ? this.overlay.tops[i] : topOfRuns(object.runs, this.size.height);
      if (object.top) this.drawLabel(object, object.top, ratio);
    });
  }

  drawLabel({ number, colour, quiet }, [x0, y0], ratio) {
    const { context } = this;
    const text = String(number);
    context.globalAlpha = quiet ? 0.7 : 1;
    context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
    const width = context.measureText(text).width + 8 * ratio;
    const x = Math.min(Math.max(this.view.x + x0 * this.view.scale - width / 2, 2), this.canvas.width - width - 2);
    const y = Math.max(this.view.y + y0 * this.view.scale - 18 * ratio, 2);
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(x, y, width, 15 * ratio, 4 * ratio);
    context.fill();
    context.fillStyle = inkOn(colour);
    context.fillText(text, x + 4 * ratio, y + 11.5 * ratio);
    context.globalAlpha = 1;
  }

  // Pointer -----------------------------------------------------------------------------------------------------------

  listen() {
    const { canvas } = this;
    let panning = null;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.view) return;
      canvas.setPointerCapture(event.pointerId);
      if (event.button === 1 || this.spaceHeld) {
        panning = [event.clientX, event.clientY];
        event.preventDefault();
      } else this.tool?.down?.(this.point(event), event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.view) return;
      this.pointer = this.point(event);
      if (panning) {
        const ratio = window.devicePixelRatio || 1;
        this.pan((event.clientX - panning[0]) * ratio, (event.clientY - panning[1]) * ratio);
        panning = [event.clientX, event.clientY];
        return;
      }
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length ? steps : [event]) this.tool?.move?.(this.point(step), step);
      this.redraw();
    });
    const end = (event) => {
      if (panning) panning = null;
      else if (this.view) this.tool?.up?.(this.point(event), event);
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", () => {
      panning = null;
      this.tool?.cancel?.();
    });
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.redraw();
    });
    canvas.addEventListener("dblclick", (event) => this.tool?.finish?.(this.point(event), event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      const ratio = canvas.width / box.width;
      if (event.shiftKey && !event.ctrlKey) return this.pan(-event.deltaY * ratio, 0);
      this.zoom(Math.exp(-event.deltaY * 0.0016), (event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
    }, { passive: false });
  }

  close() {
    this.closed = true; // an answer that comes late must not draw a picture that is gone
    this.observer.disconnect();
    if (this.scheduled) cancelAnimationFrame(this.scheduled);
  }
}

function layer(height, width) {
  const canvas = document.createElement("canvas");
  canvas.width = height;
  canvas.height = width;
  const context = canvas.getContext("2d");
  const image = new ImageData(height, width);
  return { canvas, context, image, pixels: new Uint32Array(image.data.buffer), columns: null };
}

/** The columns of the picture that runs touch, [first, end), or null. */
function columnsOfRuns(runs, height) {
  if (runs.length < 2) return null;
  const end = runs.reduce((sum, length) => sum + length, 0) - (runs.length % 2 ? runs[runs.length - 1] : 0);
  return [Math.floor(runs[0] / height), Math.ceil(end / height)];
}

function union(a, b) {
  return a && b ? [Math.min(a[0], b[0]), Math.max(a[1], b[1])] : a ?? b;
}
