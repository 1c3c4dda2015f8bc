// A video that is only looked at: by reviewers and by people who pick the object that a sentence means.

import { FrameCache } from "./frames.js";
import { Stage } from "./stage.js";
import { el, icon, iconButton, say } from "./dom.js";

const RATE = 12;

export class Viewer {
  /**
   * @param {{height, width, count, fps?}} video
   * @param {(frame: number, signal) => Promise<Blob>} fetchFrame
   * @param {(frame: number) => Promise<{number, colour, runs, quiet?}[]>} fetchObjects
   */
  constructor(video, fetchFrame, fetchObjects, { onPick = null } = {}) {
    Object.assign(this, { video, fetchObjects, frame: 0 });
    this.cache = new FrameCache(video.count, fetchFrame);
    const canvas = el("canvas", { class: "stage", role: "img", "aria-label": "The video" });
    this.stage = new Stage(canvas);
    this.stage.setSize(video.height, video.width);
    this.stage.tool = onPick ? { down: (point) => onPick(point.map(Math.floor)) } : null;
    this.slider = el("input", { type: "range", min: 0, max: Math.max(0, video.count - 1), value: 0, "aria-label": "Frame", on: { input: () => this.goto(Number(this.slider.value)) } });
    this.text = el("span", { class: "soft" });
    this.playButton = iconButton("play", "Play", () => this.play(), { key: "Space" });
    this.controls = el("div", { class: "transport", hidden: video.count < 2 }, this.playButton, this.slider, this.text);
    this.node = el("div", { class: "viewer" }, el("div", { class: "stage-box" }, canvas), this.controls);
  }

  async goto(frame) {
    frame = Math.max(0, Math.min(this.video.count - 1, frame));
    const direction = frame - this.frame;
    this.frame = frame;
    this.slider.value = frame;
    this.text.textContent = `${frame + 1} / ${this.video.count}`;
    try {
      const [picture, objects] = await Promise.all([this.cache.get(frame), this.fetchObjects(frame)]);
      if (this.frame !== frame) return;
      this.stage.setFrame(picture);
      this.stage.setObjects(objects);
      this.stage.canvas.dataset.frame = frame;
      this.cache.prefetch(frame, direction);
    } catch (error) {
      if (error.name !== "AbortError") say(`Frame ${frame + 1}: ${error.message}`, "error");
    }
  }

  play() {
    const turn = this.playing ? null : { due: performance.now() };
    this.playing = turn;
    this.playButton.replaceChildren(icon(turn ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", turn ? "Pause" : "Play");
    const tick = async () => {
      if (this.playing !== turn || !turn) return;
      await this.goto((this.frame + 1) % this.video.count);
      turn.due = Math.max(turn.due + 1000 / (this.video.fps || RATE), performance.now());
      setTimeout(tick, Math.max(0, turn.due - performance.now()));
    };
    tick();
  }

  step(by) {
    if (this.playing) this.play();
    this.goto(this.frame + by);
  }

  shown() {
    this.stage.resized();
  }

  close() {
    this.playing = null;
    this.stage.close();
    this.cache.close();
  }
}
