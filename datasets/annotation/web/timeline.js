// The track of every object over the video: what each frame is (drawn, propagated, imported, absent, nothing), where we are.

import { ORIGINS } from "./colours.js";

const RULER = 17;
const OWN = 20; // lane of the selected object
const LANE = 7;
const GAP = 2;

export class Timeline {
  /** @param {HTMLCanvasElement} canvas @param {(frame: number) => void} seek @param {(object: string) => void} select */
  constructor(canvas, count, seek, select) {
    Object.assign(this, { canvas, count, seek, select, frame: 0, tracks: [], selected: null, range: null, scroll: 0 });
    this.context = canvas.getContext("2d");
    this.still = document.createElement("canvas"); // all but the head, which alone moves with the frame
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
    this.listen();
  }

  /** @param {{id, colour, codes: Uint8Array}[]} tracks */
  set(tracks, selected) {
    this.tracks = tracks;
    this.selected = selected;
    this.draw();
  }

  goto(frame) {
    this.frame = frame;
    this.schedule();
  }

  /** The frames a job works on, [first, last], or null. */
  setRange(range) {
    this.range = range;
    this.draw();
  }

  draw() {
    this.stale = true;
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = 0;
      this.paint();
    });
  }

  x(frame) {
    return (frame / this.count) * this.width;
  }

  paint() {
    const { canvas } = this;
    if (this.stale) this.paintStill();
    this.stale = false;
    this.context = canvas.getContext("2d");
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.still.width && this.still.height) this.context.drawImage(this.still, 0, 0);
    const ratio = window.devicePixelRatio || 1;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.paintHead();
  }

  paintStill() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    for (const one of [canvas, this.still]) {
      if (one.width !== Math.round(this.width * ratio)) one.width = Math.round(this.width * ratio);
      if (one.height !== Math.round(this.height * ratio)) one.height = Math.round(this.height * ratio);
    }
    const context = this.still.getContext("2d");
    this.context = context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.style = getComputedStyle(canvas);
    this.colours = Object.fromEntries(Object.entries(ORIGINS).map(([code, [, name]]) => [code.charCodeAt(0), this.style.getPropertyValue(name)]));
    this.ink = this.style.getPropertyValue("--ink");
    this.paintRuler();
    const own = this.tracks.find((t) => t.id === this.selected);
    if (own) this.paintLane(own, RULER, OWN, true);
    const top = RULER + OWN + 5;
    this.lanes = this.tracks.filter((t) => t !== own);
    const room = Math.max(0, Math.floor((this.height - top) / (LANE + GAP)));
    this.scroll = Math.max(0, Math.min(this.scroll, this.lanes.length - room));
    this.lanes.slice(this.scroll, this.scroll + room).forEach((track, i) => this.paintLane(track, top + i * (LANE + GAP), LANE, false));
  }

  paintRuler() {
    const { context } = this;
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
    const step = steps.find((s) => this.x(s) >= 46) ?? 10000;
    context.fillStyle = this.style.getPropertyValue("--soft");
    context.font = "10px system-ui, sans-serif";
    for (let frame = 0; frame < this.count; frame += step) {
      context.fillRect(this.x(frame), RULER - 5, 1, 4);
      context.fillText(String(frame + 1), this.x(frame) + 3, RULER - 6);
    }
    if (this.range) {
      const [first, last] = this.range;
      context.fillStyle = this.style.getPropertyValue("--accent");
      context.fillRect(this.x(first), RULER - 2, Math.max(2, this.x(last + 1) - this.x(first)), 2);
    }
  }

  paintLane(track, top, height, own) {
    const { context } = this;
    context.fillStyle = this.colours[".".charCodeAt(0)];
    context.fillRect(0, top, this.width, height);
    const { codes } = track;
    for (let first = 0; first < this.count;) {
      let end = first + 1;
      while (end < this.count && codes[end] === codes[first]) end += 1;
      this.paintSpan(String.fromCharCode(codes[first]), this.x(first), this.x(end) - this.x(first), top, height);
      first = end;
    }
    if (own && this.x(1) >= 5) {
      context.fillStyle = this.style.getPropertyValue("--paper");
      for (let i = 1; i < this.count; i++) context.fillRect(this.x(i) - 0.5, top, 1, height);
    }
    context.fillStyle = track.colour;
    context.fillRect(0, top, 3, height);
  }

  paintSpan(code, left, width, top, height) {
    const { context } = this;
    if (code === ".") return;
    context.fillStyle = this.colours[code.charCodeAt(0)];
    const share = { h: 1, r: 0.8, i: 0.8, p: 0.55, a: 0.18 }[code]; // height says the same as colour
    context.fillRect(left, top + height * (1 - share), Math.max(width, 1), height * share);
  }

  paintHead() {
    const { context } = this;
    const left = this.x(this.frame);
    const width = Math.max(2, this.x(1));
    context.fillStyle = this.ink;
    context.globalAlpha = 0.16;
    context.fillRect(left, 0, width, this.height);
    context.globalAlpha = 1;
    context.fillRect(left + width / 2 - 0.75, RULER - 6, 1.5, this.height);
    context.beginPath();
    context.moveTo(left + width / 2 - 5, RULER - 9);
    context.lineTo(left + width / 2 + 5, RULER - 9);
    context.lineTo(left + width / 2, RULER - 2);
    context.fill();
  }

  listen() {
    const { canvas } = this;
    const frameAt = (event) => {
      const box = canvas.getBoundingClientRect();
      return Math.min(this.count - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * this.count)));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const y = event.clientY - canvas.getBoundingClientRect().top - RULER - OWN - 5;
      const lane = y < 0 ? null : this.lanes?.[this.scroll + Math.floor(y / (LANE + GAP))];
      if (lane) this.select(lane.id);
      this.dragging = true;
      this.seek(frameAt(event));
    });
    canvas.addEventListener("pointermove", (event) => this.dragging && this.seek(frameAt(event)));
    canvas.addEventListener("pointerup", () => (this.dragging = false));
    canvas.addEventListener("pointercancel", () => (this.dragging = false));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scroll += Math.sign(event.deltaY);
      this.draw();
    }, { passive: false });
  }

  close() {
    this.observer.disconnect();
    if (this.scheduled) cancelAnimationFrame(this.scheduled);
  }
}
