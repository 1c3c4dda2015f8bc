// What the server's checks found, shown while one works; a finding leads to its place.

import * as api from "./api.js";
import { el, icon, iconButton } from "./dom.js";
import { editSource } from "./source.js";

const REST = 1200;
const ORDER = ["error", "warning", "note"];

export class ChecksPanel {
  constructor(bench) {
    this.bench = bench;
    this.found = [];
    this.count = el("span", { class: "count" });
    this.list = el("ul", { class: "findings" });
    this.toggle = el("button", { type: "button", class: "panel-toggle", "aria-expanded": "false", title: "Checks (Q)", on: { click: () => this.fold(!this.node.classList.contains("folded")) } }, el("h2", {}, "Checks"), this.count);
    this.node = el("section", { class: "panel panel-checks folded", "aria-label": "Checks" }, el("header", {}, this.toggle, el("span", { class: "grow" }), iconButton("redo", "Check again", () => this.ask())), this.list);
  }

  fold(folded) {
    this.node.classList.toggle("folded", folded);
    this.toggle.setAttribute("aria-expanded", String(!folded));
  }

  focus() {
    this.fold(false);
    (this.list.querySelector("button") ?? this.toggle).focus();
  }

  about(kind, id) {
    return this.found.filter((f) => f.place?.kind === kind && f.place.id === id);
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), REST);
  }

  async ask() {
    const { clip } = this.bench;
    clearTimeout(this.timer);
    if (clip.unsaved || this.asking) return void this.later();
    this.asking = true;
    try {
      const answer = await api.get(`clips/${clip.key}/checks`, { signal: clip.closed.signal });
      const changed = JSON.stringify(answer.problems) !== JSON.stringify(this.found);
      this.found = answer.problems.sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
      this.show();
      if (changed) this.bench.sentences.show();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.count.textContent = "not checked";
      this.list.replaceChildren(el("li", { data: { severity: "error" } }, error.message));
    } finally {
      this.asking = false;
    }
  }

  show() {
    const many = (severity) => this.found.filter((f) => f.severity === severity).length;
    this.count.replaceChildren(...(this.found.length
      ? ORDER.filter(many).map((s) => el("span", { class: `tag ${s}` }, `${many(s)} ${s}${many(s) > 1 ? "s" : ""}`))
      : [el("span", { class: "tag good" }, icon("check"), "nothing found")]));
    this.list.replaceChildren(...this.found.map((f) => el("li", { data: { severity: f.severity } },
      el("button", { type: "button", on: { click: () => this.lead(f.place) } }, el("span", { class: "place" }, this.nameOf(f.place)), el("span", {}, f.message), f.next_step && el("span", { class: "soft" }, ` ${f.next_step}`)))));
  }

  nameOf(place) {
    const { clip } = this.bench;
    if (place?.kind === "object") return clip.objects.get(place.id)?.name || `Object ${place.id}`;
    const text = place?.kind === "expression" ? clip.expressions.get(place.id)?.text ?? place.id : "";
    return text ? `“${text.length > 28 ? `${text.slice(0, 26)}…` : text}”` : "Clip:";
  }

  async lead(place) {
    const { bench } = this;
    if (place?.kind === "object") bench.select(place.id);
    if (place?.kind === "clip" && bench.mayEdit && (await bench.run(editSource([{ ...bench.clip.info, key: bench.clip.key }])))) await bench.run(bench.clip.reload());
    if (place?.kind === "expression" && bench.sentences.opened !== place.id) bench.sentences.open(place.id);
  }

  close() {
    clearTimeout(this.timer);
  }
}
