// The blind second annotator: reads a sentence, sees one frame and then the video, picks the object. Nothing on this
// screen, and nothing the server sends to it, tells which answer the author meant.

import * as api from "./api.js";
import { el, button, say, onColour } from "./dom.js";
import { colourOf } from "./colours.js";
import { Keys } from "./keys.js";
import { runsOfRings } from "./mask.js";
import { runsContain } from "./rle.js";
import { Viewer } from "./viewer.js";

const WINDOW = 24;

export async function blindScreen(app) {
  const screen = new Blind(app);
  await screen.next();
  return screen;
}

class Blind {
  constructor(app) {
    this.app = app;
    this.title = "Which object?";
    this.className = "blind";
    this.node = el("div", { class: "blind-page" });
    this.keys = new Keys([
      ["Answer", [
        [["1"], "Pick the first … ninth object, or take it out", () => this.toggle(0)],
        [["0"], "None of them", () => this.pickNone()],
        [["Enter"], "Give the answer", () => this.answer()],
      ]],
      ["Video", [
        [["←", "→"], "Previous, next frame", (e) => this.viewer?.step(e.key === "ArrowLeft" ? -1 : 1)],
        [["Shift+←", "Shift+→"], "10 frames", (e) => this.viewer?.step(e.key === "ArrowLeft" ? -10 : 10)],
        [["Space"], "Play, pause", () => this.task?.stage === "video" && this.viewer.play()],
        [["H"], "Hide the outlines", () => this.viewer?.stage.setOptions({ hidden: !this.viewer.stage.options.hidden })],
        [["?"], "This list", () => this.app.help()],
      ]],
    ]);
    for (let i = 1; i < 9; i++) this.keys.down.set(String(i + 1), { action: () => this.toggle(i), options: {} });
    app.help = () => this.keys.help();
  }

  async next() {
    const { tasks, done, total } = await api.get("blind/tasks");
    this.progress = [done, total];
    const open = tasks.find((t) => t.stage !== "done");
    this.app.slots.middle.replaceChildren(el("span", { class: "soft" }, `${done} of ${total} answered`), el("progress", { value: done, max: Math.max(1, total), "aria-label": "Answered" }));
    if (open) await this.open(await api.get(`blind/tasks/${open.id}`));
    else this.finish(total);
  }

  finish(total) {
    this.viewer?.close();
    this.viewer = null;
    this.task = null;
    this.node.replaceChildren(el("div", { class: "empty-page" }, el("h1", {}, total ? "All done" : "Nothing to answer yet"), el("p", { class: "lead" }, total ? "Thank you. Your answers are stored; the report counts them." : "There are no finished sentences for you. Come back when the authors are done.")));
  }

  async open(task) {
    this.viewer?.close();
    this.task = task;
    this.chosen = new Set();
    this.none = false;
    this.masks = new Map();
    this.windows = new Map();
    this.started = performance.now();
    const whole = task.stage === "video";
    const path = `blind/tasks/${task.id}`;
    const offset = whole ? 0 : task.frame;
    this.viewer = new Viewer(
      { height: task.height, width: task.width, count: whole ? task.n_frames : 1, fps: null },
      (frame, signal) => api.picture(`${path}/frames/${frame + offset}`, signal),
      (frame) => this.objects(frame + offset),
      { onPick: (point) => this.pickAt(point) },
    );
    this.offset = offset;
    this.choices = el("div", { class: "choices", role: "group", "aria-label": "Objects" });
    this.submit = button(whole ? "This is my answer" : "Answer from this frame", () => this.answer(), { class: "primary big" });
    this.node.replaceChildren(
      el("section", { class: "blind-question" },
        el("p", { class: "step" }, el("span", { class: whole ? "" : "now" }, "1 From one frame"), el("span", { class: whole ? "now" : "" }, "2 From the video")),
        el("p", { class: "soft" }, whole ? "Watch the video. Which object does the sentence mean?" : "You see one frame only. Which object does the sentence mean? Guess if you must."),
        el("blockquote", { class: "big-sentence" }, task.text), this.choices, el("p", { class: "hint" }, "Click in the picture or press the number; several objects are allowed."), this.submit),
      el("section", { class: "blind-video" }, this.viewer.node));
    this.showChoices();
    this.viewer.shown();
    await this.viewer.goto(whole ? task.frame ?? 0 : 0);
  }

  async objects(frame) {
    if (!this.masks.has(frame)) await this.read(frame);
    const outlines = this.masks.get(frame) ?? {};
    return this.task.candidates.map(({ choice, label }, i) => ({ choice, number: label, colour: colourOf(i), runs: this.runs(frame, choice, outlines[choice]), quiet: this.chosen.size > 0 && !this.chosen.has(choice) })).filter((o) => o.runs);
  }

  runs(frame, choice, rings) {
    if (!rings?.length) return null;
    const { height, width } = this.task;
    return runsOfRings(rings, height, width);
  }

  read(frame) {
    const start = this.task.stage === "video" ? Math.floor(frame / WINDOW) * WINDOW : frame;
    if (!this.windows.has(start)) this.windows.set(start, this.readWindow(start));
    return this.windows.get(start);
  }

  async readWindow(start) {
    const last = this.task.stage === "video" ? Math.min(start + WINDOW, this.task.n_frames) - 1 : start;
    for (let next = start; next !== null && next <= last;) {
      const answer = await api.get(`blind/tasks/${this.task.id}/outlines${api.query({ first: next, last })}`);
      for (let frame = answer.first; frame <= answer.last; frame++) this.masks.set(frame, answer.frames[frame] ?? {});
      next = answer.next ?? null;
    }
  }

  async pickAt([x, y]) {
    const hits = (await this.objects(this.viewer.frame + this.offset)).filter((o) => runsContain(o.runs, this.task.height, x, y));
    if (hits.length) this.toggle(this.task.candidates.findIndex((c) => c.choice === hits.at(-1).choice));
  }

  toggle(i) {
    const candidate = this.task?.candidates[i];
    if (!candidate) return;
    if (!this.chosen.delete(candidate.choice)) this.chosen.add(candidate.choice);
    this.none = false;
    this.showChoices();
    this.viewer.goto(this.viewer.frame);
  }

  pickNone() {
    this.none = !this.none;
    this.chosen.clear();
    this.showChoices();
    this.viewer.goto(this.viewer.frame);
  }

  showChoices() {
    this.choices.replaceChildren(
      ...this.task.candidates.map(({ choice, label }, i) => el("button", { type: "button", class: "choice", "aria-pressed": String(this.chosen.has(choice)), on: { click: () => this.toggle(i) } },
        el("span", { class: "number", style: onColour(colourOf(i)) }, label), i < 9 ? el("kbd", {}, i + 1) : null)),
      el("button", { type: "button", class: "choice none", "aria-pressed": String(this.none), on: { click: () => this.pickNone() } }, "None of them", el("kbd", {}, "0")));
    this.submit.disabled = !this.none && !this.chosen.size;
  }

  async answer() {
    if (!this.task || this.sending) return;
    if (!this.none && !this.chosen.size) return void say("Pick an object, or “None of them”.");
    const body = { stage: this.task.stage, choices: [...this.chosen], none: this.none, seconds: (performance.now() - this.started) / 1000 };
    this.sending = true;
    let next = null;
    try {
      next = await api.post(`blind/tasks/${this.task.id}/choice`, body);
    } finally {
      this.sending = false;
    }
    if (next.stage === "video") await this.open(next);
    else await this.next();
  }

  shown() {
    this.viewer?.shown();
  }

  close() {
    this.keys.close();
    this.viewer?.close();
  }
}
