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

/** The fields of a source: {node, values()}. */
export function sourceForm(given) {
  const text = (name, label, hint = "") => {
    const input = el("input", { value: given[name] ?? "", "aria-label": label, maxlength: 1000, name, placeholder: hint });
    return [name, input, field(label, input)];
  };
  const rows = [
    text("licence", "Licence", "e.g. CC BY 4.0"), text("consent", "Consent", "who is seen and that they agreed, or “public data set, see licence”"),
    text("collection", "Collection", "own recording, MOSE, …"), text("url", "Address of the source"), text("licence_url", "Address of the licence"), text("citation", "Citation"),
  ];
  let copy = given.may_copy_frames === null || given.may_copy_frames === undefined ? "" : String(given.may_copy_frames);
  const may = field("Frames may be passed on", choice(COPY, copy, (v) => (copy = v), { "aria-label": "Frames may be passed on" }));
  const [licence, consent, ...more] = rows.map(([, , row]) => row);
  return {
    node: el("div", { class: "form" }, licence, consent, may, more),
    values: () => ({ ...Object.fromEntries(rows.map(([name, input]) => [name, input.value.trim()])), may_copy_frames: copy === "" ? null : copy === "true" }),
  };
}

/** Asks for the source of `clips`, and stores it for them or for all that have none; whether anything was stored. */
export async function editSource(clips, all = clips) {
  const form = sourceForm(clips[0].source ?? {});
  const others = all.filter((c) => !clips.includes(c) && c.may_edit !== false && sourceState(c.source)[0] === "warning");
  const too = el("input", { type: "checkbox", checked: false });
  const answer = await dialogue(
    clips.length > 1 ? `Source of ${clips.length} clips` : `Source of ${clips[0].title || clips[0].id}`,
    [form.node, others.length ? el("label", { class: "check" }, too, `also for the ${others.length} other clips without licence or consent`) : null],
    [["save", "Save"], ["", "Cancel"]],
  );
  if (answer !== "save") return false;
  const source = form.values();
  for (const clip of [...clips, ...(too.checked ? others : [])]) {
    await api.post(`clips/${clip.key}/changes`, { label: "source", ops: [{ op: "clip.set", base: clip.revision, source }], batch: null });
  }
  return true;
}
