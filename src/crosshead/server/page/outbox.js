// Corrections on their way. Each keeps its idempotency key and is sent until the server has acknowledged or refused it,
// in order, also after the page was closed and opened again.

import { storage } from "./dom.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
const PREFIX = "correction.";

/** A random key; `crypto.randomUUID` needs HTTPS. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Dispatches `state` events with `{key, state, message}`; state is "sending", "waiting", "saved" or "refused".
 */
export class Outbox extends EventTarget {
  #entries = [];
  #running = false;
  #wake = () => {};

  /** @param {(correction: object, key: string) => Promise<object>} send throws an error with `passing` if later may do */
  constructor(send) {
    super();
    this.send = send;
    this.#entries = kept();
    addEventListener("online", () => this.hurry());
    // Where nothing can be stored, closing the page would lose what was not acknowledged.
    addEventListener("beforeunload", (event) => {
      if (this.#entries.some((entry) => !entry.stored)) event.preventDefault();
    });
  }

  get size() {
    return this.#entries.length;
  }

  /** Take a correction; returns its key. */
  add(correction) {
    const entry = { key: newKey(), at: Date.now(), correction };
    entry.stored = storage.set(PREFIX + entry.key, JSON.stringify(entry));
    this.#entries.push(entry);
    this.run();
    return entry.key;
  }

  /** Try again now. */
  hurry() {
    this.#wake();
  }

  async run() {
    if (this.#running) return;
    this.#running = true;
    let wait = FIRST_WAIT_MS;
    while (this.#entries.length) {
      const [entry] = this.#entries;
      this.#tell(entry, "sending");
      try {
        await this.send(entry.correction, entry.key);
        this.#drop(entry, "saved");
        wait = FIRST_WAIT_MS;
      } catch (error) {
        if (error.passing === false) {
          this.#drop(entry, "refused", error.message);
          continue;
        }
        this.#tell(entry, "waiting", error.message, error);
        await this.#pause(Math.max(wait, (error.retryAfterS ?? 0) * 1000));
        wait = Math.min(wait * 2, LONGEST_WAIT_MS);
      }
    }
    this.#running = false;
  }

  #drop(entry, state, message) {
    this.#entries.shift();
    storage.set(PREFIX + entry.key, null);
    this.#tell(entry, state, message);
  }

  #tell(entry, state, message = "", error = null) {
    this.dispatchEvent(new CustomEvent("state", { detail: { key: entry.key, state, message, error } }));
  }

  #pause(ms) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, ms);
    });
  }
}

function kept() {
  return storage
    .names(PREFIX)
    .map((name) => {
      try {
        return { ...JSON.parse(storage.get(name)), stored: true };
      } catch {
        storage.set(name, null);
        return null;
      }
    })
    .filter((entry) => entry?.key && entry.correction)
    .sort((a, b) => a.at - b.at);
}
