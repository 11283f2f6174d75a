// The server's HTTP interface: requests, errors as it words them, event streams that come back, the session.

/** What the server answered instead of a result; `message` is the server's own text. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {number|null} [retryAfter] seconds */
  constructor(status, code, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const SCOPES = ["read", "predict", "operate"];

/** @type {{scope: string|null, authentication: boolean}} */
export const session = { scope: null, authentication: false };

/** "login": a token is needed; "session": who one is has changed; "gone" and "back": the server cannot be reached, or can again. */
export const events = new EventTarget();

let isGone = false;

/** @param {string} scope */
export const may = (scope) => SCOPES.indexOf(session.scope ?? "") >= SCOPES.indexOf(scope);

/** @param {boolean} gone */
function setGone(gone) {
  if (gone === isGone) return;
  isGone = gone;
  events.dispatchEvent(new Event(gone ? "gone" : "back"));
}

/**
 * Ask the server. Raises ApiError with the server's text, status 0 where it cannot be reached.
 * @param {string} path @param {RequestInit} [options] @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    setGone(true);
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  }
  setGone(false);
  if (response.ok) return response;
  const error = await toError(response);
  if (response.status === 401 && path !== "/v1/session") events.dispatchEvent(new Event("login"));
  throw error;
}

/** @param {Response} response */
async function toError(response) {
  const wait = Number(response.headers.get("Retry-After")) || null;
  let code = "error", message = `The server answered ${response.status} ${response.statusText}.`;
  try {
    const body = await response.json();
    if (body.error) ({ code, message } = body.error);
    else if (typeof body.detail === "string") message = body.detail;
  } catch { /* not JSON: the status says it */ }
  return new ApiError(response.status, code, message, wait);
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<any>} */
export async function getJson(path, options) {
  return (await request(path, options)).json();
}

/** Send JSON, or a form with files. @param {string} path @param {any} [body] @param {RequestInit} [options] @returns {Promise<any>} */
export async function post(path, body, options = {}) {
  const isForm = body instanceof FormData;
  const sent = body === undefined ? {} : isForm ? { body } : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const response = await request(path, { method: "POST", ...sent, ...options });
  return response.status === 204 ? null : response.json();
}

/** Send a file for later use in a job. @param {File} file @returns {Promise<{id: string, name: string, bytes: number}>} */
export async function upload(file) {
  const form = new FormData();
  form.append("file", file, file.name);
  return post("/v1/uploads", form);
}

/** Learn who one is. */
export async function refreshSession() {
  Object.assign(session, await getJson("/v1/session"));
  events.dispatchEvent(new Event("session"));
  if (session.authentication && !session.scope) events.dispatchEvent(new Event("login"));
}

/** @param {string} token */
export async function logIn(token) {
  await post("/v1/session", { token });
  await refreshSession();
}

export async function logOut() {
  await request("/v1/session", { method: "DELETE" });
  await refreshSession();
}

/** Wait, each time longer, up to 8 s. @param {number} failures */
export const backOff = (failures) => new Promise((done) => setTimeout(done, Math.min(500 * 2 ** failures, 8000)));

/**
 * Read server-sent events until closed; after a break the stream is opened again, with longer waits while that fails.
 * @param {string} path
 * @param {Record<string, (data: any) => void>} handlers by event
 * @param {{again?: () => boolean}} [options] `again` says whether a stream that ended is to be opened once more
 * @returns {() => void} closes it
 */
export function openEvents(path, handlers, { again = () => true } = {}) {
  let source, timer, failures = 0, closed = false;
  const open = () => {
    source = new EventSource(path);
    source.onopen = () => { failures = 0; setGone(false); };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(/** @type {MessageEvent} */ (event).data)));
    }
    source.onerror = async () => {
      source.close();
      if (closed || !again()) return;
      // An EventSource does not say why it failed; the session does: no server, or no right.
      try { await refreshSession(); } catch { /* setGone has been called */ }
      timer = setTimeout(() => !closed && open(), Math.min(500 * 2 ** failures++, 8000));
    };
  };
  open();
  return () => { closed = true; clearTimeout(timer); source.close(); };
}
