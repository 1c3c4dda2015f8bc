// Start: who is here, which screen is asked for, the bar on top.

import * as api from "./api.js";
import { el, iconButton, say, dialogue } from "./dom.js";
import { clipsScreen } from "./screen-clips.js";
import { workbenchScreen } from "./screen-workbench.js";
import { blindScreen } from "./screen-blind.js";
import { reviewScreen } from "./screen-review.js";
import { reportScreen } from "./screen-report.js";
import { exportScreen } from "./screen-export.js";

const ROUTES = [
  [/^\/?$/, clipsScreen, "Clips"],
  [/^\/clip\/(\d+)(?:\/(\d+))?(?:\/s\/(.+))?$/, workbenchScreen, null],
  [/^\/review(?:\/(\d+)\/(.+))?$/, reviewScreen, "Review"],
  [/^\/report$/, reportScreen, "Report"],
  [/^\/export$/, exportScreen, "Export"],
  [/^\/blind$/, blindScreen, null],
];

const MENU = { owner: ["", "review", "report", "export"], author: ["", "report"], reviewer: ["", "review", "report"], blind: [] };
const TITLES = { "": "Clips", review: "Review", report: "Report", export: "Export" };

const app = {
  session: null,
  screen: null,
  bar: document.getElementById("bar"),
  main: document.getElementById("main"),
  /** What the screen puts into the middle and at the end of the bar. */
  slots: { middle: el("div", { class: "bar-middle" }), end: el("div", { class: "bar-end" }) },
  help: () => {},
};

async function start() {
  applyTheme(localStorage.getItem("rvos-theme"));
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname);
  try {
    app.session = token ? await api.post("session", { token }) : await api.get("session");
  } catch (error) {
    return void showDoor(error);
  }
  window.addEventListener("hashchange", route);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => app.screen?.themed?.());
  window.addEventListener("unhandledrejection", (event) => {
    if (event.reason?.name === "AbortError") event.preventDefault(); // asked for by a screen that is closed now
    else failed(event.reason);
  });
  route();
}

/** Errors that no screen answered: shown, never swallowed. */
function failed(error) {
  if (error?.name === "AbortError") return;
  if (error?.code === "session") return void showDoor(error);
  say(error?.message ?? String(error), "error");
  console.warn(error);
}

function showDoor(error) {
  app.bar.replaceChildren();
  app.main.className = "door";
  const input = el("input", { name: "token", autocomplete: "off", required: true, "aria-label": "Token" });
  const enter = async (event) => {
    event.preventDefault();
    const token = input.value.trim().replace(/^.*#token=/, "");
    try {
      await api.post("session", { token });
      location.reload();
    } catch (refusal) {
      say(refusal.message, "error");
    }
  };
  app.main.replaceChildren(
    el("h1", {}, "rvos annotate"),
    el("p", { class: "lead" }, error.code === "session" ? "Open the link that was printed for you, or paste it here." : error.message),
    el("form", { class: "row", on: { submit: enter } }, input, el("button", { class: "primary" }, "Enter")),
    el("p", { class: "hint" }, "Whoever started the server finds the link in its terminal; ", el("code", {}, "rvos annotate invite"), " prints links for others."),
  );
}

async function route() {
  const path = decodeURIComponent(location.hash.slice(1));
  const blind = app.session.person.role === "blind";
  const found = ROUTES.map(([pattern, screen, title]) => [path.match(pattern), screen, title]).find(([match]) => match);
  const [match, screen] = blind ? [["/blind"], blindScreen] : found ?? [[path], notFound];
  app.screen?.close?.();
  app.screen = null;
  app.help = () => {};
  app.slots.middle.replaceChildren();
  app.slots.end.replaceChildren();
  drawBar(path);
  const node = el("div", { class: "loading", role: "status" }, "Loading…");
  app.main.className = "";
  app.main.replaceChildren(node);
  try {
    const opened = await screen(app, ...match.slice(1));
    if (decodeURIComponent(location.hash.slice(1)) !== path) return void opened.close?.();
    app.screen = opened;
    app.main.className = opened.className ?? "page";
    app.main.replaceChildren(opened.node);
    document.title = `${opened.title} – rvos annotate`;
    opened.shown?.();
  } catch (error) {
    app.main.className = "page";
    app.main.replaceChildren(el("h1", {}, "This did not open"), el("p", {}, error.message), el("p", {}, el("a", { href: "#/" }, "Back to the clips")));
    failed(error);
  }
}

async function notFound(_, path) {
  throw new Error(`There is no page ${path}.`);
}

function drawBar(path) {
  const { person, project } = app.session;
  const current = path.replace(/^\//, "").split("/")[0];
  const links = MENU[person.role].map((name) =>
    el("a", { href: `#/${name}`, "aria-current": (current === "clip" ? "" : current) === name ? "page" : null }, TITLES[name]));
  app.bar.replaceChildren(
    el("a", { class: "brand", href: "#/", title: project?.name ?? "" }, el("span", { class: "mark", "aria-hidden": "true" }), el("span", {}, project?.name ?? "rvos annotate")),
    el("nav", { "aria-label": "Screens" }, links),
    app.slots.middle,
    app.slots.end,
    iconButton("theme", "Light or dark", toggleTheme),
    iconButton("help", "Keys", () => app.help(), { key: "?" }),
    el("button", { class: "person", type: "button", title: `${person.name}, ${person.role}`, on: { click: showPerson } }, person.name),
  );
}

async function showPerson() {
  const { person, project } = app.session;
  const answer = await dialogue("You", el("p", {}, `${person.name}, ${person.role} of ${project?.name ?? "this project"}.`), [["close", "Close"], ["out", "Log out"]]);
  if (answer !== "out") return;
  await api.remove("session");
  location.hash = "";
  location.reload();
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

function toggleTheme() {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--is-dark").trim() === "1";
  const theme = dark ? "light" : "dark";
  localStorage.setItem("rvos-theme", theme);
  applyTheme(theme);
  app.screen?.themed?.();
}

start();
