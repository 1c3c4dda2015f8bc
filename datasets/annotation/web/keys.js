// Keys: every command of a screen is bound here by name, and `?` lists what is bound. One list serves both.

import { el, dialogue } from "./dom.js";

const WORDS = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", Control: "Ctrl" };

/** The name of the pressed combination, e.g. "Ctrl+Shift+Z", "Shift+→", "?". */
export function combination(event) {
  const key = WORDS[event.key] ?? (event.key.length === 1 ? event.key.toUpperCase() : event.key);
  const parts = [];
  if (event.ctrlKey || event.metaKey) parts.push("Ctrl");
  if (event.altKey) parts.push("Alt");
  if (event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key) || parts.length)) parts.push("Shift");
  return [...parts, key].join("+");
}

export class Keys {
  /** @param {[string, [string[], string, function?, object?][]][]} groups title and [keys, words, action, {inText, up}]; without an action it is only listed */
  constructor(groups) {
    this.groups = groups;
    this.down = new Map();
    this.up = new Map();
    for (const [, bindings] of groups) {
      for (const [keys, , action, options = {}] of bindings.filter(([, , bound]) => bound)) {
        for (const key of keys) {
          this.down.set(key, { action, options });
          if (options.up) this.up.set(key, options.up);
        }
      }
    }
    this.onDown = (event) => this.pressed(event);
    this.onUp = (event) => this.up.get(combination(event))?.(event);
    document.addEventListener("keydown", this.onDown);
    document.addEventListener("keyup", this.onUp);
  }

  pressed(event) {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    const name = combination(event);
    const bound = this.down.get(name);
    if (!bound || (isWriting(event.target) && !bound.options.inText)) return;
    if (isControl(event.target) && ["Space", "Enter", "←", "→", "↑", "↓", "Home", "End"].includes(name)) return;
    event.preventDefault();
    bound.action(event);
  }

  /** The dialogue with all keys. */
  help() {
    const tables = this.groups.map(([title, bindings]) =>
      el("section", {},
        el("h3", {}, title),
        el("dl", { class: "keys" }, bindings.map(([keys, words]) =>
          el("div", {}, el("dt", {}, keys.map((key, i) => [i ? " " : "", key instanceof Node ? key : el("kbd", {}, key)])), el("dd", {}, words))))));
    return dialogue("Keys", el("div", { class: "key-groups" }, tables));
  }

  close() {
    document.removeEventListener("keydown", this.onDown);
    document.removeEventListener("keyup", this.onUp);
  }
}

const isWriting = (node) =>
  node instanceof HTMLTextAreaElement || (node instanceof HTMLInputElement && !["checkbox", "radio", "range", "button"].includes(node.type));

/** Elements that use these keys themselves: a focused button is pressed by Space, a list is walked with arrows. */
const isControl = (node) =>
  node instanceof HTMLButtonElement || node instanceof HTMLSelectElement || node instanceof HTMLAnchorElement ||
  (node instanceof HTMLInputElement && ["checkbox", "radio", "range"].includes(node.type));
