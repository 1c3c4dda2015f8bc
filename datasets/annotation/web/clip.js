// One clip in the page: its objects, sentences and masks; the queue of changes on their way to the server; what other
// tabs and jobs changed meanwhile.
//
// A change is shown at once and sent in the order in which it was made, one transaction each. It carries the revision
// that the page last saw, so the server refuses what would overwrite somebody else's work; the page then asks.

import * as api from "./api.js";

const WINDOW = 24; // frames of masks asked for at once,
const WINDOW_MASKS = 2400; // but fewer where there are many objects: reading an answer stops the page for a moment
const KEPT = 400; // frames of masks in memory
const RETRY = [500, 1000, 2000, 4000, 8000];
const MANY = 96; // frames changed elsewhere beyond which the whole clip is read again

const REREAD = new Set(["object.split", "object.merge", "mask.review"]); // change masks that the page does not know
const CODES = { human: "h", imported: "i", propagated: "p" };
const UNKNOWN = ".".charCodeAt(0);

/** Events: `structure` (objects, sentences), `masks` (detail: frames or null), `saving`, `conflict`, `jobs`, `lost`, `heard` (the server answered),
 * `back` (it answers again). */
export class Clip extends EventTarget {
  static async open(key) {
    const clip = new Clip(key);
    await clip.reload();
    clip.listen();
    return clip;
  }

  constructor(key) {
    super();
    this.key = key;
    this.path = `clips/${key}`;
    this.frames = new Map(); // frame -> Map(object id -> mask), the least recently used first
    this.asked = new Map(); // first frame of a window -> promise
    this.leaving = new AbortController(); // gives up the windows around a frame that was left
    this.queue = [];
    this.failures = 0;
    this.sending = false;
    this.jobs = [];
    this.closed = new AbortController();
    this.epoch = 0;
    this.own = new Set(); // journal numbers of what this page did and already shows
    this.newest = 0; // the last of them
  }

  emit(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Reading -----------------------------------------------------------------------------------------------------------

  async reload() {
    let state;
    do state = await api.get(this.path);
    while (state.seq < this.newest); // what was written meanwhile is not in it, and no event will tell of it
    this.seq = state.seq;
    this.info = state.clip;
    this.size = state.clip.height * state.clip.width;
    this.objects = new Map(state.objects.filter(isObject).map((o) => [o.id, { ...o, codes: codesOf(o.spans, state.clip.n_frames) }]));
    this.window = Math.max(4, Math.min(WINDOW, Math.floor(WINDOW_MASKS / Math.max(1, this.objects.size))));
    this.expressions = new Map(state.expressions.map((e) => [e.id, e]));
    for (const { ops } of this.queue) for (const op of ops) this.showUnsent(op);
    this.comments = state.comments ?? [];
    this.verdicts = state.verdicts ?? [];
    this.forgetMasks();
    this.emit("structure");
    this.emit("masks");
  }

  /** What was changed in a sentence and is on its way still shows. */
  showUnsent({ op, expression, ...values }) {
    const row = this.expressions.get(expression);
    if (op === "expression.set" && row) this.expressions.set(expression, { ...row, ...values });
  }

  forgetMasks() {
    this.epoch += 1;
    this.asked.clear();
    for (const [frame, masks] of this.frames) {
      const unsent = new Map([...masks].filter(([, mask]) => mask.unsent));
      if (unsent.size) this.frames.set(frame, Object.assign(unsent, { partial: true }));
      else this.frames.delete(frame);
    }
  }

  /** The masks of a frame by object id, or null where they are not here yet. */
  masksNow(frame) {
    const masks = this.frames.get(frame);
    if (!masks || masks.partial) return null;
    this.frames.delete(frame);
    this.frames.set(frame, masks);
    return masks;
  }

  async masks(frame) {
    while (!this.closed.signal.aborted) {
      const masks = this.masksNow(frame);
      if (masks) return masks;
      await (this.asked.get(this.windowOf(frame)) ?? this.readWindow(frame, frame)); // the one that is looked at comes first
    }
    return new Map();
  }

  /** Gives up what was asked for ahead: the frame is somewhere else now. */
  leave() {
    this.leaving.abort();
    this.leaving = new AbortController();
    this.asked.clear();
  }

  /** Asks for the masks around `frame` ahead of need; failures show when the frame is opened. */
  prefetchMasks(frame, direction) {
    for (const distance of [1, 8]) {
      const ahead = Math.min(this.info.n_frames - 1, Math.max(0, frame + (direction < 0 ? -distance : distance)));
      if (!this.masksNow(ahead)) this.askWindow(ahead).catch((error) => error.name === "AbortError" || this.emit("lost", error));
    }
  }

  windowOf(frame) {
    return Math.floor(frame / this.window) * this.window;
  }

  askWindow(frame) {
    const first = this.windowOf(frame);
    const known = this.asked.get(first);
    if (known) return known;
    const promise = this.readWindow(first, Math.min(first + this.window, this.info.n_frames) - 1, this.leaving.signal)
      .finally(() => this.asked.get(first) === promise && this.asked.delete(first));
    this.asked.set(first, promise);
    return promise;
  }

  async readWindow(first, last, left = this.closed.signal) {
    const signal = AbortSignal.any([this.closed.signal, left]);
    const { epoch } = this;
    for (let next = first; next !== null && next <= last;) {
      const answer = await api.get(`${this.path}/masks${api.query({ first: next, last })}`, { signal });
      if (epoch !== this.epoch) return;
      for (let frame = answer.first; frame <= answer.last; frame++) this.keep(frame, answer.frames[frame] ?? {}, answer.seq);
      next = answer.next ?? null;
    }
  }

  keep(frame, given, seq) {
    const masks = new Map(Object.entries(given));
    for (const [id, mask] of this.frames.get(frame) ?? []) if (mask.unsent || mask.revision > seq) masks.set(id, mask);
    this.frames.delete(frame);
    this.frames.set(frame, masks);
    for (const old of this.frames.keys()) {
      if (this.frames.size <= KEPT) break;
      if (old !== frame && ![...this.frames.get(old).values()].some((m) => m.unsent)) this.frames.delete(old);
    }
  }

  mask(frame, object) {
    return this.frames.get(frame)?.get(object);
  }

  codeAt(object, frame) {
    return String.fromCharCode(this.objects.get(object)?.codes[frame] ?? UNKNOWN);
  }

  /** The nearest frame before or after `frame` that somebody drew, imported, or marked absent; or null. */
  keyframe(object, frame, step) {
    const codes = this.objects.get(object)?.codes ?? [];
    for (let i = frame + step; i >= 0 && i < codes.length; i += step) if ("hai".includes(String.fromCharCode(codes[i]))) return i;
    return null;
  }

  annotated(object) {
    const track = this.objects.get(object);
    if (!track) return 0;
    track.count ??= track.codes.reduce((count, code) => count + (code !== UNKNOWN), 0);
    return track.count;
  }

  // Writing -----------------------------------------------------------------------------------------------------------

  /** Shows new masks and sends them. @param {{object, frame, counts}[]} changes counts null: not annotated, "": absent */
  draw(label, changes, { model = null } = {}) {
    for (const { object, frame, counts } of changes) this.show(object, frame, counts);
    this.emit("masks", changes.map((c) => c.frame));
    const ops = changes.map((c) => ({ op: "mask", ...c, ...(model ? { model } : {}) }));
    return this.change(label, ops);
  }

  show(object, frame, counts) {
    const masks = this.frames.get(frame) ?? Object.assign(new Map(), { partial: true });
    this.frames.set(frame, masks);
    const revision = masks.get(object)?.revision ?? 0;
    const unsent = (masks.get(object)?.unsent ?? 0) + 1;
    masks.set(object, { counts, origin: counts === null ? null : "human", revision, unsent });
    this.setCode(object, frame, counts === null ? "." : counts === "" ? "a" : "h");
  }

  setCode(object, frame, code) {
    const track = this.objects.get(object);
    if (!track) return;
    track.codes[frame] = code.charCodeAt(0);
    track.count = null;
  }

  /** Queues a transaction; resolves to the server's answer, or null where the person took the other version. */
  change(label, ops) {
    return new Promise((resolve, reject) => {
      this.queue.push({ label, ops, batch: `${api.tab}.${crypto.randomUUID()}`, again: false, resolve, reject });
      this.emit("saving");
      this.pump();
    });
  }

  get unsaved() {
    return this.queue.length;
  }

  async pump() {
    if (this.sending) return;
    this.sending = true;
    while (this.queue.length && !this.closed.signal.aborted) {
      const item = this.queue[0];
      try {
        const answer = await api.post(`${this.path}/changes`, { label: item.label, ops: item.ops.map((op) => this.withBase(op)), batch: item.batch, again: item.again });
        this.failures = 0;
        this.queue.shift();
        this.written(item, answer);
        item.resolve(answer);
      } catch (error) {
        if (!(await this.handled(item, error))) {
          this.queue.shift();
          this.sending = false;
          this.abandoned(item);
          item.reject(error);
          this.emit("saving");
          return void this.pump();
        }
      }
      this.emit("saving");
    }
    this.sending = false;
  }

  async handled(item, error) {
    if (error instanceof api.Unreachable || error.status >= 500 || error.status === 429) {
      this.failures += 1;
      item.again = true; // it may have been written: the server looks before it writes it twice
      this.emit("saving");
      await this.reachable(RETRY[Math.min(this.failures, RETRY.length) - 1]);
      return true;
    }
    if (error.code !== "conflict" || !error.details.conflicts) return false;
    const mine = await this.askAbout(item, error.details.conflicts);
    for (const conflict of error.details.conflicts) this.adopt(conflict, mine);
    if (!mine) this.giveUp(item, error.details.conflicts);
    for (const empty of this.queue.filter((i) => !i.ops.length)) empty.resolve(null);
    this.queue = this.queue.filter((i) => i.ops.length);
    this.emit("structure");
    this.emit("masks", error.details.conflicts.map((c) => c.frame));
    return true;
  }

  /** Waits, but not after the server was heard again. */
  reachable(milliseconds) {
    return new Promise((resolve) => {
      setTimeout(resolve, milliseconds);
      this.addEventListener("heard", resolve, { once: true });
    });
  }

  askAbout(item, conflicts) {
    return new Promise((decide) => this.emit("conflict", { item, conflicts, decide }));
  }

  /** Drops what met the other version, and the later strokes that were drawn on top of it. */
  giveUp(item, conflicts) {
    const lost = new Set(conflicts.map((c) => item.ops[c.op]));
    const drawn = (op) => op.op === "mask" && conflicts.some((c) => c.kind === "mask" && c.id === op.object && c.frame === op.frame);
    for (const queued of this.queue) {
      const gone = queued.ops.filter((op) => lost.has(op) || drawn(op));
      queued.ops = queued.ops.filter((op) => !gone.includes(op));
      for (const op of gone) this.settle(op);
    }
  }

  /** Takes over the revision of the other version, and its content unless `mine` is kept. */
  adopt({ kind, id, frame, current }, mine) {
    if (kind === "mask") {
      const masks = this.frames.get(frame);
      const old = masks?.get(id);
      if (!masks) return;
      if (mine) masks.set(id, { ...old, revision: current?.revision ?? 0 });
      else {
        masks.set(id, { counts: null, revision: 0, ...current, unsent: old?.unsent });
        this.setCode(id, frame, codeOf(current));
      }
      return;
    }
    const rows = kind === "object" ? this.objects : this.expressions;
    const old = rows.get(id);
    if (kind === "clip") this.info = { ...this.info, ...(mine ? { revision: current.revision } : current) };
    else if (!current) rows.delete(id);
    else rows.set(id, mine ? { ...old, revision: current.revision } : { ...old, ...current });
  }

  withBase(op) {
    if (op.op === "mask") return { ...op, base: this.mask(op.frame, op.object)?.revision ?? 0 };
    if (op.op === "object.merge") return { ...op, base: this.objects.get(op.object).revision, other_base: this.objects.get(op.other).revision };
    if (/^object\.(set|delete|split)$/.test(op.op)) return { ...op, base: this.objects.get(op.object)?.revision ?? 0 };
    if (/^expression\.(set|accept|delete)$/.test(op.op)) return { ...op, base: this.expressions.get(op.expression)?.revision ?? 0 };
    if (op.op === "clip.set") return { ...op, base: this.info.revision };
    return op;
  }

  written(item, answer) {
    this.did(answer);
    for (const op of item.ops) if (op.op === "mask") this.settle(op, answer.masks?.[op.frame]?.[op.object] ?? null);
    this.takeRows(answer);
    if (item.ops.some((op) => REREAD.has(op.op))) this.refresh(answer).catch((error) => this.emit("lost", error));
  }

  /** A change of this page is written. */
  did({ seq }) {
    this.own.add(seq);
    this.newest = Math.max(this.newest, seq);
  }

  /** An unsent mask has arrived and is `stored` (null: not annotated), or was given up (undefined). */
  settle(op, stored = undefined) {
    const masks = this.frames.get(op.frame);
    const mask = masks?.get(op.object);
    if (!mask) return;
    if (mask.unsent > 1) masks.set(op.object, { ...mask, unsent: mask.unsent - 1, revision: stored === undefined ? mask.revision : stored?.revision ?? 0 });
    else if (stored === null) masks.delete(op.object);
    else masks.set(op.object, { ...mask, ...stored, unsent: 0 });
  }

  abandoned(item) {
    for (const op of item.ops) if (op.op === "mask") this.settle(op);
    this.reload().catch((error) => this.emit("lost", error));
  }

  takeRows(answer) {
    for (const row of (answer.objects ?? []).filter(isObject)) {
      const old = this.objects.get(row.id);
      this.objects.set(row.id, { ...old, ...row, codes: old?.codes ?? codesOf([], this.info.n_frames) });
    }
    for (const row of answer.expressions ?? []) this.expressions.set(row.id, row);
    for (const id of answer.deleted?.objects ?? []) this.objects.delete(id);
    for (const id of answer.deleted?.expressions ?? []) this.expressions.delete(id);
    if (answer.clip) this.info = { ...this.info, ...answer.clip };
    if (answer.objects?.length || answer.expressions?.length || answer.deleted || answer.clip) this.emit("structure");
  }

  /** Undoes ("undo") or redoes ("redo") the person's last change; waits for what is on its way. */
  async back(direction) {
    await this.saved();
    const answer = await api.post(`${this.path}/${direction}`, {});
    this.did(answer);
    this.takeRows(answer);
    await this.refresh(answer);
    return answer;
  }

  async saved() {
    while (this.queue.length) await new Promise((resolve) => this.addEventListener("saving", resolve, { once: true }));
  }

  // What others did ---------------------------------------------------------------------------------------------------

  async listen() {
    let wait = 0;
    let version = null;
    let since = this.seq;
    let away = false;
    while (!this.closed.signal.aborted) {
      try {
        const path = `events${api.query({ since, clip: this.key, wait, jobs: version })}`;
        const events = await api.get(path, { signal: this.closed.signal });
        wait = 20;
        this.emit("heard");
        if (away) this.emit("back");
        away = false;
        if (events.jobs_version !== version) this.jobs = events.jobs; // else the answer does not list them
        version = events.jobs_version;
        this.emit("jobs");
        if (events.reset) {
          this.newest = Math.min(this.newest, events.seq); // the project may be an older copy of itself
          await this.reload();
        } else await this.follow(events.changes.filter((change) => !this.own.has(change.seq)));
        since = events.seq; // not before it is shown: what could not be read is told again
        for (const { seq } of events.changes) this.own.delete(seq);
      } catch (error) {
        if (this.closed.signal.aborted) return;
        if (error instanceof api.Refused && error.status < 500) return void this.emit("lost", error);
        wait = 0; // the first answer tells that the server is back
        away = true;
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  }

  async follow(changes) {
    if (!changes.length) return;
    const touched = { objects: [], masks: {}, expressions: [], clip: false, other: false };
    for (const { touched: t } of changes) {
      touched.objects.push(...(t.objects ?? []));
      touched.expressions.push(...(t.expressions ?? []));
      touched.clip ||= t.clip;
      touched.other ||= t.other;
      for (const [object, frames] of Object.entries(t.masks ?? {})) touched.masks[object] = frames && touched.masks[object] !== null ? [...(touched.masks[object] ?? []), ...frames] : null;
    }
    await this.refresh({ touched });
    const others = changes.filter((change) => change.tab !== api.tab); // the tab's own jobs need no word
    if (others.length) this.emit("others", others);
  }

  /** Reads again what an answer or an event says was touched. */
  async refresh({ touched }) {
    if (!touched) return;
    const lists = Object.values(touched.masks ?? {});
    const frames = [...new Set(lists.flat())].sort((a, b) => a - b);
    const structure = lists.includes(null) || touched.objects?.length || touched.expressions?.length || touched.clip || touched.other;
    if (structure || frames.length > MANY || Object.keys(touched.masks ?? {}).some((id) => !this.objects.has(id))) return void (await this.reload());
    await this.readAgain(frames, Object.keys(touched.masks ?? {}));
    this.emit("masks", frames);
  }

  async readAgain(frames, objects) {
    while (frames.length) {
      const [first] = frames;
      const last = frames.filter((f) => f < first + 32).at(-1);
      const answer = await api.get(`${this.path}/masks${api.query({ first, last, objects: objects.join(",") })}`, { signal: this.closed.signal });
      const seen = Math.min(last, answer.last);
      for (const frame of frames.filter((f) => f <= seen)) for (const id of objects) this.replace(frame, id, answer.frames[frame]?.[id]);
      frames = frames.filter((f) => f > seen);
    }
  }

  replace(frame, object, mask) {
    const masks = this.frames.get(frame);
    if (masks?.get(object)?.unsent) return; // the server will say whether the two meet
    if (masks && mask) masks.set(object, mask);
    else masks?.delete(object);
    this.setCode(object, frame, codeOf(mask));
  }

  close() {
    this.closed.abort();
  }
}

/** Some imported sentences have a mask of their own, which is no object to draw or to choose. */
const isObject = (row) => row.role !== "target";

const codeOf = (mask) => {
  if (!mask || mask.counts === null) return ".";
  if (mask.counts === "") return "a";
  return mask.reviewed && mask.origin === "propagated" ? "r" : CODES[mask.origin] ?? "h";
};

/** One character a frame, see ORIGINS in colours.js. */
function codesOf(spans, count) {
  const codes = new Uint8Array(count).fill(UNKNOWN);
  for (const [first, last, origin, absent, reviewed] of spans ?? []) {
    const code = absent ? "a" : reviewed && origin === "propagated" ? "r" : CODES[origin];
    codes.fill(code.charCodeAt(0), first, last + 1);
  }
  return codes;
}
