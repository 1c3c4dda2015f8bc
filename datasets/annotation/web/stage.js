// The picture with its masks: a frame, the masks of all objects, the mask in hand, zoom and pan.
//
// Masks are column-major (rle.js), so the layers are kept transposed – video column = picture row – where runs are
// contiguous, and drawn through a transform that swaps the axes.

import { inkOn, pixel, rgb } from "./colours.js";
import { boxOfRuns } from "./rle.js";

const FILL = 105; // alpha of the inside at full opacity
const QUIET = 70;

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
    this.scratch = new Uint8Array(height * width);
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
    this.paintOthers();
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
    if (!this.size) return;
    const { pixels, image, context } = this.others;
    pixels.fill(0);
    for (const { runs, colour, quiet } of this.objects) this.paintRuns(pixels, runs, rgb(colour), quiet ? QUIET : FILL);
    context.putImageData(image, 0, 0);
    this.redraw();
  }

  paintRuns(pixels, runs, colour, alpha) {
    const { height } = this.size;
    const { scratch, options } = this;
    const edge = pixel(colour, 255);
    const inside = pixel(colour, options.contour ? 0 : Math.round(alpha * options.opacity));
    let at = 0;
    for (let i = 0; i < runs.length; i++) {
      if (i & 1) scratch.fill(1, at, at + runs[i]);
      at += runs[i];
    }
    at = 0;
    for (let i = 0; i < runs.length; i++) {
      const end = at + runs[i];
      if (i & 1) {
        for (let k = at; k < end; k++) {
          const border = !scratch[k - height] || !scratch[k + height] || k === at || k === end - 1 || k % height === 0 || k % height === height - 1;
          if (border) pixels[k] = edge;
          else if (inside >>> 24) pixels[k] = pixels[k] ? mixed(pixels[k], inside) : inside;
        }
      }
      at = end;
    }
    at = 0;
    for (let i = 0; i < runs.length; i++) {
      if (i & 1) scratch.fill(0, at, at + runs[i]);
      at += runs[i];
    }
  }

  paintOwn(rectangle = null) {
    if (!this.size) return;
    const { height, width } = this.size;
    const { pixels, image, context } = this.own;
    const area = rectangle
      ? { left: Math.max(0, rectangle.left - 1), top: Math.max(0, rectangle.top - 1), right: Math.min(width, rectangle.right + 1), bottom: Math.min(height, rectangle.bottom + 1) }
      : { left: 0, top: 0, right: width, bottom: height };
    if (!this.active) {
      pixels.fill(0);
      context.putImageData(image, 0, 0);
      return void this.redraw();
    }
    const { mask } = this.active;
    const colour = rgb(this.active.colour);
    const edge = pixel(colour.map((v) => Math.round(v * 0.35 + 255 * 0.65)), 255);
    const inside = pixel(colour, this.options.contour ? 0 : Math.round(150 * this.options.opacity));
    for (let x = area.left; x < area.right; x++) {
      for (let y = area.top; y < area.bottom; y++) {
        const k = x * height + y;
        if (!mask[k]) pixels[k] = 0;
        else {
          const border = y === 0 || y === height - 1 || !mask[k - 1] || !mask[k + 1] || !mask[k - height] || !mask[k + height];
          pixels[k] = border ? edge : inside;
        }
      }
    }
    context.putImageData(image, 0, 0, area.top, area.left, area.bottom - area.top, area.right - area.left);
    this.redraw();
  }

  /** The mask in hand changed inside `rectangle`. */
  touch(rectangle) {
    if (rectangle) this.paintOwn(rectangle);
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
      context.setTransform(0, scale, scale, 0, x, y);
      context.drawImage(this.others.canvas, 0, 0);
      context.drawImage(this.own.canvas, 0, 0);
      context.setTransform(1, 0, 0, 1, 0, 0);
      if (this.options.labels) this.drawLabels();
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.tool?.draw?.(context, this.view, this.pointer);
    this.drawn += 1;
    this.onDrawn?.();
  }

  drawLabels() {
    const labelled = this.objects.length > 40 ? [] : this.objects;
    const ratio = window.devicePixelRatio || 1;
    for (const object of labelled) {
      object.box ??= boxOfRuns(object.runs, this.size.height);
      if (object.box) this.drawLabel(object, object.box, ratio);
    }
  }

  drawLabel({ number, colour, quiet }, [left, top], ratio) {
    const { context } = this;
    const text = String(number);
    context.globalAlpha = quiet ? 0.7 : 1;
    context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
    const width = context.measureText(text).width + 8 * ratio;
    const x = Math.min(Math.max(this.view.x + left * this.view.scale, 2), this.canvas.width - width - 2);
    const y = Math.max(this.view.y + top * this.view.scale - 17 * ratio, 2);
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
  return { canvas, context, image, pixels: new Uint32Array(image.data.buffer) };
}

/** Mean of two pixels, with the higher alpha. */
function mixed(a, b) {
  const alpha = Math.max(a >>> 24, b >>> 24);
  return (((((a ^ b) & 0xfefefe) >>> 1) + (a & b & 0xffffff)) | (alpha << 24)) >>> 0;
}

