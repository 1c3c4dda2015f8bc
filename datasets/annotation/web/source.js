// Where a clip comes from: licence, consent, and whether its frames may be passed on. Nothing is exported without them.

import * as api from "./api.js";
import { el, choice, dialogue, field } from "./dom.js";

/** [level, words] for a clip's source. */
export function sourceState(source) {
  const missing = ["licence", "consent"].filter((name) => !source?.[name]);
  if (missing.length) return ["warning", `${missing.join(" and ")} missing`];
  return ["plain", source.licence];
}

const COPY = [["", "not stated"], ["true", "yes"], ["false", "no: export annotations only"]];

/** Asks for the source of `clips`, and stores it for them or for all that have none; whether anything was stored. */
export async function editSource(clips, all = clips) {
  const given = clips[0].source ?? {};
  const text = (name, label, hint = "") => {
    const input = el("input", { value: given[name] ?? "", "aria-label": label, maxlength: 1000, name });
    return [name, input, field(label, input, hint)];
  };
  const rows = [
    text("collection", "Collection", "own recording, MOSE, …"), text("licence", "Licence", "e.g. CC BY 4.0"), text("licence_url", "Address of the licence"),
    text("consent", "Consent", "who is seen and that they agreed, or “public data set, see licence”"), text("url", "Address of the source"), text("citation", "Citation"),
  ];
  let copy = given.may_copy_frames === null || given.may_copy_frames === undefined ? "" : String(given.may_copy_frames);
  const may = choice(COPY, copy, (v) => (copy = v), { "aria-label": "Frames may be passed on" });
  const others = all.filter((c) => !clips.includes(c) && c.may_edit !== false && sourceState(c.source)[0] === "warning");
  const too = el("input", { type: "checkbox", checked: false });
  const answer = await dialogue(
    clips.length > 1 ? `Source of ${clips.length} clips` : `Source of ${clips[0].title || clips[0].id}`,
    el("div", { class: "form" }, rows.map(([, , row]) => row), field("Frames may be passed on", may), others.length ? el("label", { class: "check" }, too, `also for the ${others.length} other clips without licence or consent`) : null),
    [["save", "Save"], ["", "Cancel"]],
  );
  if (answer !== "save") return false;
  const source = Object.fromEntries(rows.map(([name, input]) => [name, input.value.trim()]));
  source.may_copy_frames = copy === "" ? null : copy === "true";
  for (const clip of [...clips, ...(too.checked ? others : [])]) {
    await api.post(`clips/${clip.key}/changes`, { label: "source", ops: [{ op: "clip.set", base: clip.revision, source }], batch: null });
  }
  return true;
}
