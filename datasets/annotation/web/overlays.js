// Painted masks of the frames around the one in hand, made ahead by a worker. An entry says what it was painted from and
// is used only where that is still what is to be seen, so nothing has to be told when masks, colours or choices change.

const BUDGET = 96 * 2 ** 20; // bytes of pictures

export class Overlays {
  constructor(height, width) {
    Object.assign(this, { height, width });
    this.kept = new Map(); // frame -> {objects, look, picture, tops}, the least recently used first
    this.most = Math.max(8, Math.floor(BUDGET / (4 * height * width)));
    this.wanted = [];
    this.asked = null;
    this.worker = new Worker("/web/overlay-worker.js", { type: "module" });
    this.worker.onmessage = ({ data }) => this.keep(data);
    this.worker.onerror = (event) => console.warn(`painting ahead failed: ${event.message}`); // frames are painted when shown
  }

  /**
   * The picture of a frame, if it was painted from just these objects; never waits.
   * @param {{counts: string, colour: string, quiet: boolean}[]} objects
   */
  peek(frame, objects, look) {
    const entry = this.kept.get(frame);
    if (!entry || !same(entry, objects, look)) return null;
    this.kept.delete(frame);
    this.kept.set(frame, entry);
    return entry;
  }

  /** Paints these frames ahead, in this order. @param {(frame) => objects | null} describe what a frame shows now */
  want(frames, describe, look) {
    this.wanted = frames.map((frame) => ({ frame, describe, look }));
    this.pump();
  }

  pump() {
    while (!this.asked && this.wanted.length) {
      const { frame, describe, look } = this.wanted.shift();
      const objects = describe(frame);
      if (!objects || this.peek(frame, objects, look)) continue;
      this.asked = { objects, look: { ...look } };
      const told = objects.map(({ counts, colour, quiet }) => ({ counts, colour, quiet }));
      this.worker.postMessage({ frame, height: this.height, width: this.width, objects: told, look: this.asked.look });
    }
  }

  keep({ frame, picture, tops }) {
    this.kept.get(frame)?.picture.close();
    this.kept.delete(frame);
    this.kept.set(frame, { ...this.asked, picture, tops });
    this.asked = null;
    for (const [old, entry] of this.kept) {
      if (this.kept.size <= this.most) break;
      this.kept.delete(old);
      entry.picture.close();
    }
    this.pump();
  }

  close() {
    this.worker.terminate();
    for (const { picture } of this.kept.values()) picture.close();
    this.kept.clear();
  }
}

const same = (entry, objects, look) =>
  entry.look.opacity === look.opacity && entry.look.contour === look.contour && entry.objects.length === objects.length &&
  entry.objects.every((old, i) => old.counts === objects[i].counts && old.colour === objects[i].colour && old.quiet === objects[i].quiet);
