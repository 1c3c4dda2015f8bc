// The report: how far the project is, and what people measured – or that nobody has measured it yet.

import * as api from "./api.js";
import { el } from "./dom.js";
import { Keys } from "./keys.js";

const COUNTS = [["n_objects", "Objects"], ["n_expressions", "Sentences"], ["n_drafts", "Drafts"], ["n_machine", "To accept"], ["n_accepted", "Accepted"], ["n_rejected", "Rejected"], ["n_answers", "Blind answers"]];

export async function reportScreen(app) {
  const { status, agreement, problems } = await api.get("report");
  const keys = new Keys([["Report", [[["?"], "This list", () => app.help()]]]]);
  app.help = () => keys.help();
  const node = el("div", { class: "narrow" },
    el("h1", {}, "Report"),
    el("div", { class: "tiles" }, tile("Clips", status.clips.length), COUNTS.map(([name, words]) => tile(words, sum(status.clips, name))), tile("Errors found", problems.error ?? 0, problems.error ? "error" : ""), tile("Warnings", problems.warning ?? 0)),
    el("h2", {}, "What people pick from the sentence alone"),
    el("p", { class: "lead" }, "Blind annotators choose the object first from one frame, then from the video. Where one frame is enough, the sentence does not need the video; the second line is the human ceiling."),
    table(["", "Accuracy", "Chance", "Corrected for chance", "Alpha", "Answers", "People", "Sentences"], [accuracy("From one frame", agreement.one_frame), accuracy("From the video (human ceiling)", agreement.video)]),
    el("h2", {}, "Agreement between annotators"),
    table(["", "J", "F", "Alpha", "Made of"], [masks(agreement.masks), verdicts(agreement)]),
    perClip(agreement.clips ?? {}),
    el("h2", {}, "People"),
    table(["", "Role", "Clips", "Done", "Answers"], status.people.filter((p) => !p.revoked).map((p) => person(p, status.assignments))),
  );
  return { node, title: "Report", className: "page", close: () => keys.close() };
}

const sum = (rows, name) => rows.reduce((total, row) => total + row[name], 0);
const tile = (name, value, level = "") => el("div", { class: `tile ${level}` }, el("strong", {}, value), el("span", {}, name));
const measured = (value) => typeof value === "number";
const percent = (value) => (measured(value) ? `${(100 * value).toFixed(1)} %` : "not measured");
const number = (value) => (measured(value) ? value.toFixed(3) : "not measured");

function table(heads, rows) {
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((h, i) => el("th", { scope: "col", class: i ? "number" : null }, h)))), el("tbody", {}, rows)));
}

function row(name, values, columns) {
  const cells = values.length ? values.map((v) => el("td", { class: `number ${v === "not measured" ? "soft" : ""}` }, v)) : el("td", { colspan: columns, class: "soft" }, "not measured: nobody has answered yet");
  return el("tr", {}, el("th", { scope: "row" }, name), cells);
}

const accuracy = (name, m) => row(name, m.n_answers ? [percent(m.accuracy), percent(m.chance), percent(m.corrected), number(m.alpha), m.n_answers, m.n_people, m.n_sentences] : [], 7);
const masks = (m) => row("Masks of one object drawn twice", [percent(m.J), percent(m.F), "–", `${m.n_pairs} second drawings, ${m.n_frames} frames`]);
const verdicts = (a) => row("Verdicts of reviewers", ["–", "–", number(a.verdict_alpha), `${a.n_verdicts} verdicts`]);

function perClip(clips) {
  const rows = Object.entries(clips).flatMap(([id, stages]) => Object.entries(stages).map(([stage, m]) => accuracy(`${id}, ${stage === "video" ? "video" : "one frame"}`, m)));
  return rows.length ? [el("h2", {}, "By clip"), table(["", "Accuracy", "Chance", "Corrected for chance", "Alpha", "Answers", "People", "Sentences"], rows)] : null;
}

function person(p, assignments) {
  const own = assignments.filter((a) => a.person === p.id);
  const answers = p.n_asked === null ? "–" : `${p.n_answers} of ${p.n_asked}`;
  return row(p.name, [p.role, own.length || "–", own.filter((a) => a.state === "done").length || "–", answers]);
}
