// New clips from the disk – folders of frames, video files, zips – chosen or dropped; what became of each is shown.

import * as api from "./api.js";
import { button, counted, dialogue, el, icon } from "./dom.js";
import { sourceForm } from "./source.js";
import { zip } from "./zip.js";

const PICTURES = /\.(jpe?g|png|bmp|webp)$/i;
const VIDEOS = /\.(mp4|m4v|mov|mkv|webm|avi)$/i;
const ZIPS = /\.zip$/i;
const FALLBACK = "rvos annotate add PROJECT --videos FOLDER";

/**
 * The clips that files make: each folder of pictures is one, each video file and each zip.
 * @param {{path: string, file: File}[]} files
 * @returns {{clips: {name, kind, files: {path, file}[], bytes}[], ignored: number}}
 */
export function clipsIn(files) {
  const folders = new Map();
  const clips = [];
  let ignored = 0;
  for (const one of files) {
    const parts = one.path.split("/");
    if (parts.some((part) => part.startsWith("."))) ignored += 1; // .DS_Store and the like
    else if (PICTURES.test(one.path)) {
      const folder = parts.slice(0, -1).join("/");
      folders.set(folder, [...(folders.get(folder) ?? []), one]);
    } else if (VIDEOS.test(one.path) || ZIPS.test(one.path)) clips.push(clip(parts.at(-1).replace(/\.[^.]+$/, ""), ZIPS.test(one.path) ? "zip" : "video", [one]));
    else ignored += 1;
  }
  for (const [folder, members] of folders) clips.push(clip(folder.split("/").at(-1) || "frames", "frames", members));
  clips.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  return { clips, ignored };
}

const clip = (name, kind, files) => ({ name: plainName(name), kind, files, bytes: files.reduce((sum, { file }) => sum + file.size, 0) });

/** A name that the server takes: letters, digits, '-', '_' and '.', first a letter or digit. */
export const plainName = (name) => name.normalize("NFKD").replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[^A-Za-z0-9]+|-+$/g, "").slice(0, 120) || "clip";

/** `name`, or `name-2`, `name-3`, … where it is taken. */
function freeName(name, taken) {
  let free = name;
  for (let i = 2; taken.has(free); i++) free = `${name}-${i}`;
  taken.add(free);
  return free;
}

export class Adder {
  /** @param {() => string[]} names of the clips that are there @param {(added: object[]) => Promise} done */
  constructor(app, names, done) {
    Object.assign(this, { app, names, done });
    this.inputs = [this.input("Add a folder of frames", { webkitdirectory: true }), this.input("Add videos or zips", { accept: ".zip,video/*,.mkv,.avi" })];
    this.list = el("ul", { class: "uploads", "aria-live": "polite", hidden: true });
    this.node = el("div", {}, this.inputs, this.list);
  }

  /** Buttons that choose files; they may stand in several places. */
  choosers() {
    return this.inputs.map((input, i) => button(input.getAttribute("aria-label"), () => input.click(), { class: i ? "" : "primary" }));
  }

  input(label, properties) {
    const input = el("input", { type: "file", class: "visually-hidden", tabindex: "-1", "aria-label": label, multiple: true, ...properties, on: { change: () => {
      const files = [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
      input.value = ""; // the same folder may be chosen again
      this.offer(files);
    } } });
    return input;
  }

  /** Files and folders may be dropped on `node`. */
  acceptDrops(node) {
    const marked = (on) => (event) => {
      if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
      event.preventDefault();
      node.classList.toggle("dropping", on);
    };
    node.addEventListener("dragover", marked(true));
    node.addEventListener("dragleave", (event) => node.contains(event.relatedTarget) || marked(false)(event));
    node.addEventListener("drop", async (event) => {
      marked(false)(event);
      const items = [...event.dataTransfer.items].filter((item) => item.kind === "file").map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
      const found = await Promise.all(items.map(([entry, file]) => (entry ? filesOf(entry) : [{ path: file.name, file }])));
      this.offer(found.flat());
    });
  }

  /** Says what the files hold, asks for names, licence and consent, and adds them. */
  async offer(files) {
    const { clips, ignored } = clipsIn(files);
    if (!clips.length) {
      const body = [el("p", {}, files.length ? `None of the ${counted(files.length, "file")} is a picture (JPEG, PNG), a video or a zip.` : "The folder is empty."), el("p", { class: "soft" }, "Give a folder with one picture a frame, or with a sub-folder for each clip; a video file (mp4, mov, mkv, webm, avi); or a zip of frames.")];
      return void (await dialogue("Nothing to add", body));
    }
    const taken = new Set(this.names());
    const rows = clips.map((one) => this.offered(one, taken));
    const source = sourceForm({});
    const body = [
      el("div", { class: "scroll" }, el("table", { class: "offered" }, el("thead", {}, el("tr", {}, ["Clip", "Holds", "Size"].map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, rows))),
      ignored ? el("p", { class: "hint" }, `${counted(ignored, "other file")} left out.`) : null,
      el("h3", {}, clips.length > 1 ? "Where they come from" : "Where it comes from"),
      el("p", { class: "hint" }, "May also be stated later, for each clip by itself; without licence and consent nothing is exported."),
      source.node,
    ];
    const answer = await dialogue(`Add ${counted(clips.length, "clip")}`, body, [["add", `Add ${counted(clips.length, "clip")}`], ["", "Cancel"]]);
    if (answer === "add") await this.add(clips, source.values());
  }

  offered(one, taken) {
    one.name = freeName(one.name, taken);
    const name = el("input", { value: one.name, maxlength: 120, "aria-label": "Name of the clip", on: { change: () => {
      taken.delete(one.name);
      one.name = freeName(plainName(name.value), taken);
      name.value = one.name;
    } } });
    const holds = { frames: counted(one.files.length, "frame"), video: "a video file", zip: "a zip of frames" }[one.kind];
    return el("tr", {}, el("td", {}, name), el("td", {}, holds), el("td", { class: "number" }, megabytes(one.bytes)));
  }

  async add(clips, source) {
    this.list.hidden = false;
    const rows = clips.map((one) => new Upload(one));
    this.list.replaceChildren(...rows.map((row) => row.node));
    const added = [];
    for (const row of rows) added.push(...await row.run(source, this.app.session.limits.upload_bytes));
    await this.done(added);
    if (rows.every((row) => row.state === "done")) this.list.hidden = true;
  }
}

/** One clip on its way: packed, sent, read by the server. */
class Upload {
  constructor(one) {
    this.one = one;
    this.state = "waiting";
    this.aborts = new AbortController();
    this.bar = el("progress", { "aria-label": `Progress of ${one.name}`, value: 0, max: 1 });
    this.words = el("span", { class: "soft" }, "waiting");
    this.stop = button("Cancel", () => this.cancel(), { class: "link" });
    this.node = el("li", { data: { state: "waiting" } }, el("strong", {}, one.name), this.bar, this.words, this.stop);
  }

  show(words, done = 0, total = 0) {
    this.words.textContent = words;
    if (total) Object.assign(this.bar, { value: done, max: total });
    else this.bar.removeAttribute("value");
  }

  end(state, words) {
    this.state = state;
    this.node.dataset.state = state;
    this.bar.hidden = true;
    this.stop.hidden = true;
    this.words.replaceChildren(icon(state === "done" ? "check" : "warning"), ` ${words}`);
    if (state === "failed") this.words.setAttribute("role", "alert");
  }

  cancel() {
    this.aborts.abort();
    if (this.job) api.remove(`jobs/${this.job}`);
  }

  /** The clips that came of it; none where it failed, which the row then says. */
  async run(source, mostBytes) {
    if (this.aborts.signal.aborted) return this.end("cancelled", "cancelled") ?? [];
    try {
      const job = await this.send(mostBytes);
      const keys = job.result?.keys ?? [];
      for (const key of keys) await state(key, source);
      this.end("done", keys.length > 1 ? `${keys.length} clips added` : "added");
      return keys;
    } catch (error) {
      this.end(this.aborts.signal.aborted ? "cancelled" : "failed", this.aborts.signal.aborted ? "cancelled" : error.message);
      return [];
    }
  }

  async send(mostBytes) {
    const { name, kind, files } = this.one;
    if (this.one.bytes > mostBytes) throw new Error(`${megabytes(this.one.bytes)} are more than the browser may send (${megabytes(mostBytes)}); use: ${FALLBACK}`);
    const body = kind === "frames" ? await this.pack(files) : files[0].file;
    const path = `clips${api.query({ name, kind: kind === "video" ? "video" : "zip" })}`;
    const progress = (done, total) => this.show(done < total ? `sending, ${Math.floor((100 * done) / total)} %` : "received; reading…", done, total);
    const { job } = await api.upload(path, body, { progress, signal: this.aborts.signal });
    this.job = job.id;
    return api.finished(job, (j) => this.show(j.total ? `reading frame ${j.done} of ${j.total}` : "reading…", j.done, j.total));
  }

  pack(files) {
    const members = files.map(({ path, file }) => ({ name: path.split("/").at(-1), file }));
    return zip(members, (done, total) => {
      this.aborts.signal.throwIfAborted();
      this.show(`packing frame ${done} of ${total}`, done, total);
    });
  }
}

/** States a clip's source, where anything of it was given. */
async function state(key, source) {
  if (!Object.values(source).some((value) => value !== "" && value !== null)) return;
  const { clip: row } = await api.get(`clips/${key}`);
  await api.post(`clips/${key}/changes`, { label: "source", ops: [{ op: "clip.set", base: row.revision, source }], batch: null });
}

/** The files of what was dropped, each with its path. */
async function filesOf(entry) {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) return [{ path, file: await new Promise((done, failed) => entry.file(done, failed)) }];
  const reader = entry.createReader();
  const found = [];
  for (let some = [null]; some.length;) { // a reader gives a hundred at a time
    some = await new Promise((done, failed) => reader.readEntries(done, failed));
    found.push(...some);
  }
  return (await Promise.all(found.map(filesOf))).flat();
}

export const megabytes = (bytes) => (bytes > 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(bytes > 2 ** 24 ? 0 : 1)} MB` : `${Math.max(1, Math.round(bytes / 1024))} kB`);
