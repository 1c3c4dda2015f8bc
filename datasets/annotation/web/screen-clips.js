// The project: its clips with their state, new clips, people and who does what.

import * as api from "./api.js";
import { Adder } from "./add.js";
import { el, button, choice, dialogue, field, say } from "./dom.js";
import { Keys } from "./keys.js";
import { editSource, sourceState } from "./source.js";

export async function clipsScreen(app) {
  const screen = new Clips(app);
  await screen.load();
  return screen;
}

class Clips {
  constructor(app) {
    this.app = app;
    this.title = app.session.project?.name ?? "Clips";
    this.className = "page";
    this.owner = app.session.person.role === "owner";
    this.search = el("input", { type: "search", placeholder: "Find a clip", "aria-label": "Find a clip", on: { input: () => this.showRows() } });
    this.status = choice([["", "All"], ["open", "Open"], ["done", "Done"], ["empty", "Without sentences"], ["waiting", "Paraphrases to accept"], ["rejected", "With rejected sentences"]], "", () => this.showRows(), { "aria-label": "Which clips" });
    this.count = el("span", { class: "soft" });
    this.body = el("tbody");
    this.progress = el("div", { class: "job", hidden: true });
    this.keys = new Keys([["Clips", [
      [["/"], "Find a clip", () => this.search.focus()],
      [["J", "↓"], "Next clip", () => this.walk(1)],
      [["K", "↑"], "Previous clip", () => this.walk(-1)],
      [["Enter"], "Open the clip"],
      [["?"], "This list", () => app.help()],
    ]]]);
    app.help = () => this.keys.help();
    this.adder = new Adder(app, () => this.clips.map((c) => c.id), (keys) => this.added(keys));
    this.first = el("div", {});
    this.whole = el("div", {},
      el("div", { class: "page-head" }, el("h1", {}, "Clips"), this.search, this.status, this.count, el("span", { class: "grow" }), this.owner ? [this.adder.choosers(), this.importer()] : null),
      el("div", { class: "scroll" }, el("table", { class: "clips" },
        el("thead", {}, el("tr", {}, ["", "Clip", "Frames", "Objects", "Sentences", "Accepted", "Source", "Assigned", "State"].map((h, i) => el("th", { scope: "col", class: i > 1 && i < 6 ? "number" : null }, h)))), this.body)));
    this.node = el("div", { class: "clips-page" }, this.progress, this.adder.node, this.first, this.whole, this.owner ? (this.people = el("section", { class: "people" })) : null);
    if (this.owner) this.adder.acceptDrops(this.node);
  }

  importer(kind = "") {
    const formats = this.app.session.features.imports ?? [];
    return formats.length ? button("Import a dataset…", () => this.run(() => this.importDataset(formats)), { class: kind }) : null;
  }

  /** What an owner sees of a project without clips. */
  welcome() {
    return el("section", { class: "welcome", "aria-label": "First steps" },
      el("h2", {}, "Add the first videos"),
      el("p", { class: "lead" }, "A folder with one picture a frame, or with a sub-folder for each clip; video files; zips of frames. They are copied into the project and go nowhere else."),
      el("div", { class: "row" }, this.adder.choosers()),
      el("p", { class: "soft" }, "… or drop them here. Masks that exist already: ", this.importer("link")),
      el("ol", { class: "steps" },
        [["Draw", "each object in a frame, then let it be followed through the video"], ["Write", "sentences that mean one, several or none of them"], ["Check", "what the page finds while you work; have others answer blindly and review"], ["Export", "a dataset in the layout you need, read back and checked"]]
          .map(([word, rest]) => el("li", {}, el("strong", {}, word), ` ${rest}.`))));
  }

  async run(action) {
    try {
      await action();
    } catch (error) {
      say(error.message, "error");
    } finally {
      this.progress.hidden = true;
    }
  }

  async load() {
    const requests = [api.get("clips"), ...(this.owner ? [api.get("people")] : [])];
    const [{ clips }, people] = await Promise.all(requests);
    this.clips = clips;
    const empty = this.owner && !clips.length;
    this.whole.hidden = empty;
    this.first.replaceChildren(...(empty ? [this.welcome()] : []));
    this.showRows();
    if (people) this.showPeople(people.people);
  }

  showRows() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const want = this.status.value;
    const fits = (c) => words.every((w) => `${c.id} ${c.title} ${c.source?.collection ?? ""}`.toLowerCase().includes(w)) &&
      (!want || c.state === want || (want === "empty" && !c.n_expressions) || (want === "waiting" && c.n_machine > 0) || (want === "rejected" && c.n_rejected > 0));
    const shown = this.clips.filter(fits);
    this.count.textContent = `${shown.length} of ${this.clips.length}`;
    this.body.replaceChildren(...(shown.length ? shown.map((c) => this.row(c)) : [el("tr", {}, el("td", { colspan: 9, class: "empty" }, this.clips.length ? "No clip fits." : "No clips yet; who started the server adds them."))]));
  }

  row(clip) {
    const [state, words] = sourceState(clip.source);
    const sentences = clip.n_machine ? `${clip.n_expressions} (${clip.n_machine} to accept)` : clip.n_expressions;
    const source = el("button", { type: "button", class: `link tag ${state}`, title: "Source, licence and consent", disabled: !this.owner && !clip.may_edit, on: { click: () => this.run(async () => (await editSource([clip], this.clips)) && this.load()) } }, words);
    return el("tr", {},
      el("td", { class: "thumbnail" }, el("img", { src: `/api/clips/${clip.key}/frames/0?width=160`, alt: "", loading: "lazy", width: 80, height: 45 })),
      el("th", { scope: "row" }, el("a", { href: `#/clip/${clip.key}` }, clip.title || clip.id), clip.title && clip.title !== clip.id ? el("span", { class: "soft" }, ` ${clip.id}`) : null, el("div", { class: "soft" }, clip.width ? `${clip.width} × ${clip.height}${clip.fps ? `, ${clip.fps} fps` : ""}` : "size unknown")),
      el("td", { class: "number" }, clip.n_frames), el("td", { class: "number" }, clip.n_objects), el("td", { class: "number" }, sentences),
      el("td", { class: "number" }, clip.n_accepted || "–", clip.n_rejected ? el("span", { class: "tag rejected" }, `${clip.n_rejected} rejected`) : null),
      el("td", {}, source),
      el("td", {}, clip.assigned?.length ? clip.assigned.map((a) => a.name).join(", ") : this.owner ? null : el("span", { class: "soft" }, "–"), this.owner ? el("button", { type: "button", class: "link", on: { click: () => this.run(() => this.assign(clip)) } }, clip.assigned?.length ? "change" : "assign…") : null),
      el("td", {}, el("span", { class: `tag ${clip.state}` }, clip.state)));
  }

  walk(by) {
    const links = [...this.body.querySelectorAll("th a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + by))]?.focus();
  }

  // New clips ---------------------------------------------------------------------------------------------------------

  show(words, done = 0, total = 0) {
    this.progress.hidden = false;
    this.progress.replaceChildren(el("progress", total ? { value: done, max: total } : {}), el("span", { class: "soft" }, words));
  }

  async added(keys) {
    await this.load();
    if (!keys.length) return;
    say(`${keys.length > 1 ? `${keys.length} clips are` : "The clip is"} there. Open one to draw and write.`);
    this.body.querySelector(`a[href="#/clip/${keys[0]}"]`)?.focus();
  }

  async importDataset(formats) {
    let format = formats[0].id ?? formats[0];
    const file = el("input", { type: "file", accept: ".zip", "aria-label": "Zip of the dataset" });
    const split = el("input", { "aria-label": "Split", maxlength: 60 });
    const pick = choice(formats.map((f) => [f.id ?? f, f.name ?? f]), format, (v) => (format = v), { "aria-label": "Layout" });
    const answer = await dialogue("Import a dataset", [el("p", {}, "A zip of the dataset's folder as it is published. Large sets are imported faster with ", el("code", {}, "rvos annotate import"), "."), field("Layout", pick), field("Split", split, "e.g. valid; empty: the layout's own choice"), field("Zip", file)], [["import", "Import"], ["", "Cancel"]]);
    if (answer !== "import" || !file.files.length) return;
    const [zipped] = file.files;
    const { job } = await api.upload(`imports${api.query({ format, split: split.value.trim() || null })}`, zipped, { progress: (done, total) => this.show(`Sending ${zipped.name}`, done, total) });
    const done = await api.finished(job, (j) => this.show(`Reading ${zipped.name}`, j.done, j.total));
    await this.added(done.result?.keys ?? []);
  }

  // People ------------------------------------------------------------------------------------------------------------

  showPeople(people) {
    this.everybody = people;
    const rows = people.filter((p) => !p.revoked).map((p) => el("tr", {}, el("th", { scope: "row" }, p.name), el("td", {}, p.role), el("td", { class: "number" }, p.n_changes ?? ""), el("td", {}, p.last_seen ? p.last_seen.replace("T", " ").slice(0, 16) : "never"),
      el("td", {}, p.role === "owner" ? null : [button("New link", () => this.run(async () => this.showLink(await api.post(`people/${p.id}/token`, {}), p.name)), { class: "link" }), " ", button("Remove", () => this.run(() => this.revoke(p)), { class: "link" })])));
    this.people.replaceChildren(
      el("div", { class: "page-head" }, el("h2", {}, "People"), el("span", { class: "grow" }), button("Invite…", () => this.run(() => this.invite()))),
      el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ["Name", "Role", "Changes", "Last seen", ""].map((h, i) => el("th", { scope: "col", class: i === 2 ? "number" : null }, h)))), el("tbody", {}, rows))));
  }

  async invite() {
    let role = "author";
    const name = el("input", { "aria-label": "Name", maxlength: 80, required: true });
    const roles = choice([["author", "Author: draws and writes"], ["blind", "Blind: picks the object from the sentence alone"], ["reviewer", "Reviewer: accepts and rejects"]], role, (v) => (role = v), { "aria-label": "Role" });
    const answer = await dialogue("Invite", [field("Name", name), field("Role", roles)], [["invite", "Make a link"], ["", "Cancel"]]);
    if (answer !== "invite" || !name.value.trim()) return;
    this.showLink(await api.post("people", { name: name.value.trim(), role }), name.value.trim());
    await this.load();
  }

  async showLink({ link }, name) {
    const box = el("input", { value: link, readonly: true, "aria-label": "Link", class: "wide", on: { focus: () => box.select() } });
    await dialogue(`Link for ${name}`, [el("p", {}, "It is shown once. Whoever has it is ", name, "."), box], [["ok", "Done"]]);
  }

  async revoke(person) {
    const answer = await dialogue(`Remove ${person.name}?`, el("p", {}, "The link stops working; what the person did stays."), [["remove", "Remove"], ["", "Cancel"]]);
    if (answer !== "remove") return;
    await api.remove(`people/${person.id}`);
    await this.load();
  }

  async assign(clip) {
    const people = (this.everybody ?? []).filter((p) => !p.revoked && p.role !== "owner");
    if (!people.length) return void say("Invite somebody first.");
    const boxes = people.map((p) => el("input", { type: "checkbox", checked: clip.assigned.some((a) => a.person === p.id) }));
    const answer = await dialogue(`Who works on ${clip.title || clip.id}?`, el("div", { class: "checks" }, people.map((p, i) => el("label", { class: "check" }, boxes[i], `${p.name} (${p.role})`))), [["ok", "Assign"], ["", "Cancel"]]);
    if (answer !== "ok") return;
    for (const [i, person] of people.entries()) {
      const before = clip.assigned.some((a) => a.person === person.id);
      if (boxes[i].checked !== before) await api.put("assignments", { person: person.id, clip: clip.key, state: boxes[i].checked ? "open" : null });
    }
    await this.load();
  }

  close() {
    this.keys.close();
  }
}
