// Elements. Text is only ever set as text: nothing here, and nothing that uses it, parses HTML.

import { inkOn } from "./colours.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element. Properties: `class`, `on: {event: handler}`, `data: {name: value}`, attributes; false and null are left out. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else if (["value", "checked", "selected", "disabled", "hidden", "indeterminate"].includes(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false).map(childNode));
  return node;
}

const childNode = (child) => (child instanceof Node ? child : document.createTextNode(String(child)));

const ICONS = {
  brush: ["M14.5 3.5l2 2-7 7-2.5.5.5-2.5z", "M7 13c-1.5 0-2 1-2 2s-1 1.5-2 1.5c1 .8 4.5 1 5.5-1 .4-1-.4-2.5-1.5-2.5z"],
  eraser: ["M8 16.5h8.5", "M3.5 12l6-7.5 6 5-5 7h-3.5z", "M6.5 8.3l6 5"],
  polygon: ["M4 6l6-3 6 5-3 8-8-1z"],
  fill: ["M9 3l6.5 6.5-6 6L3.5 9.5z", "M3.5 9.5h12", "M17 12.5c1 1.5 1.5 2.200 1.5 3a1.5 1.5 0 0 1-3 0c0-.8.5-1.5 1.5-3z"],
  box: ["M4 5h12v10H4z"],
  wand: ["M4 16l8-8", "M14 3v3M12.5 4.5h3M16.5 8v2M15.5 9h2M9 3.5v2M8 4.5h2"],
  select: ["M5 3l10 7-4.5 1 2.5 5-2 1-2.5-5L5 15z"],
  undo: ["M7 5L3.5 8.5 7 12", "M4 8.5h8a4 4 0 0 1 0 8H9"],
  redo: ["M13 5l3.5 3.5L13 12", "M16 8.5H8a4 4 0 0 0 0 8h3"],
  eye: ["M2.5 10s3-5 7.5-5 7.5 5 7.5 5-3 5-7.5 5-7.5-5-7.5-5z", "M10 8a2 2 0 1 1 0 4 2 2 0 0 1 0-4z"],
  hidden: ["M2.5 10s3-5 7.5-5 7.5 5 7.5 5-3 5-7.5 5-7.5-5-7.5-5z", "M4 16L16 4"],
  plus: ["M10 4v12M4 10h12"],
  more: ["M5 10h.01M10 10h.01M15 10h.01"],
  play: ["M6 4l9 6-9 6z"],
  pause: ["M7 4v12M13 4v12"],
  forward: ["M4 10h11", "M11 6l4 4-4 4"],
  backward: ["M16 10H5", "M9 6l-4 4 4 4"],
  first: ["M5 5v10", "M15 5l-7 5 7 5z"],
  last: ["M15 5v10", "M5 5l7 5-7 5z"],
  close: ["M5 5l10 10M15 5L5 15"],
  check: ["M4 10.5l4 4 8-9"],
  fit: ["M3.5 7V3.5H7M13 3.5h3.5V7M16.5 13v3.5H13M7 16.5H3.5V13"],
  contour: ["M10 3.5c4 0 6.5 2.5 6.5 6s-3 7-6.5 7-6.5-3-6.5-7 2.5-6 6.5-6z"],
  theme: ["M10 3a7 7 0 1 0 0 14z", "M10 3a7 7 0 0 1 0 14"],
  help: ["M7.5 7.5a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.700", "M10 14.5h.01"],
  cut: ["M3.5 3.5h8v4h-4v4h-4z", "M10 10h6.5v6.5H10z"],
  warning: ["M10 3.5l7.5 13h-15z", "M10 8v4M10 14.200h.01"],
};

/** A drawing for a button; the button has the name, so the drawing is hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** The custom properties of an element that shows an object's number on its colour. */
export const onColour = (colour) => ({ "--colour": colour, "--on-colour": inkOn(colour) });

/** A button with a drawing, a name and the key that does the same. */
export function iconButton(name, label, action, { key = "", pressed = null, ...rest } = {}) {
  return el(
    "button",
    {
      type: "button", class: "icon-button", title: key ? `${label} (${key})` : label, "aria-label": label,
      "aria-keyshortcuts": key || null, "aria-pressed": pressed === null ? null : String(pressed), on: { click: action }, ...rest,
    },
    icon(name),
  );
}

export const button = (text, action, properties = {}) => el("button", { type: "button", on: { click: action }, ...properties }, text);

/** A labelled form element. */
export function field(label, control, hint = "") {
  return el("label", { class: "field" }, el("span", { class: "label" }, label), control, hint && el("span", { class: "hint" }, hint));
}

/** A select of [value, text] pairs. */
export function choice(options, value, change, properties = {}) {
  return el(
    "select",
    { on: { change: (event) => change(event.target.value) }, ...properties },
    options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)),
  );
}

/** "1 clip", "3 clips". */
export const counted = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/**
 * A modal dialogue; resolves to the value of the button that closed it, or null after Escape.
 * @param {[string, string][]} answers value and text of the buttons, the first is the default.
 */
export function dialogue(title, content, answers = [["ok", "Close"]]) {
  return new Promise((resolve) => {
    const box = el(
      "dialog",
      { "aria-label": title },
      el("form", { method: "dialog" },
        el("h2", {}, title),
        el("div", { class: "dialogue-body" }, content),
        el("div", { class: "dialogue-answers" },
          answers.map(([value, text], i) => el("button", { value, class: i ? "" : "primary", autofocus: i === 0 }, text)))),
    );
    box.addEventListener("close", () => {
      box.remove();
      resolve(box.returnValue || null);
    });
    document.body.append(box);
    box.showModal();
  });
}

/** A word to the annotator that goes away by itself; read out by screen readers. */
export function say(text, level = "note") {
  const place = document.getElementById("messages");
  const message = el("div", { class: `message ${level}`, role: level === "error" ? "alert" : null }, text);
  place.append(message);
  while (place.children.length > 4) place.firstChild.remove();
  setTimeout(() => message.remove(), level === "error" ? 9000 : 3500);
}
