// The server, as functions. Addresses are relative, so the page also works below a prefix of a reverse proxy.

const KEY = "crosshead.api-key";

/** What went wrong, in words for the reader. */
export class ApiError extends Error {
  /** @param {number} status 0 where there was no answer */
  constructor(status, message, { kind = "", retryAfterS = 0 } = {}) {
    super(message);
    this.status = status;
    this.kind = kind;
    this.retryAfterS = retryAfterS;
  }

  /** The same request may succeed later: no answer, too busy, not let in yet, or a mistake in the server. */
  get passing() {
    return [0, 401, 408, 425, 429].includes(this.status) || (this.status >= 500 && this.kind !== "no_corrections");
  }

  get needsKey() {
    return this.status === 401;
  }
}

export const apiKey = {
  get() {
    try {
      return sessionStorage.getItem(KEY) ?? "";
    } catch {
      return this.kept ?? "";
    }
  },
  set(value) {
    this.kept = value;
    try {
      sessionStorage.setItem(KEY, value);
    } catch {
      // Kept until the page is closed.
    }
  },
};

async function call(method, path, { body, headers = {}, signal } = {}) {
  const key = apiKey.get();
  const sent = { accept: "application/json", ...headers };
  if (body !== undefined) sent["content-type"] = "application/json";
  if (key) sent.authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { method, headers: sent, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new ApiError(response.status, message(response, answer), {
    kind: answer?.error?.kind,
    retryAfterS: Number(response.headers.get("retry-after")) || 0,
  });
}

function message(response, answer) {
  const { message: text, problems } = answer?.error ?? {};
  if (text) return [text, ...(problems ?? []).map(({ where, message }) => (where ? `${where}: ${message}` : message))].join("; ");
  if (typeof answer?.detail === "string") return answer.detail;
  return `The server answered ${response.status} ${response.statusText}`.trim();
}

export const tag = (text, format, signal) => call("POST", "v1/tag", { body: { text, format }, signal });
export const explain = (body) => call("POST", "v1/explain", { body });
export const model = () => call("GET", "v1/model");
export const correct = (correction, key) =>
  call("POST", "v1/corrections", { body: correction, headers: { "idempotency-key": key } });
export const gallery = () => call("GET", "page/gallery.json");

export async function example(name) {
  const response = await fetch(`page/gallery/${encodeURIComponent(name)}.md`);
  if (!response.ok) throw new ApiError(response.status, `There is no example called ${name}.`);
  return response.text();
}
