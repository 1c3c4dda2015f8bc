// Requests to the server of this page. See docs/annotate.md; the server alone decides who may see and change what.

/** A refusal by the server: `code` for the program, `message` for a person, `details` with the rest of its answer. */
export class Refused extends Error {
  constructor(status, error) {
    super(error.message || `the server answered ${status}`);
    this.status = status;
    this.code = error.code || String(status);
    this.details = error;
  }
}

/** The server did not answer: stopped, restarting, or the network is gone. */
export class Unreachable extends Error {}

const TAB = sessionStorage.getItem("rvos-tab") ?? makeTab();

function makeTab() {
  const id = crypto.randomUUID().slice(0, 18);
  sessionStorage.setItem("rvos-tab", id);
  return id;
}

export const tab = TAB;

const GONE = "The server does not answer. Is `rvos annotate serve` still running?";

/** What the server answered, read to its end by `read`. Throws Refused, Unreachable (also where it went half-way), or the signal's AbortError. */
async function send(method, path, read, { body, signal } = {}) {
  const headers = { "X-Rvos-Tab": TAB };
  if (method !== "GET") {
    headers["X-Rvos"] = "1";
    headers["Content-Type"] = "application/json";
  }
  let answer;
  let found;
  try {
    answer = await fetch(`/api/${path}`, { method, headers, body: method === "GET" ? undefined : JSON.stringify(body ?? {}), signal, credentials: "same-origin" });
    found = await (answer.ok ? read(answer) : answer.text());
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(GONE);
  }
  if (answer.ok) return found;
  throw new Refused(answer.status, errorIn(found));
}

function errorIn(text) {
  try {
    return JSON.parse(text).error ?? {};
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { message: text.slice(0, 200) };
  }
}

const json = (answer) => answer.json();

export const get = (path, options) => send("GET", path, json, options);
export const post = (path, body, options) => send("POST", path, json, { body, ...options });
export const put = (path, body) => send("PUT", path, json, { body });
export const patch = (path, body) => send("PATCH", path, json, { body });
export const remove = (path) => send("DELETE", path, json);
export const picture = (path, signal) => send("GET", path, (answer) => answer.blob(), { signal });

/** Sends a file. `progress(sent, total)` is told on the way, which fetch cannot. */
export function upload(path, blob, { progress = () => {}, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/${path}`);
    for (const [name, value] of Object.entries({ "X-Rvos": "1", "X-Rvos-Tab": TAB, "Content-Type": "application/octet-stream" })) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => progress(event.loaded, event.total));
    request.addEventListener("load", () => (request.status < 300 ? resolve(JSON.parse(request.responseText)) : reject(new Refused(request.status, errorIn(request.responseText)))));
    request.addEventListener("error", () => reject(new Unreachable("The server did not take the file: it is gone, or refused it half-way (refused.log in the project says why).")));
    request.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")));
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(blob);
  });
}

/** `?a=1&b=2` of the properties that are given. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** Waits for a job of the server. `progress(job)` is called on the way; throws where it failed or was cancelled. */
export async function finished(job, progress = () => {}) {
  let version = 0;
  while (["waiting", "running"].includes(job.state)) {
    progress(job);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const answer = await get("jobs");
    version = answer.jobs_version ?? version;
    job = answer.jobs.find((j) => j.id === job.id) ?? { ...job, state: "failed", message: "the job is gone" };
  }
  progress(job);
  if (job.state !== "done") throw new Error(job.message || `the job was ${job.state}`);
  return job;
}
