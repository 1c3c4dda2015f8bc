// Somebody else – another person, another tab – changed the same thing first. Nothing was overwritten; the person decides.

import { el, dialogue } from "./dom.js";
import { areaOfRuns, decode, runsOfCounts } from "./rle.js";

export async function askConflict(bench, { item, conflicts, decide }) {
  const { by } = conflicts[0];
  const who = by === bench.app.session.person.name ? "You, in another tab or window," : by || "Somebody else";
  const answer = await dialogue(
    "Changed in the meantime",
    [el("p", {}, `${who} changed this ${words(conflicts[0].kind)} while yours (“${item.label}”) was on its way. Neither is lost yet: which shall stay?`), conflicts.slice(0, 3).map((c) => compare(bench, item, c))],
    [["theirs", "Keep theirs"], ["mine", "Keep mine"]],
  );
  decide(answer === "mine"); // Escape keeps what is stored
}

const words = (kind) => ({ mask: "mask", object: "object", expression: "sentence", clip: "clip" })[kind];

function compare(bench, item, conflict) {
  const op = item.ops[conflict.op];
  if (conflict.kind === "mask") {
    const object = bench.clip.objects.get(conflict.id);
    return el("figure", { class: "versions" },
      el("figcaption", {}, `${object?.name ?? conflict.id}, frame ${conflict.frame + 1}`),
      version("Mine", picture(bench, op.counts, object)), version("Theirs", picture(bench, conflict.current?.counts ?? null, object)));
  }
  const keys = Object.keys(op).filter((k) => !["op", "base", "expression", "object", "other", "temp"].includes(k));
  return el("figure", { class: "versions" },
    version("Mine", el("p", {}, keys.length ? keys.map((k) => text(op[k])).join(" · ") : item.label)),
    version("Theirs", el("p", {}, conflict.current ? keys.map((k) => text(conflict.current[k])).join(" · ") || conflict.current.text || conflict.current.name || "changed" : "deleted")));
}

const text = (value) => (Array.isArray(value) ? value.join(", ") || "no target" : value === null || value === "" ? "–" : String(value));
const version = (title, content) => el("div", {}, el("strong", {}, title), content);

/** The mask, small. */
function picture(bench, counts, object) {
  if (!counts) return el("p", {}, counts === "" ? "absent" : "no mask");
  const { height, width } = bench.clip.info;
  const mask = decode(counts, bench.clip.size);
  const canvas = el("canvas", { role: "img", "aria-label": `${areaOfRuns(runsOfCounts(counts, bench.clip.size))} pixels` });
  const scale = Math.min(1, 220 / width);
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  if (bench.stage.frame && !bench.stage.closed) context.drawImage(bench.stage.frame, 0, 0, canvas.width, canvas.height);
  context.fillStyle = object?.colour ?? "#ffffff";
  context.globalAlpha = 0.7;
  for (let x = 0; x < canvas.width; x++) {
    for (let y = 0; y < canvas.height; y++) {
      if (mask[Math.min(width - 1, Math.floor(x / scale)) * height + Math.min(height - 1, Math.floor(y / scale))]) context.fillRect(x, y, 1, 1);
    }
  }
  return canvas;
}
