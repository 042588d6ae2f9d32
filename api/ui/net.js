// Requests to the API: JSON in and out, the session's token where something changes, one kind of
// error that is a sentence for people.

const BASE = "/api/v1";
const PATIENCE_MS = 30_000;
const METHODS_THAT_CHANGE = new Set(["POST", "PUT", "PATCH", "DELETE"]);

let csrf = "";
let loggedOut = () => {};

export class Problem extends Error {
  constructor(status, sentence, field = "") {
    super(field && field !== "body" ? `${field}: ${sentence}` : sentence);
    this.status = status;
  }

  // This front does not have it, or not yet.
  get isAbsent() {
    return this.status === 404 || this.status === 405 || this.status === 501;
  }
}

export const setToken = (token) => (csrf = token || "");
export const onLoggedOut = (told) => (loggedOut = told);

export function query(parameters) {
  const chosen = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return chosen.length ? `?${new URLSearchParams(chosen)}` : "";
}

export const address = (path, parameters = {}) => `${BASE}${path}${query(parameters)}`;

export function headersFor(method) {
  return METHODS_THAT_CHANGE.has(method) && csrf ? { "X-CSRF-Token": csrf } : {};
}

export async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  return new Problem(answer.status, said.detail || said.error || answer.statusText, said.field);
}

async function send(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(path.startsWith("/api/") ? path : `${BASE}${path}`, {
      method,
      body,
      signal: AbortSignal.timeout(PATIENCE_MS),
      headers: { ...headersFor(method), ...headers },
    });
  } catch {
    throw new Problem(0, "The server does not answer.");
  }
  if (answer.status === 401 && path !== "/session") loggedOut();
  if (!answer.ok) throw await problemOf(answer);
  const type = answer.headers.get("Content-Type") || "";
  return answer.status !== 204 && type.includes("json") ? answer.json() : null;
}

const JSON_TYPE = { "Content-Type": "application/json" };

export const get = (path, parameters = {}) => send("GET", `${path}${query(parameters)}`);
export const post = (path, body) => send("POST", path, body === undefined ? undefined : JSON.stringify(body), body === undefined ? {} : JSON_TYPE);
export const put = (path, body) => send("PUT", path, JSON.stringify(body), JSON_TYPE);
export const patch = (path, body) => send("PATCH", path, JSON.stringify(body), JSON_TYPE);
export const remove = (path) => send("DELETE", path);
export const postFile = (path, file, type) => send("POST", path, file, { "Content-Type": type });
