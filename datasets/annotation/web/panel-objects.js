// The list of objects: colour, name, what the frame in hand is for each, and what can be done with a whole track.

import { el, iconButton, button, choice, dialogue, say, onColour } from "./dom.js";
import { ORIGINS } from "./colours.js";

const FILTER_FROM = 12;

export class ObjectsPanel {
  constructor(bench) {
    this.bench = bench;
    this.rows = new Map();
    this.filter = "";
    this.count = el("span", { class: "count" });
    this.list = el("ul", { class: "objects", role: "listbox", "aria-label": "Objects" });
    this.search = el("input", { type: "search", placeholder: "Filter", "aria-label": "Filter objects", hidden: true, on: { input: () => this.filterBy(this.search.value) } });
    this.node = el(
      "section", { class: "panel panel-objects", "aria-label": "Objects" },
      el("header", {}, el("h2", {}, "Objects"), this.count, this.search, el("span", { class: "grow" }),
        bench.mayEdit && iconButton("plus", "New object", () => bench.newObject(), { key: "N" })),
      this.list,
    );
  }

  filterBy(text) {
    this.filter = text.toLowerCase();
    this.show();
  }

  show() {
    const { clip, selected, hiddenObjects } = this.bench;
    const objects = [...clip.objects.values()];
    this.count.textContent = objects.length || "";
    this.search.hidden = objects.length < FILTER_FROM;
    const shown = new Map();
    objects.forEach((object, i) => {
      if (this.filter && !`${i + 1} ${object.name} ${object.category}`.toLowerCase().includes(this.filter)) return;
      const state = [i, object.name, object.category, object.colour, object.revision, object.id === selected, hiddenObjects.has(object.id), object.id === selected && objects.length > 1].join("|");
      const old = this.rows.get(object.id);
      shown.set(object.id, old?.state === state ? old : this.row(object, i, state));
    });
    const typing = this.list.contains(document.activeElement) && document.activeElement.matches("input");
    if (!typing) this.place(shown);
    this.rows = shown;
    if (this.lastSelected !== selected) shown.get(selected)?.node.scrollIntoView({ block: "nearest" });
    this.lastSelected = selected;
    this.showFrame();
    this.showAmounts();
  }

  /** Puts rows into the list; where only some changed, only those are touched. */
  place(shown) {
    const before = [...this.rows.keys()];
    const after = [...shown.keys()];
    const same = this.list.children.length === before.length && before.length === after.length && after.every((id, i) => id === before[i]);
    if (!same) return void this.list.replaceChildren(...[...shown.values()].map((r) => r.node));
    for (const [id, row] of shown) if (row !== this.rows.get(id)) this.rows.get(id).node.replaceWith(row.node);
  }

  row(object, i, state) {
    const { bench } = this;
    const selected = object.id === bench.selected;
    const hidden = bench.hiddenObjects.has(object.id);
    const dot = el("span", { class: "origin-dot" });
    const amount = el("span", { class: "amount", title: "Frames that are annotated" });
    const name = el("span", { class: "name" }, object.name || `Object ${object.id}`, object.category && el("span", { class: "soft" }, ` ${object.category}`));
    const node = el(
      "li", { role: "option", "aria-selected": String(selected), class: hidden ? "off" : "", on: { click: () => bench.selected !== object.id && bench.select(object.id) } },
      el("div", { class: "object-row" },
        el("span", { class: "number", style: onColour(object.colour) }, i + 1), name, dot, amount,
        iconButton(hidden ? "hidden" : "eye", hidden ? "Show" : "Hide", (e) => { e.stopPropagation(); bench.toggleObject(object.id); }, { key: selected ? "X" : "" })),
      selected && bench.mayEdit ? this.details(object) : null,
    );
    return { state, node, dot, amount };
  }

  details(object) {
    const { bench } = this;
    const set = (what) => (event) => this.set(object.id, { [what]: event.target.value });
    const colour = el("input", { type: "color", value: object.colour, "aria-label": "Colour", on: { change: set("colour") } });
    return el(
      "div", { class: "object-details" },
      el("div", { class: "row" },
        el("input", { class: "grow", value: object.name, placeholder: "Name", "aria-label": "Name of the object", maxlength: 200, on: { change: set("name") } }),
        el("input", { class: "category", value: object.category, placeholder: "Category", "aria-label": "Category", maxlength: 100, on: { change: set("category") } }),
        colour),
      el("div", { class: "row actions" },
        button("Absent", () => bench.setAbsent(), { title: "The object is not in this frame (O)" }),
        button("Clear", () => bench.clearMask(), { title: "Take the mask of this frame away (Delete)" }),
        button("Split", () => this.split(object), { title: "Split: frames from this one on become an object of their own" }),
        bench.clip.objects.size > 1 ? button("Merge…", () => this.merge(object)) : null,
        button("Delete", () => this.remove(), { class: "danger", title: "Ctrl+Delete" })),
    );
  }

  set(id, values) {
    const { clip } = this.bench;
    clip.objects.set(id, { ...clip.objects.get(id), ...values });
    this.bench.run(clip.change(`object: ${Object.keys(values)[0]}`, [{ op: "object.set", object: id, ...values }]));
    this.bench.showStructure();
  }

  async split(object) {
    const { bench } = this;
    if (!bench.frame) return void say("Splitting at the first frame would leave nothing before it.");
    await bench.clip.saved();
    const answer = await bench.run(bench.clip.change("split", [{ op: "object.split", object: object.id, frame: bench.frame, temp: "$part", name: `${object.name || "Object"} (from ${bench.frame + 1})` }]));
    if (answer) bench.select(answer.ids.$part);
  }

  async merge(object) {
    const { bench } = this;
    const others = [...bench.clip.objects.values()].filter((o) => o.id !== object.id);
    let other = others[0].id;
    const pick = choice(others.map((o) => [o.id, o.name || `Object ${o.id}`]), other, (id) => (other = id), { "aria-label": "Object that is merged in" });
    const answer = await dialogue("Merge objects", [el("p", {}, "Frame by frame, the masks of the other object are added to ", el("strong", {}, object.name || `Object ${object.id}`), "; sentences about it then mean this one."), pick], [["merge", "Merge"], ["", "Cancel"]]);
    if (answer !== "merge") return;
    await bench.clip.saved();
    await bench.run(bench.clip.change("merge", [{ op: "object.merge", object: object.id, other }]));
  }

  async remove() {
    const { bench } = this;
    const object = bench.clip.objects.get(bench.selected);
    if (!object) return;
    const meaning = [...bench.clip.expressions.values()].filter((e) => e.object_ids?.includes(object.id));
    const name = object.name || `Object ${object.id}`;
    const words = meaning.length ? `${meaning.length} ${meaning.length > 1 ? "sentences mean" : "sentence means"} it and would lose it.` : "No sentence means it.";
    const answer = await dialogue(`Delete ${name}?`, el("p", {}, `It is drawn in ${bench.clip.annotated(object.id)} frames. ${words} Undo brings it back.`), [["delete", "Delete"], ["", "Keep"]]);
    if (answer !== "delete") return;
    await bench.run(bench.clip.change(`delete ${name}`, [{ op: "object.delete", object: object.id, unlink: meaning.length > 0 }]));
  }

  /** What the frame in hand is for each object. */
  showFrame() {
    const { clip, frame } = this.bench;
    for (const [id, { dot }] of this.rows) {
      const code = clip.codeAt(id, frame);
      if (dot.dataset.code !== code) {
        dot.dataset.code = code;
        dot.title = `This frame: ${ORIGINS[code][0]}`;
      }
    }
  }

  showAmounts() {
    if (this.due) return;
    this.due = setTimeout(() => {
      this.due = null;
      const { clip } = this.bench;
      for (const [id, { amount }] of this.rows) {
        const text = `${clip.annotated(id)}/${clip.info.n_frames}`;
        if (amount.textContent !== text) amount.textContent = text;
      }
    }, 60);
  }
}

