// The reviewer: every finished sentence with its video and the objects it means; accept, or reject with a comment.

import * as api from "./api.js";
import { Clip } from "./clip.js";
import { Keys } from "./keys.js";
import { el, button, choice, say, onColour } from "./dom.js";
import { runsOfCounts } from "./rle.js";
import { Viewer } from "./viewer.js";

const FILTERS = [["open", "To judge"], ["rejected", "Rejected"], ["accepted", "Accepted"], ["", "All"]];

export async function reviewScreen(app, key, expression) {
  const screen = new Review(app);
  await screen.load();
  const [first] = screen.items;
  const wanted = key ? screen.all.find((i) => String(i.key) === key && i.expression === expression) : null;
  if (wanted ?? first) await screen.open(wanted ?? first);
  else screen.showItem();
  return screen;
}

class Review {
  constructor(app) {
    this.app = app;
    this.title = "Review";
    this.className = "review";
    this.filter = "open";
    this.list = el("ul", { class: "review-list", role: "listbox", "aria-label": "Sentences" });
    this.count = el("span", { class: "count" });
    this.right = el("section", { class: "review-item", "aria-label": "Sentence in hand" });
    this.node = el("div", { class: "review-page" },
      el("section", { class: "review-left" }, el("header", {}, el("h2", {}, "Sentences"), this.count, el("span", { class: "grow" }), choice(FILTERS, this.filter, (v) => this.filterBy(v), { "aria-label": "Which sentences" })), this.list),
      this.right);
    this.keys = new Keys([
      ["Judge", [
        [["A"], "Accept", () => this.judge("accepted")],
        [["X"], "Reject (says why first)", () => this.reject()],
        [["Ctrl+Enter"], "Reject with the comment", () => this.judge("rejected"), { inText: true }],
        [["J", "↓"], "Next sentence", () => this.step(1)],
        [["K", "↑"], "Previous sentence", () => this.step(-1)],
      ]],
      ["Video", [
        [["←", "→"], "Previous, next frame", (e) => this.viewer?.step(e.key === "ArrowLeft" ? -1 : 1)],
        [["Shift+←", "Shift+→"], "10 frames", (e) => this.viewer?.step(e.key === "ArrowLeft" ? -10 : 10)],
        [["Space"], "Play, pause", () => this.viewer?.play()],
        [["H"], "Hide the masks", () => this.viewer?.stage.setOptions({ hidden: !this.viewer.stage.options.hidden })],
        [["O"], "Show the other objects too", () => this.showOthers()],
        [["?"], "This list", () => this.app.help()],
      ]],
    ]);
    app.help = () => this.keys.help();
  }

  async load() {
    this.all = (await api.get("review")).items;
    this.filterBy(this.filter);
  }

  filterBy(filter) {
    this.filter = filter;
    const open = (item) => !item.verdict || !item.current;
    this.items = this.all.filter((i) => !filter || (filter === "open" ? open(i) : i.verdict === filter && i.current));
    this.showList();
  }

  showList() {
    this.count.textContent = this.items.length;
    const titles = new Map();
    this.list.replaceChildren(...(this.items.length ? this.items.map((item) => {
      const first = titles.get(item.key) ?? titles.set(item.key, item.clip_id).get(item.key);
      return el("li", { role: "option", "aria-selected": String(this.same(item, this.item)), on: { click: () => this.open(item) } },
        el("span", {}, item.text), el("span", { class: "sentence-facts" }, first, item.verdict ? el("span", { class: `tag ${item.verdict}` }, item.current ? item.verdict : `${item.verdict}, changed since`) : null));
    }) : [el("li", { class: "empty" }, "Nothing here.")]));
    this.list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }

  same(a, b) {
    return Boolean(a && b && a.key === b.key && a.expression === b.expression);
  }

  async open(item) {
    this.item = item;
    this.showList();
    if (this.clip?.key !== item.key) {
      this.viewer?.close();
      this.viewer = null;
      const clip = new Clip(item.key);
      await clip.reload();
      if (this.item !== item) return;
      this.clip = clip;
    }
    this.showItem();
  }

  showItem() {
    const sentence = this.item && this.clip?.expressions.get(this.item.expression);
    if (!sentence) return void this.right.replaceChildren(el("div", { class: "empty-page" }, el("h1", {}, this.all.length ? "Nothing selected" : "Nothing to review yet"), el("p", { class: "lead" }, "Sentences appear here when their authors call them ready.")));
    const { clip } = this;
    this.sentence = sentence;
    if (!this.viewer) {
      this.viewer = new Viewer({ height: clip.info.height, width: clip.info.width, count: clip.info.n_frames, fps: clip.info.fps }, (frame, signal) => api.picture(`clips/${clip.key}/frames/${frame}`, signal), (frame) => this.objects(frame));
    }
    this.comment = el("textarea", { rows: 2, placeholder: "What is wrong, or worth keeping? (needed to reject)", "aria-label": "Comment" });
    const facts = [sentence.kind, sentence.condition?.replace("-", " "), sentence.is_sentence === null ? null : sentence.is_sentence ? "long" : "short", ...sentence.tags.map((t) => t.replaceAll("-", " ")), sentence.origin === "machine" ? `machine-made, accepted by ${sentence.accepted_by || "nobody yet"}` : null].filter(Boolean);
    const about = (row) => row.about.kind === "expression" && row.about.id === sentence.id;
    const history = [...clip.verdicts.filter(about), ...clip.comments.filter(about)].sort((a, b) => (a.at < b.at ? -1 : 1));
    this.right.replaceChildren(
      el("div", { class: "review-head" },
        el("blockquote", { class: "big-sentence" }, sentence.text),
        el("div", { class: "sentence-facts" }, this.meant(sentence), facts.map((f) => el("span", { class: "tag" }, f)), el("a", { href: `#/clip/${clip.key}/${this.viewer.frame + 1}/s/${sentence.id}` }, "Open in the workbench")),
        sentence.rationale ? el("p", { class: "rationale" }, el("strong", {}, "Why: "), sentence.rationale) : null),
      this.viewer.node,
      el("div", { class: "review-foot" },
        history.length ? el("dl", { class: "remarks" }, history.map((r) => el("div", {}, el("dt", {}, `${r.name ?? r.person}${r.decision ? `: ${r.decision}` : ""}`), el("dd", {}, r.comment ?? r.text)))) : null,
        el("div", { class: "row" }, this.comment, button("Reject", () => this.judge("rejected"), { class: "danger big", title: "X" }), button("Accept", () => this.judge("accepted"), { class: "primary big", title: "A" }))));
    this.viewer.shown();
    this.startAt(sentence);
  }

  /** Opens at the first frame in which what is meant can be seen. */
  startAt(sentence) {
    const seen = (sentence.object_ids ?? []).map((id) => this.clip.objects.get(id)?.codes.findIndex((c) => !".a".includes(String.fromCharCode(c)))).filter((f) => f >= 0);
    this.viewer.goto(seen.length ? Math.min(...seen) : 0);
  }

  meant(sentence) {
    if (!sentence.object_ids?.length) return el("span", { class: "tag" }, "no target");
    const ids = [...this.clip.objects.keys()];
    return sentence.object_ids.map((id) => el("span", { class: "number small", style: onColour(this.clip.objects.get(id)?.colour ?? "#888888") }, ids.indexOf(id) + 1));
  }

  async objects(frame) {
    const masks = await this.clip.masks(frame);
    const meant = new Set(this.sentence.object_ids ?? []);
    return [...this.clip.objects.values()].map((o, i) => ({ id: o.id, number: i + 1, colour: o.colour, mask: masks.get(o.id), quiet: !meant.has(o.id) }))
      .filter((o) => o.mask?.counts && (this.others || !o.quiet)).map((o) => ({ ...o, runs: runsOfCounts(o.mask.counts, this.clip.size) }));
  }

  showOthers() {
    this.others = !this.others;
    say(this.others ? "All objects are shown." : "Only what the sentence means is shown.");
    this.viewer?.goto(this.viewer.frame);
  }

  step(by) {
    const at = this.items.findIndex((i) => this.same(i, this.item));
    const next = this.items[Math.max(0, Math.min(this.items.length - 1, at + by))];
    if (next && !this.same(next, this.item)) this.open(next);
  }

  reject() {
    if (this.comment?.value.trim()) this.judge("rejected");
    else this.comment?.focus();
  }

  async judge(decision) {
    const { item, sentence, clip } = this;
    if (!sentence || this.sending) return;
    const comment = this.comment.value.trim();
    if (decision === "rejected" && !comment) {
      this.comment.focus();
      return void say("Say what is wrong: the author reads it.");
    }
    this.sending = true;
    const at = this.items.findIndex((i) => this.same(i, item));
    try {
      await api.post(`clips/${clip.key}/verdicts`, { about: { kind: "expression", id: sentence.id }, decision, comment, base: sentence.revision });
      say(decision === "accepted" ? "Accepted." : "Rejected; the author sees why.");
      await clip.reload();
      await this.load();
    } catch (error) {
      say(error.message, "error");
      if (error.code === "conflict") await clip.reload();
    } finally {
      this.sending = false;
    }
    const next = this.items[Math.min(Math.max(at, 0), this.items.length - 1)];
    if (next && !this.items.some((i) => this.same(i, item))) await this.open(next);
    else this.showItem();
  }

  shown() {
    this.viewer?.shown();
  }

  close() {
    this.keys.close();
    this.viewer?.close();
    this.clip?.close();
  }
}
