/**
 * What was done and is not yet known to be on the server's disk.
 *
 * Events are sent one after the other, again and again until the server says that they are written; each has a key, so
 * that one which arrives twice is written once. What waits survives a reload of the page.
 */

const PAUSES_MS = [250, 500, 1000, 2000, 4000];

export class Outbox {
  #waiting = [];
  #busy = false;
  #failures = 0;
  #trouble = "";
  #wake = () => {};
  #name;
  #told;

  /**
   * @param {string} name what the browser keeps it under
   * @param {{changed: Function, saved: Function, refused: Function}} told what is told
   */
  constructor(name, told) {
    this.#name = name;
    this.#told = told;
    try {
      this.#waiting = JSON.parse(sessionStorage.getItem(name) || "[]");
    } catch {
      this.#waiting = [];
    }
    addEventListener("online", () => this.#wake());
    addEventListener("focus", () => this.#wake());
  }

  get size() {
    return this.#waiting.length;
  }

  get isFailing() {
    return this.#failures > 0;
  }

  /** Why the server could not write, as far as it said so. */
  get trouble() {
    return this.#trouble;
  }

  /** Events that wait, oldest first. */
  get waiting() {
    return [...this.#waiting];
  }

  add(event) {
    this.#waiting.push({ key: crypto.randomUUID(), ...event });
    this.#keep();
    this.send();
  }

  async send() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#waiting.length) {
      const event = this.#waiting[0];
      const { answer, refusal, trouble } = await post(event);
      if (answer || refusal) {
        this.#failures = 0;
        this.#waiting.shift();
        this.#keep();
        if (answer) this.#told.saved(event, answer);
        else this.#told.refused(event, refusal);
      } else {
        this.#failures += 1;
        this.#trouble = trouble || "";
        this.#told.changed();
        const pause = PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length) - 1];
        await Promise.race([
          new Promise((done) => setTimeout(done, pause)),
          new Promise((done) => (this.#wake = done)),
        ]);
      }
    }
    this.#busy = false;
    this.#told.changed();
  }

  #keep() {
    try {
      sessionStorage.setItem(this.#name, JSON.stringify(this.#waiting));
    } catch {
      // The browser keeps nothing; what waits is still in this page.
    }
    this.#told.changed();
  }
}

/** Send an event: the answer, or why it will never be taken, or neither where it is worth another try. */
async function post(event) {
  try {
    const response = await fetch("/api/events", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(event),
      keepalive: true,
    });
    if (response.ok) return { answer: await response.json() };
    const { error } = await response.json();
    return response.status < 500 ? { refusal: error } : { trouble: error };
  } catch {
    // No server; it may come back.
  }
  return {};
}
