// Export: which clips are ready to leave, in which layout, what that layout loses, and what the checks say of the result.

import * as api from "./api.js";
import { el, button, icon, say } from "./dom.js";
import { Keys } from "./keys.js";
import { editSource, sourceState } from "./source.js";

const LAYOUTS = {
  native: ["Native", "Everything: not annotated against absent, groups, rationale, annotators, verdicts. Lossless."],
  reasonvos: ["ReasonVOS", "One folder of masks per object, one question per object."],
  mevis: ["MeViS", "One JSON of expressions, one of masks; several objects per expression."],
  "ref-youtube-vos": ["Ref-YouTube-VOS", "Palette PNGs; objects may not overlap."],
  "ref-davis17": ["Ref-DAVIS17", "Palette PNGs and sentence files per annotator."],
};

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
    const radios = offered.map((id) => {
      const [name, words] = LAYOUTS[id] ?? [id, ""];
      return el("label", { class: "layout" }, el("input", { type: "radio", name: "layout", value: id, checked: id === this.layout, on: { change: () => (this.layout = id) } }), el("span", {}, el("strong", {}, name), el("span", { class: "soft" }, words)));
    });
    this.go = button("Export and check", () => this.start(), { class: "primary big" });
    return el("div", {}, el("div", { class: "layouts", role: "radiogroup", "aria-label": "Layout" }, radios), this.go);
  }

  async load() {
    const [{ clips }, { exports }] = await Promise.all([api.get("clips"), api.get("exports")]);
    this.clips = clips;
    const wanting = clips.filter((c) => c.n_expressions && sourceState(c.source)[0] === "warning");
    this.ready.replaceChildren(wanting.length
      ? el("div", { class: "notice warning" }, icon("warning"), el("div", {}, el("p", {}, `${wanting.length} of ${clips.length} clips have no licence or no word on consent, and are refused: `, wanting.slice(0, 6).map((c, i) => [i ? ", " : "", c.title || c.id]), wanting.length > 6 ? " …" : ""), button("State source and licence", () => this.sources(wanting), { class: "primary" })))
      : el("div", { class: "notice good" }, icon("check"), el("p", {}, `${clips.filter((c) => c.n_expressions).length} clips with ${clips.reduce((n, c) => n + c.n_expressions, 0)} sentences; source and licence are stated.`)));
    this.earlier.replaceChildren(...(exports.length ? [el("h2", {}, "Earlier exports"), el("ul", { class: "plain" }, exports.map((e) => el("li", {}, el("a", { href: `/api/exports/${encodeURIComponent(e.name)}`, download: e.name }, e.name), el("span", { class: "soft" }, ` ${size(e.bytes)}, ${String(e.created).replace("T", " ").slice(0, 16)}`))))] : []));
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
      const { job } = await api.post("exports", { format: layout, options: {} });
      const done = await api.finished(job, (j) => j.total && Object.assign(bar, { max: j.total, value: j.done }));
      this.show(done.result, layout);
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
    const bad = problems.filter((p) => (p.severity ?? "error") === "error").length;
    this.result.replaceChildren(
      el("div", { class: `notice ${bad ? "error" : "good"}`, data: { export: layout, problems: problems.length, samples: result.n_samples } }, icon(bad ? "warning" : "check"), el("div", {},
        el("p", {}, el("strong", {}, `${LAYOUTS[layout]?.[0] ?? layout}: ${result.n_samples} samples. `), problems.length ? `The check found ${problems.length} ${problems.length > 1 ? "problems" : "problem"}.` : "Read back and checked: no problems."),
        el("p", {}, el("code", {}, result.path)), el("a", { class: "button", href: result.download, download: result.name }, "Download the zip"))),
      ...(problems.length ? [el("h3", {}, "Problems"), el("ul", { class: "findings" }, problems.map((p) => el("li", { data: { severity: p.severity ?? "error" } }, p.message ?? String(p), p.next_step ? el("span", { class: "soft" }, ` ${p.next_step}`) : null)))] : []),
      el("h3", {}, "What this layout cannot hold"),
      losses.length ? el("ul", { class: "plain" }, losses.map((loss) => el("li", {}, loss))) : el("p", { class: "soft" }, "Nothing was lost."));
  }

  close() {
    this.keys.close();
  }
}

const size = (bytes) => (bytes > 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1024))} kB`);
