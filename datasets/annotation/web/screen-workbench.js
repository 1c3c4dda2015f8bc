// The workbench: draw objects, follow them through the video, write the sentences that mean them.

import * as api from "./api.js";
import { Clip } from "./clip.js";
import { FrameCache } from "./frames.js";
import { Overlays } from "./overlays.js";
import { Keys } from "./keys.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";
import { TOOLS } from "./tools.js";
import { ORIGINS } from "./colours.js";
import { decode, encode, maskOfRuns, runsOfCounts, runsContain, areaOfRuns } from "./rle.js";
import { subtract } from "./mask.js";
import { el, icon, iconButton, button, choice, counted, say } from "./dom.js";
import { ObjectsPanel } from "./panel-objects.js";
import { SentencesPanel } from "./panel-sentences.js";
import { ChecksPanel } from "./panel-checks.js";
import { askConflict } from "./conflict.js";

const BRUSHES = [1, 2, 3, 4, 6, 8, 11, 14, 18, 24, 32, 42, 56, 74, 100, 140];

const NO_FRAMES = "There are no frames here, and no size is known: nothing can be drawn.";

const JUMP = 24; // frames; a longer way is a jump, and who jumps may jump again:
const FEW = 8; // objects
const PAINTED = 12; // frames on each side whose masks are painted ahead
const AGAIN = 1000; // milliseconds until a frame is asked for once more where the server was gone
const REST = 200; // neighbours are fetched after so many milliseconds of rest

export async function workbenchScreen(app, key, frame, sentence) {
  const [clip, list] = await Promise.all([Clip.open(Number(key)), api.get("clips")]);
  const bench = new Workbench(app, clip, list.clips);
  bench.build();
  await bench.begin(frame ? Number(frame) - 1 : 0, sentence);
  return bench;
}

class Workbench {
  constructor(app, clip, clips) {
    Object.assign(this, { app, clip, clips });
    this.title = clip.info.title || clip.info.id;
    this.className = "workbench";
    this.features = app.session.features;
    this.mayEdit = clip.info.may_edit;
    this.frame = 0;
    this.direction = 1;
    this.selected = null;
    this.hiddenObjects = new Set();
    this.brushSize = 18;
    this.cut = false;
    this.working = null; // {object, frame, mask} while its object is selected
    this.cache = new FrameCache(clip.info.n_frames, (index, signal) => api.picture(`clips/${clip.key}/frames/${index}`, signal));
    this.overlays = new Overlays(clip.info.height, clip.info.width);
    this.aborts = new AbortController();
  }

  // Screen ------------------------------------------------------------------------------------------------------------

  build() {
    const canvas = el("canvas", { class: "stage", tabindex: "0", role: "img", "aria-label": "The frame with its masks. Draw with the pointer; keys are listed under ?" });
    this.stage = new Stage(canvas, { onZoom: (scale) => this.showZoom(scale) });
    if (this.clip.info.height) this.stage.setSize(this.clip.info.height, this.clip.info.width);
    this.objects = new ObjectsPanel(this);
    this.sentences = new SentencesPanel(this);
    this.checks = new ChecksPanel(this);
    const track = el("canvas", { class: "timeline", tabindex: "0", role: "slider", "aria-label": "Frame", "aria-valuemin": 1, "aria-valuemax": this.clip.info.n_frames });
    this.timeline = new Timeline(track, this.clip.info.n_frames, (frame) => this.goto(frame), (object) => this.select(object));
    this.node = el(
      "div",
      { class: "bench" },
      this.buildTools(),
      el("section", { class: "middle", "aria-label": "Video" },
        el("div", { class: "stage-box" }, canvas, (this.hint = el("div", { class: "stage-hint" }))),
        this.buildTransport(),
        el("div", { class: "timeline-box" }, track),
      ),
      el("aside", { class: "side", "aria-label": "Objects and sentences" }, this.objects.node, this.sentences.node, this.checks.node),
    );
    this.buildBar();
    this.buildKeys();
    this.setTool(this.mayEdit ? "brush" : "select");
  }

  buildTools() {
    const offered = Object.entries(TOOLS).filter(([name]) => name === "select" || (this.mayEdit && (name !== "wand" || this.segmenter())));
    this.tools = Object.fromEntries(offered.map(([name, [, , , make]]) => [name, make(this.toolBench())]));
    this.toolButtons = offered.map(([name, [label, key, drawing]]) => iconButton(drawing, label, () => this.setTool(name), { key, pressed: false, data: { tool: name } }));
    this.brushShown = el("output", { class: "brush-size", title: "Brush size in pixels ([ and ])" });
    const slider = el("input", { type: "range", class: "brush-slider", min: 0, max: BRUSHES.length - 1, "aria-label": "Brush size", on: { input: () => this.setBrush(BRUSHES[slider.value]) } });
    this.brushSlider = slider;
    this.cutButton = iconButton("cut", "Cut what I draw out of the other objects", () => this.setCut(!this.cut), { key: "U", pressed: false });
    this.hideButton = iconButton("eye", "Hide the masks", () => this.setHidden(!this.stage.options.hidden), { key: "H", pressed: false });
    this.contourButton = iconButton("contour", "Outlines only", () => this.setContour(!this.stage.options.contour), { key: "C", pressed: false });
    const opacity = el("input", { type: "range", class: "opacity", min: 10, max: 100, value: 100, step: 10, "aria-label": "Opacity of the masks", title: "Opacity of the masks", on: { input: () => this.setLook({ opacity: opacity.value / 100 }) } });
    const editing = this.mayEdit && [el("hr"), this.brushShown, slider, this.cutButton];
    return el("div", { class: "tools", role: "toolbar", "aria-label": "Tools", "aria-orientation": "vertical" }, this.toolButtons, editing, el("hr"), this.hideButton, this.contourButton, opacity, iconButton("fit", "Fit the picture", () => this.stage.fit(), { key: "0" }));
  }

  buildTransport() {
    const n = this.clip.info.n_frames;
    this.playButton = iconButton("play", "Play", () => this.play(), { key: "Space" });
    this.frameInput = el("input", { type: "number", class: "frame-number", min: 1, max: n, value: 1, "aria-label": "Frame number", on: { change: () => this.goto(this.frameInput.value - 1) } });
    this.frameName = el("span", { class: "frame-name" });
    this.originShown = el("span", { class: "origin-shown", "aria-live": "off" });
    this.zoomShown = el("span", { class: "zoom-shown" });
    const models = (this.features.propagators ?? []).filter((p) => p.available !== false);
    this.model = models[0]?.id ?? null;
    const propagation = this.mayEdit && models.length ? [
      choice(models.map((m) => [m.id, m.name]), this.model, (id) => (this.model = id), { "aria-label": "Propagator", class: "model", title: "What carries a mask from frame to frame" }),
      iconButton("backward", "Propagate backward", () => this.propagate(-1), { key: "D" }),
      iconButton("forward", "Propagate forward", () => this.propagate(1), { key: "F" }),
    ] : [];
    this.jobBox = el("div", { class: "job", hidden: true });
    return el(
      "div", { class: "transport" },
      iconButton("first", "Previous drawn frame of this object", () => this.toKey(-1), { key: "," }),
      this.playButton,
      iconButton("last", "Next drawn frame of this object", () => this.toKey(1), { key: "." }),
      this.frameInput, el("span", { class: "soft" }, `/ ${n}`), this.frameName, this.originShown,
      el("span", { class: "grow" }), this.jobBox, propagation.length ? el("span", { class: "soft label" }, "Propagate") : null, propagation, this.zoomShown,
    );
  }

  buildBar() {
    const here = this.clips.findIndex((c) => c.key === this.clip.key);
    const beside = (step, label, key) => {
      const other = this.clips[here + step];
      return iconButton(step < 0 ? "backward" : "forward", label, () => other && (location.hash = `#/clip/${other.key}`), { key, disabled: !other });
    };
    this.saving = el("span", { class: "saving", role: "status" });
    this.undoButton = iconButton("undo", "Undo", () => this.back("undo"), { key: "Ctrl+Z" });
    this.redoButton = iconButton("redo", "Redo", () => this.back("redo"), { key: "Ctrl+Shift+Z" });
    const state = this.mayEdit && choice([["open", "Open"], ["done", "Done"]], this.clip.info.state, (value) => this.run(this.clip.change(`clip ${value}`, [{ op: "clip.set", state: value }])), { "aria-label": "State of the clip", class: "clip-state" });
    this.app.slots.middle.replaceChildren(beside(-1, "Previous clip", "PageUp"), el("strong", { class: "clip-title", title: this.clip.info.id }, this.title), beside(1, "Next clip", "PageDown"), el("span", { class: "soft" }, `${here + 1} of ${this.clips.length}`), state || null);
    this.app.slots.end.replaceChildren(this.saving, ...(this.mayEdit ? [this.undoButton, this.redoButton] : [el("span", { class: "tag" }, "read only")]));
  }

  buildKeys() {
    const edit = (action) => () => (this.mayEdit ? action() : say("This clip is open for reading only."));
    const digits = "123456789".split("").map((d) => [[d], `Select object ${d}`, () => this.select([...this.clip.objects.keys()][d - 1] ?? this.selected)]);
    this.keys = new Keys([
      ["Time", [
        [["←", "→"], "Previous, next frame", (e) => this.step(e.key === "ArrowLeft" ? -1 : 1)],
        [["Shift+←", "Shift+→"], "10 frames", (e) => this.step(e.key === "ArrowLeft" ? -10 : 10)],
        [["Alt+←", "Alt+→"], "First, last frame", (e) => this.goto(e.key === "ArrowLeft" ? 0 : Infinity)],
        [["Home", "End"], "First, last frame", (e) => this.goto(e.key === "Home" ? 0 : Infinity)],
        [[",", "."], "Previous, next drawn frame of the object", (e) => this.toKey(e.key === "," ? -1 : 1)],
        [["Space"], "Play, pause; held while dragging: move the picture", () => this.spaceDown(), { up: () => this.spaceUp() }],
        [["PageUp", "PageDown"], "Previous, next clip", (e) => this.toClip(e.key === "PageUp" ? -1 : 1)],
      ]],
      ["View", [
        [["+", "-"], "Zoom (also the wheel)", (e) => this.stage.zoom(e.key === "-" ? 1 / 1.25 : 1.25)],
        [["="], "Zoom in", () => this.stage.zoom(1.25)],
        [["0"], "Fit the picture", () => this.stage.fit()],
        [["H"], "Hide the masks", () => this.setHidden(!this.stage.options.hidden)],
        [["C"], "Outlines only", () => this.setContour(!this.stage.options.contour)],
        [["?"], "This list", () => this.app.help()],
      ]],
      ["Draw", [
        ...Object.entries(TOOLS).filter(([name]) => this.tools[name]).map(([name, [label, key]]) => [[key], label, () => this.setTool(name)]),
        [["[", "]"], "Smaller, larger brush", (e) => this.growBrush(e.key === "[" ? -1 : 1)],
        [["U"], "Cut what I draw out of the other objects", () => this.setCut(!this.cut)],
        [["Enter"], "Close the polygon", () => this.stage.tool?.finish?.(this.stage.pointer)],
        [["Esc"], "Give up the stroke; then: no object selected", () => this.escape(), { inText: true }],
        [["Ctrl+Z"], "Undo, in whichever frame", edit(() => this.back("undo"))],
        [["Ctrl+Shift+Z", "Ctrl+Y"], "Redo", edit(() => this.back("redo"))],
      ]],
      ["With the pointer", [
        [["Alt", "right button"], "Take away"],
        [["wheel"], "Zoom"],
        [["middle button"], "Move the picture"],
        [["double click"], "Close the polygon"],
      ]],
      ["Object", [
        [["1"], "Select object 1, and so on to 9", digits[0][2]],
        [["↑", "↓"], "Previous, next object", (e) => this.stepObject(e.key === "ArrowUp" ? -1 : 1)],
        [["N"], "New object", edit(() => this.newObject())],
        [["F"], "Propagate forward", edit(() => this.propagate(1))],
        [["D"], "Propagate backward", edit(() => this.propagate(-1))],
        [["O"], "Absent in this frame", edit(() => this.setAbsent())],
        [["K"], "Looked at: keep the propagated masks up to the next drawn frame", edit(() => this.review())],
        [["M"], "Copy the mask of the previous frame here", edit(() => this.copyMask())],
        [["Delete", "Backspace"], "Take the mask of this frame away", edit(() => this.clearMask())],
        [["Ctrl+Delete"], "Delete the object", edit(() => this.objects.remove())],
        [["X"], "Show or hide the object", () => this.toggleObject(this.selected)],
      ]],
      ["Sentence", [
        [["T"], "New sentence about the selected object", edit(() => this.sentences.add())],
        [["J", "I"], "Next, previous sentence", (e) => this.sentences.step(e.key.toLowerCase() === "j" ? 1 : -1)],
        [["L"], "Link the object to the sentence, or take it out", edit(() => this.sentences.toggleObject(this.selected))],
        [["Ctrl+Enter"], "The sentence is ready", edit(() => this.sentences.ready()), { inText: true }],
        [["A"], "Accept the machine-made paraphrase", edit(() => this.sentences.accept())],
        [["Q"], "Go to the checks", () => this.checks.focus()],
      ]],
      ["The timeline", Object.entries(ORIGINS).map(([code, [words]]) => [[el("span", { class: "origin-dot", data: { code } })], words])],
    ]);
    for (const [[digit], , action] of digits.slice(1)) this.keys.down.set(digit, { action, options: {} });
    this.app.help = () => this.keys.help();
  }

  async begin(frame, sentence) {
    const listen = (type, action) => this.clip.addEventListener(type, (event) => action(event.detail), { signal: this.aborts.signal });
    listen("structure", () => this.showStructure());
    listen("masks", (frames) => this.masksChanged(frames));
    listen("saving", () => this.showSaving());
    this.clip.addEventListener("conflict", (event) => askConflict(this, event.detail)); // also after the screen was left
    listen("jobs", () => this.showJobs());
    listen("back", () => this.goto(this.frame)); // what could not be read meanwhile
    listen("lost", (error) => say(error.message, "error"));
    listen("others", (changes) => say(`${changes.at(-1).name ?? "Somebody"}: ${changes.at(-1).label}`));
    window.addEventListener("beforeunload", (event) => this.mayLeave(event), { signal: this.aborts.signal });
    window.addEventListener("blur", () => this.spaceUp(), { signal: this.aborts.signal });
    this.selected = [...this.clip.objects.keys()][0] ?? null;
    this.setBrush(this.brushSize);
    this.showStructure();
    this.showSaving();
    if (sentence) this.sentences.open(sentence);
    await this.goto(frame);
  }

  mayLeave(event) {
    this.sentences.flush();
    if (this.clip.unsaved) event.preventDefault(); // the browser asks
  }

  shown() {
    this.stage.resized();
    this.checks.ask();
  }

  themed() {
    this.timeline.draw();
  }

  /** What was typed and drawn is still sent after the screen has gone. */
  close() {
    this.pause();
    this.sentences.flush();
    this.aborts.abort();
    this.keys.close();
    this.stage.close();
    this.timeline.close();
    this.cache.close();
    this.overlays.close();
    this.checks.close();
    this.clip.saved().then(() => this.clip.close());
  }

  /** Waits for a change and says why it was refused. */
  async run(promise) {
    try {
      return await promise;
    } catch (error) {
      say(error.message, "error");
      return null;
    }
  }

  // Time --------------------------------------------------------------------------------------------------------------

  async goto(frame) {
    const asked = performance.now();
    const last = this.clip.info.n_frames - 1;
    frame = Math.max(0, Math.min(last, Math.round(frame) || 0));
    if (this.stage.tool?.open) this.stage.tool.up?.();
    const jump = Math.abs(frame - this.frame) > JUMP;
    this.direction = frame < this.frame ? -1 : 1;
    this.frame = frame;
    if (jump) this.clip.leave();
    this.tools.wand?.reset();
    this.showFrame();
    if (!this.clip.info.height) return void this.shownFrame(frame); // a video of which only the sentences are here
    const [picture, masks] = [this.cache.peek(frame), this.clip.masksNow(frame)];
    if (picture && masks) {
      this.stage.setFrame(picture);
      this.paintMasks();
      this.stage.onDrawn = () => this.measured(asked, frame);
    } else await this.gotoWhenHere(frame);
    clearTimeout(this.resting);
    if (jump) this.resting = setTimeout(() => this.prefetch(frame), REST);
    else this.prefetch(frame);
  }

  prefetch(frame) {
    if (this.frame !== frame || this.aborts.signal.aborted) return;
    this.cache.prefetch(frame, this.direction);
    this.clip.prefetchMasks(frame, this.direction);
    this.paintAhead();
  }

  async gotoWhenHere(frame) {
    this.stage.canvas.setAttribute("aria-busy", "true");
    try {
      const [picture] = await Promise.all([this.cache.get(frame), this.clip.masks(frame)]);
      if (this.frame !== frame) return;
      this.stage.setFrame(picture);
      this.paintMasks();
      this.stage.onDrawn = () => this.shownFrame(frame);
    } catch (error) {
      if (error.name !== "AbortError") say(`Frame ${frame + 1}: ${error.message}`, "error");
      if (error instanceof api.Unreachable) await this.gotoAgain(frame);
    } finally {
      if (this.frame === frame) this.stage.canvas.removeAttribute("aria-busy");
    }
  }

  /** Once the server may answer again, if the frame is still the one that is looked at. */
  async gotoAgain(frame) {
    await this.clip.reachable(AGAIN);
    if (this.frame === frame && !this.aborts.signal.aborted) await this.gotoWhenHere(frame);
  }

  /** Kept as a user timing, so that the browser's own tools show how long a seek from the cache takes. */
  measured(asked, frame) {
    performance.clearMeasures("rvos:seek");
    performance.measure("rvos:seek", { start: asked, end: performance.now(), detail: { frame } });
    this.shownFrame(frame);
  }

  shownFrame(frame) {
    this.stage.onDrawn = null;
    this.stage.canvas.dataset.frame = frame;
  }

  showFrame() {
    const track = this.timeline.canvas;
    track.setAttribute("aria-valuenow", this.frame + 1);
    track.setAttribute("aria-valuetext", `Frame ${this.frame + 1} of ${this.clip.info.n_frames}${this.selected ? `, ${this.originText()}` : ""}`);
    if (document.activeElement !== this.frameInput) this.frameInput.value = this.frame + 1;
    this.frameName.textContent = this.clip.info.frames[this.frame] ?? "";
    this.showOrigin();
    this.timeline.goto(this.frame);
    this.objects.showFrame();
  }

  originText() {
    const [text] = ORIGINS[this.clip.codeAt(this.selected, this.frame)];
    const mask = this.clip.mask(this.frame, this.selected);
    return mask?.model && mask.origin === "propagated" ? `${text} by ${mask.model}` : text;
  }

  showOrigin() {
    if (!this.selected) return void this.originShown.replaceChildren();
    const code = this.clip.codeAt(this.selected, this.frame);
    this.originShown.replaceChildren(el("span", { class: "origin-dot", data: { code } }), this.originText());
  }

  step(by) {
    this.pause();
    this.goto(this.frame + by);
  }

  toKey(step) {
    const frame = this.selected ? this.clip.keyframe(this.selected, this.frame, step) : null;
    if (frame === null) say(step < 0 ? "No drawn frame before this one." : "No drawn frame after this one.");
    else this.goto(frame);
  }

  toClip(step) {
    const other = this.clips[this.clips.findIndex((c) => c.key === this.clip.key) + step];
    if (other) location.hash = `#/clip/${other.key}`;
  }

  play() {
    if (this.playing) return void this.pause();
    const rate = this.clip.info.fps || 12;
    this.playButton.replaceChildren(icon("pause"));
    this.playButton.setAttribute("aria-label", "Pause");
    const turn = { due: performance.now() };
    this.playing = turn;
    const tick = async () => {
      if (this.playing !== turn) return;
      await this.goto(this.frame + 1 >= this.clip.info.n_frames ? 0 : this.frame + 1);
      turn.due = Math.max(turn.due + 1000 / rate, performance.now());
      setTimeout(tick, Math.max(0, turn.due - performance.now()));
    };
    tick();
  }

  pause() {
    this.playing = null;
    this.playButton?.replaceChildren(icon("play"));
    this.playButton?.setAttribute("aria-label", "Play");
  }

  spaceDown() {
    if (this.stage.spaceHeld) return;
    this.stage.spaceHeld = true;
    this.spaceSince = this.stage.view && { ...this.stage.view };
    this.stage.canvas.classList.add("moving");
  }

  spaceUp() {
    if (!this.stage.spaceHeld) return;
    this.stage.spaceHeld = false;
    this.stage.canvas.classList.remove("moving");
    const moved = this.spaceSince && (this.spaceSince.x !== this.stage.view.x || this.spaceSince.y !== this.stage.view.y);
    if (!moved && document.hasFocus()) this.play();
  }

  // Masks on the stage ------------------------------------------------------------------------------------------------

  masksChanged(frames) {
    if (!frames || frames.includes(this.frame)) this.repaint();
    this.paintAhead();
    this.showTracks();
    this.showOrigin();
    this.objects.showFrame();
    this.objects.showAmounts();
    this.checks.later();
  }

  async repaint() {
    const { frame } = this;
    try {
      if (!this.clip.masksNow(frame)) await this.clip.masks(frame);
      if (this.frame === frame && !this.stage.tool?.open) this.paintMasks();
    } catch (error) {
      if (!(error instanceof api.Unreachable)) throw error;
      await this.clip.reachable(AGAIN);
      if (this.frame === frame && !this.aborts.signal.aborted) await this.repaint();
    }
  }

  /** What a frame shows beside the object in hand; null where its masks are not here yet. */
  shownAt(frame) {
    const masks = this.clip.masksNow(frame);
    if (!masks) return null;
    const meant = this.sentences.meant();
    const shown = [];
    let number = 0;
    for (const { id, colour } of this.clip.objects.values()) {
      number += 1;
      const mask = masks.get(id);
      if (!mask?.counts || id === this.selected || this.hiddenObjects.has(id)) continue;
      shown.push({ id, number, colour, counts: mask.counts, mask, quiet: Boolean(meant && !meant.has(id)) });
    }
    return shown;
  }

  paintMasks() {
    const shown = this.shownAt(this.frame);
    if (!shown) return;
    const painted = this.overlays.peek(this.frame, shown, this.stage.options);
    if (painted) this.stage.setPainted(shown, painted);
    else this.stage.setObjects(shown.map((object) => ({ ...object, runs: this.runsOf(object.mask) })));
    this.paintSelected(this.clip.masksNow(this.frame));
  }

  runsOf(mask) {
    mask.runs ??= runsOfCounts(mask.counts, this.clip.size);
    return mask.runs;
  }

  /** Paints the frames that are likely to come next. Few objects are painted faster than they are sent to a worker. */
  paintAhead() {
    if (this.clip.objects.size <= FEW) return;
    const around = [];
    for (let i = 1; i <= PAINTED; i++) around.push(this.frame + i * this.direction, this.frame - i * this.direction);
    this.overlays.want(around.filter((f) => f >= 0 && f < this.clip.info.n_frames), (f) => this.shownAt(f), this.stage.options);
  }

  paintSelected(masks) {
    const object = this.clip.objects.get(this.selected);
    if (!object || this.hiddenObjects.has(this.selected)) {
      this.working = null;
      return void this.stage.setActive(null);
    }
    const mask = masks.get(this.selected);
    const runs = mask?.counts ? this.runsOf(mask) : new Uint32Array(0);
    const pixels = maskOfRuns(runs, new Uint8Array(this.clip.size));
    this.working = { object: this.selected, frame: this.frame, mask: pixels };
    this.stage.setActive({ mask: pixels, runs, colour: object.colour });
  }

  /** Options of the stage that change how masks look. */
  setLook(look) {
    this.stage.setOptions(look);
    this.paintMasks();
    this.paintAhead();
  }

  toolBench() {
    const bench = this;
    return {
      open: () => bench.openMask(),
      touch: (rectangle) => bench.stage.touch(rectangle),
      commit: (what) => bench.keepMask(what),
      abandon: () => bench.paintMasks(),
      redraw: () => bench.stage.redraw(),
      scale: () => bench.stage.view.scale / (window.devicePixelRatio || 1),
      say,
      pickAt: (point) => bench.pickAt(point),
      segment: (prompt) => bench.segment(prompt),
      get brushSize() {
        return bench.brushSize;
      },
    };
  }

  openMask() {
    this.pause();
    if (!this.clip.info.height) {
      say(NO_FRAMES);
      return null;
    }
    if (!this.selected) {
      this.newObject();
      say("A new object is there: draw it.");
      return null;
    }
    if (this.hiddenObjects.has(this.selected)) this.toggleObject(this.selected);
    const { working } = this;
    if (!working || working.frame !== this.frame || working.object !== this.selected) return null;
    return { mask: working.mask, height: this.clip.info.height, width: this.clip.info.width };
  }

  keepMask(what, { model = null } = {}) {
    const { object, frame, mask } = this.working;
    const counts = mask.includes(1) ? encode(mask) : null;
    const before = this.clip.mask(frame, object)?.counts ?? null;
    if (counts === (before || null)) return;
    if (counts === null) say("Nothing is left here: the frame is not annotated. O says that the object is absent.");
    const changes = [{ object, frame, counts }, ...(this.cut && counts ? this.cutOthers(mask) : [])];
    this.run(this.clip.draw(what, changes, { model }));
    this.hint.replaceChildren();
  }

  cutOthers(mask) {
    const changes = [];
    for (const [object, other] of this.clip.masksNow(this.frame) ?? []) {
      if (object === this.selected || !other.counts || this.hiddenObjects.has(object)) continue;
      const rest = decode(other.counts, this.clip.size);
      if (subtract(rest, mask)) changes.push({ object, frame: this.frame, counts: rest.includes(1) ? encode(rest) : "" });
    }
    return changes;
  }

  pickAt([x, y]) {
    const hits = [];
    for (const [object, mask] of this.clip.masksNow(this.frame) ?? []) {
      if (!mask.counts || this.hiddenObjects.has(object)) continue;
      const runs = this.runsOf(mask);
      if (runsContain(runs, this.clip.info.height, x, y)) hits.push([areaOfRuns(runs), object]);
    }
    hits.sort((a, b) => a[0] - b[0]);
    const objects = hits.map(([, object]) => object);
    this.select(objects[(objects.indexOf(this.selected) + 1) % objects.length] ?? null); // again: the one below
  }

  segmenter() {
    return (this.features.segmenters ?? []).find((s) => s.available !== false) ?? null;
  }

  async segment({ points, box }) {
    if (!this.openMask()) return;
    const { frame, selected } = this;
    const model = this.segmenter().id;
    const prompt = points.map(([x, y, positive]) => ({ x, y, positive: Boolean(positive) }));
    this.stage.canvas.setAttribute("aria-busy", "true");
    const answer = await this.run(api.post(`clips/${this.clip.key}/segment`, { frame, model, points: prompt, box }));
    this.stage.canvas.removeAttribute("aria-busy");
    if (answer && this.frame === frame && this.selected === selected) await this.run(this.clip.draw("segmented", [{ object: selected, frame, counts: answer.counts }], { model: answer.model }));
  }

  // Objects -----------------------------------------------------------------------------------------------------------

  select(object) {
    if (object !== null && !this.clip.objects.has(object)) return;
    if (this.stage.tool?.open) this.stage.tool.up?.();
    this.selected = object;
    this.tools.wand?.reset();
    this.objects.show();
    this.showTracks();
    this.showOrigin();
    this.sentences.showSelection();
    this.paintMasks();
  }

  stepObject(by) {
    const ids = [...this.clip.objects.keys()];
    if (ids.length) this.select(ids[(ids.indexOf(this.selected) + by + ids.length) % ids.length]);
  }

  toggleObject(object) {
    if (!object) return;
    if (!this.hiddenObjects.delete(object)) this.hiddenObjects.add(object);
    this.objects.show();
    this.paintMasks();
  }

  async newObject() {
    const name = `Object ${this.clip.objects.size + 1}`;
    const answer = await this.run(this.clip.change("new object", [{ op: "object.new", temp: "$new", name }]));
    if (!answer) return null;
    const id = answer.ids.$new;
    this.select(id);
    if (this.stage.tool === this.tools.select) this.setTool("brush");
    return id;
  }

  setAbsent() {
    if (!this.selected) return;
    this.run(this.clip.draw("absent", [{ object: this.selected, frame: this.frame, counts: "" }]));
  }

  clearMask() {
    if (!this.selected || this.clip.codeAt(this.selected, this.frame) === ".") return;
    this.run(this.clip.draw("mask taken away", [{ object: this.selected, frame: this.frame, counts: null }]));
  }

  isDrawn() {
    return !".a".includes(this.clip.codeAt(this.selected, this.frame));
  }

  async copyMask() {
    if (!this.selected || !this.frame) return;
    const { selected, frame } = this;
    const mask = (await this.clip.masks(frame - 1)).get(selected);
    if (!mask?.counts) return void say("The previous frame has no mask of this object.");
    await this.run(this.clip.draw("mask copied", [{ object: selected, frame, counts: mask.counts }]));
  }

  /** Marks the run of propagated or imported frames around this one as looked at. */
  review() {
    const codes = this.clip.objects.get(this.selected)?.codes;
    if (!codes || !"pi".includes(String.fromCharCode(codes[this.frame]))) return void say("This frame was not propagated or imported.");
    let [first, last] = [this.frame, this.frame];
    while (first > 0 && codes[first - 1] === codes[this.frame]) first -= 1;
    while (last + 1 < codes.length && codes[last + 1] === codes[this.frame]) last += 1;
    this.run(this.clip.change("looked at", [{ op: "mask.review", object: this.selected, first, last, reviewed: true }]));
  }

  async propagate(direction) {
    if (!this.selected) return void say("Select the object to propagate.");
    if (!this.model) return void say("The server offers no propagator.");
    if (!this.isDrawn()) return void say("Draw the object in this frame first: propagation starts from it.");
    const until = direction < 0 ? 0 : this.clip.info.n_frames - 1;
    if (until === this.frame) return void say(direction < 0 ? "This is the first frame." : "This is the last frame.");
    await this.clip.saved();
    const body = { object_ids: [this.selected], frame: this.frame, until, model: this.model, overwrite: "propagated", stop_at_keyframe: true };
    const answer = await this.run(api.post(`clips/${this.clip.key}/propagate`, body));
    if (!answer) return;
    this.clip.jobs = [...this.clip.jobs.filter((j) => j.id !== answer.job.id), answer.job];
    this.watched = answer.job.id;
    this.timeline.setRange([Math.min(until, this.frame), Math.max(until, this.frame)]);
    this.showJobs();
  }

  showJobs() {
    const running = this.clip.jobs.filter((j) => j.key === this.clip.key && ["waiting", "running"].includes(j.state));
    const watched = this.clip.jobs.find((j) => j.id === this.watched);
    if (watched && !["waiting", "running"].includes(watched.state)) this.jobEnded(watched);
    this.jobBox.hidden = !running.length;
    const [job] = running;
    if (!job) return void (this.jobShown = null);
    if (this.jobShown !== job.id) {
      this.jobShown = job.id;
      this.jobBar = el("progress", { max: 1, "aria-label": "Progress of the propagation" });
      this.jobText = el("span", { class: "soft" });
      this.jobBox.replaceChildren(this.jobBar, this.jobText, iconButton("close", "Cancel", () => this.run(api.remove(`jobs/${job.id}`)), { key: "" }));
    }
    if (job.total) [this.jobBar.max, this.jobBar.value] = [job.total, job.done];
    this.jobText.textContent = job.total ? `${job.done} of ${job.total}${running.length > 1 ? `, ${running.length - 1} more waiting` : ""}` : job.state;
  }

  jobEnded(job) {
    this.watched = null;
    this.timeline.setRange(null);
    const written = job.result?.written ?? job.done;
    const words = {
      done: written ? `Propagated ${counted(written, "frame")}.` : "Nothing was propagated: the next frame is somebody's own.",
      cancelled: `Stopped after ${counted(job.done, "frame")}; Ctrl+Z takes them back.`, failed: job.message,
    };
    say(words[job.state] || job.state, job.state === "failed" ? "error" : "note");
    this.checks.later();
  }

  // Tools and view ----------------------------------------------------------------------------------------------------

  setTool(name) {
    this.stage.tool?.cancel?.();
    this.stage.tool = this.tools[name];
    for (const b of this.toolButtons) b.setAttribute("aria-pressed", String(b.dataset.tool === name));
    this.stage.canvas.dataset.tool = name;
    this.stage.redraw();
  }

  setBrush(size) {
    this.brushSize = size;
    this.brushShown.textContent = `${size}`;
    this.brushSlider.value = BRUSHES.findIndex((b) => b >= size);
    this.stage.redraw();
  }

  growBrush(step) {
    const at = BRUSHES.findIndex((b) => b >= this.brushSize);
    this.setBrush(BRUSHES[Math.max(0, Math.min(BRUSHES.length - 1, at + step))]);
  }

  setCut(cut) {
    this.cut = cut;
    this.cutButton.setAttribute("aria-pressed", String(cut));
    say(cut ? "Strokes take their pixels away from other objects." : "Objects may overlap.");
  }

  setHidden(hidden) {
    this.stage.setOptions({ hidden });
    this.hideButton.setAttribute("aria-pressed", String(hidden));
    this.hideButton.replaceChildren(icon(hidden ? "hidden" : "eye"));
  }

  setContour(contour) {
    this.setLook({ contour });
    this.contourButton.setAttribute("aria-pressed", String(contour));
  }

  showZoom(scale) {
    this.zoomShown.textContent = `${Math.round((100 * scale) / (window.devicePixelRatio || 1))} %`;
  }

  escape() {
    if (this.stage.tool?.cancel?.()) return;
    if (document.activeElement?.matches("input, textarea")) document.activeElement.blur();
    else this.select(null);
  }

  async back(direction) {
    const { tool } = this.stage;
    if (direction === "undo" && tool?.points?.length && tool.back) return void tool.back();
    if (tool?.open) return void tool.cancel();
    try {
      await this.endJob();
      const answer = await this.clip.back(direction);
      const frames = Object.values(answer.touched?.masks ?? {}).flat().filter((f) => f !== null);
      const elsewhere = frames.length && !frames.includes(this.frame);
      say(`${direction === "undo" ? "Undone" : "Redone"}: ${answer.label}${elsewhere ? ` (frame ${Math.min(...frames) + 1})` : ""}`);
      if (elsewhere) this.goto(Math.min(...frames));
    } catch (error) {
      say(error.message, error.code?.startsWith("nothing") ? "note" : "error");
    }
  }

  /** What a running propagation has written can be taken back only once it writes no more. */
  async endJob() {
    const job = this.clip.jobs.find((j) => j.id === this.watched);
    if (!job || !["waiting", "running"].includes(job.state)) return;
    await api.remove(`jobs/${job.id}`);
    while (this.watched === job.id) await new Promise((resolve) => this.clip.addEventListener("jobs", resolve, { once: true }));
  }

  // Panels ------------------------------------------------------------------------------------------------------------

  showStructure() {
    if (this.selected && !this.clip.objects.has(this.selected)) this.selected = [...this.clip.objects.keys()][0] ?? null;
    this.mayEdit = this.clip.info.may_edit;
    this.objects.show();
    this.sentences.show();
    this.showTracks();
    this.showOrigin();
    this.showHint();
    this.paintMasks();
    this.checks.later();
  }

  showHint() {
    if (!this.clip.info.height) return void this.hint.replaceChildren(el("p", {}, NO_FRAMES));
    const empty = this.mayEdit && !this.clip.objects.size;
    this.hint.replaceChildren(...(empty ? [el("p", {}, "No objects yet. Press ", el("kbd", {}, "N"), " and draw the first with the brush."), button("New object", () => this.newObject(), { class: "primary" })] : []));
  }

  showTracks() {
    this.timeline.set([...this.clip.objects.values()].map(({ id, colour, codes }) => ({ id, colour, codes })), this.selected);
  }

  showSaving() {
    const { unsaved, failures } = this.clip;
    const state = failures ? "failing" : unsaved ? "saving" : "saved";
    this.saving.dataset.state = state;
    this.saving.textContent = { failing: `Not saved (${unsaved}): trying again`, saving: "Saving…", saved: "All saved" }[state];
    if (state === "saved") this.checks.later();
  }
}
