// Export: which clips are ready to leave, in which layout, what that layout loses, and what the checks say of the result.

import * as api from "./api.js";
import { megabytes } from "./add.js";
import { el, button, counted, icon, say } from "./dom.js";
import { Keys } from "./keys.js";
import { editSource, sourceState } from "./source.js";

const LAYOUTS = {
  native: ["Native", "Everything: not annotated against absent, groups, rationale, annotators, verdicts. Lossless."],
  reasonvos: ["ReasonVOS", "A folder of masks per object; questions about one object."],
  mevis: ["MeViS", "One file of sentences, one of masks; several objects per sentence."],
  "ref-youtube-vos": ["Ref-YouTube-VOS", "Palette pictures, so objects may not overlap."],
  "ref-davis17": ["Ref-DAVIS17", "Palette pictures, sentences per annotator and condition."],
};
const OTHERS = { revos: "ReVOS", "long-rvos": "Long-RVOS", groundmore: "GroundMoRe", reasonseg: "ReasonSeg", refcoco: "RefCOCO", "refcoco+": "RefCOCO+", refcocog: "RefCOCOg", refclef: "RefCLEF", "mp4-rle": "Video files with masks" };
const nameOf = (id) => LAYOUTS[id]?.[0] ?? OTHERS[id] ?? id;

export async function exportScreen(app) {
  const screen = new Exports(app);
  await screen.load();
  return screen;
}

class Exports {
  constructor(app) {
    this.app = app;
    this.title = "Export";
    this.className = "page";
    this.layout = "reasonvos";
    this.keys = new Keys([["Export", [[["?"], "This list", () => app.help()]]]]);
    app.help = () => this.keys.help();
    this.ready = el("section", {});
    this.result = el("section", { class: "export-result", "aria-live": "polite" });
    this.earlier = el("section", {});
    this.node = el("div", { class: "narrow" }, el("h1", {}, "Export"), el("p", { class: "lead" }, "Sentences that are ready, accepted where a machine wrote them, and not rejected. Every export is read back and checked."),
      this.ready, el("h2", {}, "Layout"), this.chooser(), this.result, this.earlier);
  }

  chooser() {
    const offered = (this.app.session.features.exports ?? Object.keys(LAYOUTS)).map((f) => f.id ?? f);
    if (!offered.includes(this.layout)) [this.layout] = offered;
    const radio = (id) => el("input", { type: "radio", name: "layout", value: id, checked: id === this.layout, on: { change: () => (this.layout = id) } });
    const main = offered.filter((id) => id in LAYOUTS).map((id) => el("label", { class: "layout" }, radio(id), el("span", {}, el("strong", {}, nameOf(id)), el("span", { class: "soft" }, LAYOUTS[id][1]))));
    const more = offered.filter((id) => !(id in LAYOUTS)).map((id) => el("label", { class: "check" }, radio(id), nameOf(id)));
    this.go = button("Export and check", () => this.start(), { class: "primary big" });
    return el("div", {}, el("div", { class: "layouts", role: "radiogroup", "aria-label": "Layout" }, main, more.length ? el("div", { class: "row more" }, el("span", { class: "soft" }, "Also:"), more) : null), this.go);
  }

  async load() {
    const [{ clips }, { exports }] = await Promise.all([api.get("clips"), api.get("exports")]);
    this.clips = clips;
    const wanting = clips.filter((c) => sourceState(c.source)[0] === "warning");
    this.ready.replaceChildren(wanting.length
      ? el("div", { class: "notice warning" }, icon("warning"), el("div", {}, el("p", {}, `Of ${counted(clips.length, "clip")}, ${wanting.length} without licence or a word on consent: `, wanting.slice(0, 6).map((c, i) => [i ? ", " : "", c.title || c.id]), wanting.length > 6 ? " …" : ""), button("State source and licence", () => this.sources(wanting), { class: "primary" })))
      : el("div", { class: "notice good" }, icon("check"), el("p", {}, `${counted(clips.filter((c) => c.n_expressions).length, "clip")} with ${counted(clips.reduce((n, c) => n + c.n_expressions, 0), "sentence")}; source and licence are stated.`)));
    exports.reverse();
    this.earlier.replaceChildren(...(exports.length ? [el("h2", {}, "Earlier exports"), el("ul", { class: "plain" }, exports.map((e) => el("li", {}, el("a", { href: `/api/exports/${encodeURIComponent(e.name)}`, download: e.name }, e.name), el("span", { class: "soft" }, ` ${megabytes(e.bytes)}`))))] : []));
  }

  async sources(clips) {
    try {
      if (await editSource(clips)) await this.load();
    } catch (error) {
      say(error.message, "error");
    }
  }

  async start() {
    this.go.disabled = true;
    const { layout } = this;
    const bar = el("progress");
    this.result.replaceChildren(el("div", { class: "job" }, bar, el("span", { class: "soft" }, "Writing and checking…")));
    try {
      const { job } = await api.post("exports", { format: layout });
      const done = await api.finished(job, (j) => j.total && Object.assign(bar, { max: j.total, value: j.done }));
      this.show(done.result, layout);
      this.result.scrollIntoView({ block: "nearest", behavior: "smooth" });
      await this.load();
    } catch (error) {
      this.result.replaceChildren(el("div", { class: "notice error", role: "alert" }, icon("warning"), el("p", {}, error.message)));
    } finally {
      this.go.disabled = false;
    }
  }

  show(result, layout) {
    const problems = result.problems ?? [];
    const losses = result.losses ?? [];
    const withheld = Object.entries(result.withheld ?? {});
    const bad = problems.filter((p) => p.severity === "error").length;
    this.result.replaceChildren(
      el("div", { class: `notice ${bad ? "error" : "good"}`, data: { export: layout, problems: problems.length, samples: result.n_expressions } }, icon(bad ? "warning" : "check"), el("div", {},
        el("p", {}, el("strong", {}, `${nameOf(layout)}: ${counted(result.n_expressions, "sample")} in ${counted(result.n_videos, "video")}. `), problems.length ? `Read back; the check found ${["error", "warning", "note"].map((s) => [problems.filter((p) => p.severity === s).length, s]).filter(([n]) => n).map(([n, s]) => counted(n, s)).join(", ")}.` : "Read back and checked: no problems."),
        el("p", {}, el("code", {}, result.path)), el("a", { class: "button", href: result.download, download: result.name }, "Download the zip"))),
      ...(problems.length ? [el("h3", {}, "What the check found"), el("ul", { class: "findings" }, problems.map((p) => el("li", { data: { severity: p.severity } }, el("strong", {}, `${p.place}: `), p.message, el("span", { class: "soft" }, ` ${p.cure}`))))] : []),
      ...(withheld.length ? [el("h3", {}, "Frames that are not passed on"), el("ul", { class: "plain" }, withheld.map(([clip, reason]) => el("li", {}, el("strong", {}, `${clip}: `), reason)))] : []),
      el("h3", {}, "What this layout cannot hold"),
      losses.length ? el("ul", { class: "plain" }, losses.map((loss) => el("li", {}, loss.replace(/^lost: /, "")))) : el("p", { class: "soft" }, "Nothing was lost."));
  }

  close() {
    this.keys.close();
  }
}
