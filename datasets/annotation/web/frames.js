// Decoded frames in memory: the least recently used go first, the neighbours of the frame in hand come early.

const BUDGET = 320 * 2 ** 20; // bytes of decoded pictures
const AHEAD = 24;
const BEHIND = 8;
const AT_ONCE = 4;

export class FrameCache {
  /**
   * @param {number} count frames of the video
   * @param {(index: number, signal: AbortSignal) => Promise<Blob>} fetchFrame
   */
  constructor(count, fetchFrame) {
    this.count = count;
    this.fetchFrame = fetchFrame;
    this.pictures = new Map(); // index -> ImageBitmap, oldest use first
    this.pending = new Map(); // index -> promise
    this.bytes = 0;
    this.wanted = [];
    this.centre = 0;
    this.gone = new AbortController();
  }

  has(index) {
    return this.pictures.has(index);
  }

  /** The picture if it is decoded, else undefined; never waits. */
  peek(index) {
    const picture = this.pictures.get(index);
    if (picture) {
      this.pictures.delete(index);
      this.pictures.set(index, picture);
    }
    return picture;
  }

  /** The decoded picture. Rejects where the frame cannot be read. */
  async get(index) {
    return this.peek(index) ?? this.load(index);
  }

  load(index) {
    let promise = this.pending.get(index);
    if (!promise) {
      promise = this.fetchFrame(index, this.gone.signal)
        .then((blob) => createImageBitmap(blob))
        .then((picture) => this.keep(index, picture))
        .finally(() => this.pending.delete(index));
      this.pending.set(index, promise);
    }
    return promise;
  }

  keep(index, picture) {
    this.pictures.get(index)?.close();
    this.pictures.set(index, picture);
    this.bytes = 0;
    for (const p of this.pictures.values()) this.bytes += 4 * p.width * p.height;
    for (const [old, p] of this.pictures) {
      if (this.bytes <= BUDGET || this.pictures.size <= 2) break;
      if (old === this.centre || old === index) continue;
      this.bytes -= 4 * p.width * p.height;
      this.pictures.delete(old);
      p.close();
    }
    return picture;
  }

  /** Starts to decode the neighbours of `index`, first those that lie in the direction of travel. */
  prefetch(index, direction) {
    this.centre = index;
    const sign = direction < 0 ? -1 : 1;
    this.wanted = [];
    for (let i = 1; i <= AHEAD; i++) this.wanted.push(index + sign * i);
    for (let i = 1; i <= BEHIND; i++) this.wanted.push(index - sign * i);
    this.wanted = this.wanted.filter((i) => i >= 0 && i < this.count && !this.has(i) && !this.pending.has(i));
    this.pump();
  }

  pump() {
    while (this.wanted.length && this.pending.size < AT_ONCE && !this.gone.signal.aborted) {
      const index = this.wanted.shift();
      if (this.has(index) || this.pending.has(index)) continue;
      // A frame that fails while nobody looks at it is reported when somebody does.
      this.load(index).then(() => this.pump(), () => this.pump());
    }
  }

  close() {
    this.gone.abort();
    this.wanted = [];
    for (const picture of this.pictures.values()) picture.close();
    this.pictures.clear();
  }
}
