// The report: what was measured, by how many people, and what was not measured yet.

import * as api from "./api.js";
import { el } from "./dom.js";
import { Keys } from "./keys.js";

export async function reportScreen(app) {
  const report = await api.get("report");
  const keys = new Keys([["Report", [[["?"], "This list", () => app.help()]]]]);
  app.help = () => keys.help();
  const { measures, agreement, problems, status } = report;
  const node = el("div", { class: "narrow" },
    el("h1", {}, "Report"),
    el("div", { class: "tiles" }, Object.entries(status ?? {}).filter(([, v]) => typeof v === "number").map(([name, value]) => tile(words(name), value)), tile("Errors found", problems?.error ?? 0, problems?.error ? "error" : ""), tile("Warnings", problems?.warning ?? 0)),
    el("h2", {}, "What people pick from the sentence alone"),
    el("p", { class: "lead" }, "Blind annotators choose the object first from one frame, then from the video. Where one frame is enough, the sentence does not need the video; the second number is the human ceiling."),
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ["", "Accuracy", "95 % interval", "Chance", "Corrected for chance", "Answers", "People"].map((h, i) => el("th", { scope: "col", class: i ? "number" : null }, h)))),
      el("tbody", {}, measure("From one frame", measures?.answerable_from_one_frame), measure("From the video (human ceiling)", measures?.human_ceiling)))),
    el("h2", {}, "Agreement"),
    agreementTable(agreement),
  );
  return { node, title: "Report", className: "page", close: () => keys.close() };
}

const words = (name) => {
  const text = name.replace(/^n_/, "").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
};

const tile = (name, value, level = "") => el("div", { class: `tile ${level}` }, el("strong", {}, value), el("span", {}, name));
const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "–");

function measure(name, m) {
  if (!m || m.state === "not measured") return el("tr", {}, el("th", { scope: "row" }, name), el("td", { colspan: 6, class: "soft" }, "not measured: no blind annotator has answered yet"));
  const interval = m.interval ? `${percent(m.interval[0])} – ${percent(m.interval[1])}` : "–";
  return el("tr", {}, el("th", { scope: "row" }, name), [percent(m.accuracy), interval, percent(m.chance), percent(m.corrected), m.n, m.n_people].map((v) => el("td", { class: "number" }, v ?? "–")));
}

/** Any nested report as rows: numbers of the agreement report have names of their own. */
function agreementTable(agreement) {
  if (!agreement || agreement.state === "not measured") return el("p", { class: "soft" }, "Not measured: no object was drawn by two people, and no sentence was answered by two.");
  const rows = [];
  const walk = (value, path) => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) for (const [key, v] of Object.entries(value)) walk(v, [...path, key]);
    else if (!Array.isArray(value)) rows.push([path.map(words).join(" · "), value]);
  };
  walk(agreement, []);
  return el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, rows.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : value ?? "not measured"))))));
}
