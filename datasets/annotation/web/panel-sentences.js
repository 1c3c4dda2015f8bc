// The sentences of a clip: text, the objects it means, how it asks, and its paraphrases.

import * as api from "./api.js";
import { el, iconButton, icon, button, choice, dialogue, field, say, onColour } from "./dom.js";

const PAUSE = 500; // milliseconds without a key after which a text is saved
export const KINDS = [["reasoning", "Reasoning"], ["referring", "Referring"]];
export const CONDITIONS = [["", "Writer saw…"], ["full-video", "Whole video"], ["first-frame", "First frame"]];
export const LENGTHS = [["", "Length…"], ["true", "Long"], ["false", "Short"]];
const DRAFT = "~"; // id of the sentence that has no text yet: the server stores sentences, not intentions
const STORED = ["text", "object_ids", "kind", "condition", "is_sentence", "tags", "rationale", "state"];
const USUAL_TAGS = ["complex-reasoning", "world-knowledge", "temporal-dynamics"];

export class SentencesPanel {
  constructor(bench) {
    this.bench = bench;
    this.opened = null;
    this.draft = null;
    this.stored = null; // promise of the id that the draft gets
    this.timers = new Map();
    this.count = el("span", { class: "count" });
    this.list = el("div", { class: "sentences" });
    this.node = el(
      "section", { class: "panel panel-sentences", "aria-label": "Sentences" },
      el("header", {}, el("h2", {}, "Sentences"), this.count, el("span", { class: "grow" }),
        bench.mayEdit && iconButton("plus", "New sentence", () => this.add(), { key: "T" })),
      this.list,
    );
  }

  get rows() {
    const stored = this.bench.clip.expressions;
    return this.draft ? new Map([...stored, [DRAFT, this.draft]]) : stored;
  }

  /** Sentences in order; paraphrases that wait for a person stand under the first of their group. */
  get leading() {
    const groups = new Set();
    return [...this.rows.values()].filter((e) => {
      if (!e.group || !pending(e)) return e.group ? groups.add(e.group) : true;
      return ![...this.rows.values()].some((o) => o.group === e.group && !pending(o));
    });
  }

  waiting(sentence) {
    return sentence.group ? [...this.rows.values()].filter((e) => e.group === sentence.group && e.id !== sentence.id && pending(e)) : [];
  }

  /** The objects of the opened sentence, or null. */
  meant() {
    const ids = this.rows.get(this.opened)?.object_ids;
    return ids?.length ? new Set(ids) : null;
  }

  // Showing -----------------------------------------------------------------------------------------------------------

  show() {
    const { leading } = this;
    const ready = leading.filter((e) => e.state === "ready").length;
    this.count.textContent = leading.length ? `${leading.length}, ${ready} ready` : "";
    if (this.opened && !this.rows.has(this.opened)) this.opened = null;
    const focus = this.remember();
    const cards = leading.map((e) => (e.id === this.opened ? this.editor(e) : this.card(e)));
    this.list.replaceChildren(...(cards.length ? cards : [el("p", { class: "empty" }, this.bench.mayEdit ? ["Press ", el("kbd", {}, "T"), " to write a sentence about the selected object."] : "No sentences yet.")]));
    this.restore(focus);
  }

  /** Rows are drawn anew when the server answers: the cursor stays where it is. */
  remember() {
    const node = document.activeElement;
    if (!this.list.contains(node) || !node.dataset.field) return null;
    return { name: node.dataset.field, start: node.selectionStart, end: node.selectionEnd, value: node.value };
  }

  restore(focus) {
    if (!focus) return;
    const node = this.list.querySelector(`[data-field="${CSS.escape(focus.name)}"]`);
    if (!node) return;
    if (focus.value !== undefined && node.matches("textarea, input:not([type=checkbox])")) node.value = focus.value;
    node.focus({ preventScroll: true });
    if (focus.start !== null && focus.start !== undefined && node.setSelectionRange && node.matches("textarea, input:not([type=checkbox])")) node.setSelectionRange(focus.start, focus.end);
  }

  card(sentence) {
    const findings = this.bench.checks?.about("expression", sentence.id) ?? [];
    return el(
      "button", { type: "button", class: "sentence", data: { id: sentence.id, state: sentence.state, verdict: sentence.verdict ?? "" }, on: { click: () => this.open(sentence.id) } },
      el("span", { class: "sentence-text" }, this.typed(sentence, "text") || el("em", {}, "no text yet")),
      el("span", { class: "sentence-facts" }, this.chips(sentence), el("span", {}, sentence.kind), sentence.condition && el("span", {}, sentence.condition.replace("-", " ")), stateOf(sentence),
        this.waiting(sentence).length ? el("span", { class: "tag machine" }, `${this.waiting(sentence).length} to accept`) : null,
        findings.length ? el("span", { class: `tag ${findings[0].severity}` }, icon("warning"), findings.length) : null),
    );
  }

  chips(sentence) {
    const { clip } = this.bench;
    if (sentence.object_ids === null) return el("span", { class: "tag warning" }, "no object yet");
    if (!sentence.object_ids.length) return el("span", { class: "tag" }, "no target");
    const ids = [...clip.objects.keys()];
    return sentence.object_ids.map((id) => el("span", { class: "number small", title: clip.objects.get(id)?.name ?? id, style: onColour(clip.objects.get(id)?.colour ?? "#888888") }, ids.indexOf(id) + 1 || "?"));
  }

  editor(sentence) {
    const { bench } = this;
    if (!bench.mayEdit) return this.reading(sentence);
    const text = el("textarea", { class: "sentence-input", rows: 2, value: this.typed(sentence, "text"), maxlength: bench.app.session.limits?.text_chars ?? 2000, placeholder: "What identifies the object? Write what a viewer would ask.", "aria-label": "Sentence", spellcheck: true, data: { field: "text" }, on: { input: () => this.later(sentence.id, "text", text.value) } });
    const rationale = el("textarea", { rows: 1, value: this.typed(sentence, "rationale"), placeholder: "Why this answer? (for reasoning sentences)", "aria-label": "Rationale", data: { field: "rationale" }, on: { input: () => this.later(sentence.id, "rationale", rationale.value) } });
    const findings = bench.checks?.about("expression", sentence.id) ?? [];
    return el(
      "article", { class: "sentence open", "aria-label": "Sentence in hand", data: { id: sentence.id } },
      text,
      el("div", { class: "row objects-meant", role: "group", "aria-label": "Objects that the sentence means" }, this.objectToggles(sentence), this.noTarget(sentence)),
      el("div", { class: "row selects" },
        choice(KINDS, sentence.kind, (v) => this.set(sentence.id, { kind: v }), { "aria-label": "Kind", title: "Kind", data: { field: "kind" } }),
        choice(CONDITIONS, sentence.condition ?? "", (v) => this.set(sentence.id, { condition: v || null }), { "aria-label": "What the writer saw", title: "What the writer saw", data: { field: "condition" } }),
        choice(LENGTHS, String(sentence.is_sentence ?? ""), (v) => this.set(sentence.id, { is_sentence: v === "" ? null : v === "true" }), { "aria-label": "Length", title: "Length", data: { field: "length" } })),
      this.tags(sentence),
      rationale,
      findings.length ? el("ul", { class: "findings inline" }, findings.map((f) => el("li", { data: { severity: f.severity } }, f.message, f.next_step && el("span", { class: "soft" }, ` ${f.next_step}`)))) : null,
      this.paraphrases(sentence),
      el("div", { class: "row actions" },
        stateOf(sentence),
        sentence.origin === "machine" && !sentence.accepted_by ? [button("Accept", () => this.take(sentence.id), { class: "primary" }), button("Decline", () => this.remove(sentence.id))] : null,
        el("span", { class: "grow" }),
        sentence.id === DRAFT ? null : button("Paraphrases…", () => this.askParaphrases(sentence)),
        button("Delete", () => this.remove(sentence.id), { class: "danger" }),
        sentence.state === "ready" ? button("To draft", () => this.set(sentence.id, { state: "draft" }), { title: "Not ready after all: a draft again" }) : button("Ready", () => this.ready(), { class: "primary", title: "Ctrl+Enter" })),
      this.remarks(sentence),
    );
  }

  reading(sentence) {
    return el("article", { class: "sentence open", data: { id: sentence.id } }, el("p", { class: "sentence-text" }, sentence.text), el("div", { class: "sentence-facts" }, this.chips(sentence), sentence.kind, stateOf(sentence)), sentence.rationale && el("p", { class: "soft" }, sentence.rationale), this.remarks(sentence));
  }

  remarks(sentence) {
    const about = (row) => row.about.kind === "expression" && row.about.id === sentence.id;
    const verdicts = this.bench.clip.verdicts.filter(about).map((v) => [`${v.name ?? v.person}: ${v.decision}`, v.comment]);
    const comments = this.bench.clip.comments.filter(about).map((c) => [`${c.name ?? c.person}, ${c.at.slice(0, 16).replace("T", " ")}${c.resolved ? ", resolved" : ""} `, c.text, this.settle(c)]);
    const row = ([who, words, settle]) => el("div", {}, el("dt", {}, who, settle), el("dd", {}, words));
    const rows = [...verdicts, ...comments];
    return [rows.length ? el("dl", { class: "remarks" }, rows.map(row)) : null, sentence.id === DRAFT ? null : this.reply(sentence)];
  }

  /** A box for a remark; Enter sends it. */
  reply(sentence) {
    const input = el("input", { class: "grow", placeholder: "Add a comment", "aria-label": "Comment", maxlength: 2000, data: { field: "reply" }, on: { keydown: (event) => {
      if (event.key !== "Enter" || event.ctrlKey || !input.value.trim()) return;
      event.preventDefault();
      const text = input.value.trim();
      input.value = "";
      this.remark(() => api.post(`clips/${this.bench.clip.key}/comments`, { about: { kind: "expression", id: sentence.id }, text }));
    } } });
    return el("div", { class: "row" }, input);
  }

  settle(comment) {
    const change = () => this.remark(() => api.patch(`clips/${this.bench.clip.key}/comments/${comment.id}`, { resolved: !comment.resolved, base: comment.revision }));
    return button(comment.resolved ? "open again" : "resolved", change, { class: "link", title: comment.resolved ? "This comment counts as settled" : "Say that this comment is settled" });
  }

  async remark(send) {
    if (await this.bench.run(send())) await this.bench.run(this.bench.clip.reload());
  }

  objectToggles(sentence) {
    const meant = new Set(sentence.object_ids ?? []);
    return [...this.bench.clip.objects.values()].map((object, i) => [object, i]).filter(([object], i) => i < 24 || meant.has(object.id) || object.id === this.bench.selected)
      .map(([object, i]) => el("button", {
        type: "button", class: "number toggle", title: object.name, "aria-label": `${object.name || `object ${object.id}`}`, "aria-pressed": String(meant.has(object.id)),
        style: onColour(object.colour), data: { field: `object-${object.id}` }, on: { click: () => this.toggleObject(object.id) },
      }, i + 1));
  }

  noTarget(sentence) {
    const none = Array.isArray(sentence.object_ids) && !sentence.object_ids.length;
    const box = el("input", { type: "checkbox", checked: none, data: { field: "none" }, on: { change: () => this.set(sentence.id, { object_ids: box.checked ? [] : null }) } });
    return el("label", { class: "check", title: "The sentence describes something that is not in the video" }, box, "No target");
  }

  tags(sentence) {
    const offered = [...new Set([...USUAL_TAGS, ...(this.bench.app.session.tags ?? []), ...sentence.tags])];
    const toggle = (tag) => this.set(sentence.id, { tags: sentence.tags.includes(tag) ? sentence.tags.filter((t) => t !== tag) : [...sentence.tags, tag] });
    const more = el("input", { class: "new-tag", placeholder: "+ tag", "aria-label": "Another tag", maxlength: 60, data: { field: "tag" }, on: { keydown: (e) => {
      const tag = more.value.trim().toLowerCase().replace(/\s+/g, "-");
      if (e.key !== "Enter" || !tag) return;
      e.preventDefault();
      more.value = "";
      toggle(tag);
    } } });
    return el("div", { class: "row tags", role: "group", "aria-label": "Tags" }, offered.map((tag) => el("button", { type: "button", class: "tag toggle", "aria-pressed": String(sentence.tags.includes(tag)), data: { field: `tag-${tag}` }, on: { click: () => toggle(tag) } }, tag.replaceAll("-", " "))), more);
  }

  paraphrases(sentence) {
    const waiting = this.waiting(sentence);
    if (!waiting.length) return null;
    return el("div", { class: "paraphrases" },
      el("h3", {}, `Machine-made, waiting for you (${waiting.length})`),
      el("ul", {}, waiting.map((e) => el("li", { data: { id: e.id } }, el("span", { class: "grow" }, e.text),
        iconButton("check", "Accept", () => this.take(e.id), { key: "A" }), iconButton("close", "Decline", () => this.remove(e.id))))));
  }

  showSelection() {
    this.show();
  }

  // Changing ----------------------------------------------------------------------------------------------------------

  open(id) {
    this.flush();
    if (this.opened === DRAFT && id !== DRAFT && !this.storing) this.draft = null;
    this.opened = this.opened === id ? null : id;
    this.show();
    this.bench.paintMasks();
    const [first] = this.rows.get(this.opened)?.object_ids ?? [];
    if (first && first !== this.bench.selected && !this.meant()?.has(this.bench.selected)) this.bench.select(first);
    this.list.querySelector(".sentence.open")?.scrollIntoView({ block: "nearest" });
  }

  step(by) {
    const ids = this.leading.map((e) => e.id);
    if (!ids.length) return;
    const next = ids[(ids.indexOf(this.opened) + by + ids.length) % ids.length];
    if (next !== this.opened) this.open(next);
  }

  /** A new draft about the selected object, with the cursor in it. */
  add() {
    const { bench } = this;
    this.flush();
    if (this.storing) return void this.waitThenAdd();
    this.stored = null;
    const before = this.rows.get(this.opened);
    this.draft = {
      id: DRAFT, text: "", object_ids: bench.selected ? [bench.selected] : null, kind: before?.kind ?? "reasoning", condition: before?.condition ?? "full-video",
      is_sentence: null, tags: [], rationale: "", state: "draft", group: null, origin: "human", accepted_by: "", verdict: null,
    };
    this.opened = DRAFT;
    this.show();
    bench.paintMasks();
    const input = this.list.querySelector(".sentence-input");
    input?.scrollIntoView({ block: "center" });
    input?.focus();
  }

  /** One draft at a time: what is typed next must not end in the sentence that is on its way. */
  async waitThenAdd() {
    if (this.asked) return;
    this.asked = true;
    if (this.bench.clip.failures) say("The next sentence can be written once this one is saved.");
    await this.stored;
    this.asked = false;
    if (!this.bench.aborts.signal.aborted) this.add();
  }

  /** The draft has a text now: it becomes a sentence. Resolves to its id, or null where the server refused it. */
  store() {
    this.stored = this.storeDraft();
    return this.stored;
  }

  async storeDraft() {
    const sent = this.draft;
    const values = Object.fromEntries(STORED.map((name) => [name, sent[name]]));
    this.storing = true;
    const answer = await this.bench.run(this.bench.clip.change("new sentence", [{ op: "expression.new", temp: "$new", ...values }]));
    this.storing = false;
    if (!answer) return null;
    const id = answer.ids.$new;
    const late = STORED.filter((name) => this.draft[name] !== sent[name]).map((name) => [name, this.draft[name]]);
    this.draft = null;
    if (this.opened === DRAFT) this.opened = id;
    this.rename(id);
    this.show();
    if (late.length) await this.send(id, Object.fromEntries(late));
    return id;
  }

  /** What was typed while the draft was on its way belongs to the stored sentence. */
  rename(id) {
    for (const [key, { timer, value }] of [...this.timers]) {
      const [owner, what] = key.split("|");
      if (owner !== DRAFT) continue;
      clearTimeout(timer);
      this.timers.delete(key);
      this.later(id, what, value);
    }
  }

  /** Saves a text when the keys rest. */
  later(id, what, value) {
    const key = `${id}|${what}`;
    clearTimeout(this.timers.get(key)?.timer);
    const save = () => {
      this.timers.delete(key);
      return this.set(id, { [what]: value }, { quietly: true });
    };
    this.timers.set(key, { timer: setTimeout(save, PAUSE), save, value });
  }

  /** A text as typed, saved or not. */
  typed(sentence, what) {
    return this.timers.get(`${sentence.id}|${what}`)?.value ?? sentence[what] ?? "";
  }

  /** Saves what was typed; resolves when it is stored. */
  flush() {
    return Promise.all([...this.timers.values()].map(({ timer, save }) => {
      clearTimeout(timer);
      return save();
    }));
  }

  async set(id, values, { quietly = false } = {}) {
    if (!quietly) this.flush();
    const row = this.rows.get(id);
    if (!row) return null;
    if ("text" in values && !values.text.trim()) return null; // emptied while rewriting: the stored text stays until there is a new one
    if (id === DRAFT) this.draft = { ...row, ...values };
    else this.bench.clip.expressions.set(id, { ...row, ...values });
    if (!quietly) this.show();
    if (!quietly || "object_ids" in values) this.bench.paintMasks();
    if (id !== DRAFT) return this.send(id, values);
    return "text" in values && !this.storing ? this.store() : null;
  }

  send(id, values) {
    return this.bench.run(this.bench.clip.change(`sentence: ${Object.keys(values).join(", ").replaceAll("_", " ")}`, [{ op: "expression.set", expression: id, ...values }]));
  }

  toggleObject(object) {
    const sentence = this.rows.get(this.opened);
    if (!sentence || !object) return void say("Open a sentence and select an object first.");
    const ids = sentence.object_ids ?? [];
    const order = [...this.bench.clip.objects.keys()];
    const next = ids.includes(object) ? ids.filter((id) => id !== object) : [...ids, object].sort((a, b) => order.indexOf(a) - order.indexOf(b));
    this.set(sentence.id, { object_ids: next.length ? next : null });
  }

  async ready() {
    const { opened } = this;
    await this.flush();
    const sentence = this.rows.get(opened === DRAFT ? (await this.stored) ?? DRAFT : opened);
    if (!sentence) return;
    if (!sentence.text.trim() || sentence.id === DRAFT) return void say("The sentence has no text yet.");
    if (sentence.object_ids === null) return void say("Say which objects it means, or that it has no target.");
    await this.set(sentence.id, { state: "ready" });
    if (this.opened !== sentence.id) return;
    this.opened = null;
    this.show();
    document.activeElement?.blur?.();
    say("Ready. T writes the next one.");
  }

  accept() {
    const sentence = this.rows.get(this.opened);
    if (!sentence) return;
    if (pending(sentence)) return void this.take(sentence.id);
    const [first] = this.waiting(sentence);
    if (first) this.take(first.id);
  }

  take(id) {
    return this.bench.run(this.bench.clip.change("paraphrase accepted", [{ op: "expression.accept", expression: id }]));
  }

  remove(id) {
    const pendingTimers = [...this.timers.keys()].filter((key) => key.startsWith(`${id}|`));
    for (const key of pendingTimers) {
      clearTimeout(this.timers.get(key).timer);
      this.timers.delete(key);
    }
    if (id === DRAFT) {
      if (this.storing) return null;
      this.draft = null;
      this.opened = null;
      return void this.show();
    }
    const machine = pending(this.rows.get(id) ?? {});
    return this.bench.run(this.bench.clip.change(machine ? "paraphrase declined" : "sentence deleted", [{ op: "expression.delete", expression: id }]));
  }

  async askParaphrases(sentence) {
    this.flush();
    const { bench } = this;
    const lines = el("textarea", { rows: 7, placeholder: "One paraphrase a line", "aria-label": "Paraphrases" });
    const file = el("input", { type: "file", accept: ".txt,text/plain", "aria-label": "Text file", on: { change: async () => (lines.value = (await file.files[0].text()).slice(0, 20000)) } });
    const count = el("input", { type: "number", min: 1, max: 20, value: 4, class: "frame-number", "aria-label": "How many" });
    const model = bench.features.paraphrase;
    const body = [el("p", {}, "They count as machine-made until a person accepts each one."), lines, field("From a file", file), model ? field("Or ask the model for", count) : el("p", { class: "hint" }, "Start the server with --paraphrase-url to ask a language model for them.")];
    const answer = await dialogue("Paraphrases", body, [["add", "Add these"], ...(model ? [["ask", "Ask the model"]] : []), ["", "Cancel"]]);
    await bench.clip.saved();
    if (answer === "add") {
      const texts = lines.value.split("\n").map((t) => t.trim()).filter(Boolean);
      if (texts.length) await this.storeParaphrases(sentence.id, { texts });
    } else if (answer === "ask") await this.storeParaphrases(sentence.id, { count: Number(count.value) });
  }

  async storeParaphrases(expression, what) {
    const { clip } = this.bench;
    const answer = await this.bench.run(api.post(`clips/${clip.key}/paraphrases`, { expression, ...what }));
    if (!answer) return;
    if (answer.job) await this.bench.run(api.finished(answer.job));
    await this.bench.run(clip.reload());
  }
}

const pending = (sentence) => sentence.origin === "machine" && !sentence.accepted_by;

function stateOf(sentence) {
  if (sentence.verdict) return el("span", { class: `tag ${sentence.verdict}` }, sentence.verdict);
  if (pending(sentence)) return el("span", { class: "tag machine" }, "machine-made");
  return el("span", { class: `tag ${sentence.state}` }, sentence.state);
}
