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

async function send(method, path, { body, signal } = {}) {
  const headers = { "X-Rvos-Tab": TAB };
  if (method !== "GET") {
    headers["X-Rvos"] = "1";
    headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(`/api/${path}`, { method, headers, body: method === "GET" ? undefined : JSON.stringify(body ?? {}), signal, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("The server does not answer. Is `rvos annotate serve` still running?");
  }
  if (answer.ok) return answer;
  throw new Refused(answer.status, errorIn(await answer.text()));
}

function errorIn(text) {
  try {
    return JSON.parse(text).error ?? {};
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { message: text.slice(0, 200) };
  }
}

const json = async (...call) => (await send(...call)).json();

export const get = (path, options) => json("GET", path, options);
export const post = (path, body, options) => json("POST", path, { body, ...options });
export const put = (path, body) => json("PUT", path, { body });
export const patch = (path, body) => json("PATCH", path, { body });
export const remove = (path) => json("DELETE", path);
export const picture = async (path, signal) => (await send("GET", path, { signal })).blob();

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
