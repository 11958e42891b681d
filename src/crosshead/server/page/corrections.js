// Corrections: shown at once, sent by the outbox, and their fate shown.

import { announce, byId, count, setText } from "./dom.js";

export class Corrections {
  #where = new Map(); // idempotency key → [article, paragraph]

  /**
   * @param {Outbox} outbox
   * @param {{changed: (article, i: number) => void, faring: (article, i: number) => void,
   *          complain: (message: string) => void, locked: () => void, taken: () => boolean}} listeners
   */
  constructor(outbox, listeners) {
    this.outbox = outbox;
    this.listeners = listeners;
    outbox.addEventListener("state", ({ detail }) => this.#told(detail));
  }

  /** Give a paragraph a section type. */
  correct(article, i, type) {
    const paragraph = article.paragraphs[i];
    const before = paragraph.correction;
    if (!this.listeners.taken()) {
      paragraph.correction = { type, state: "local", before };
      this.#shown(article, i, type);
      return;
    }
    const annotator = byId("annotator").value.trim();
    const key = this.outbox.add({
      article_id: article.id,
      paragraph: paragraph.index,
      text: paragraph.text,
      section_type: article.types.list[type].name,
      ...(annotator && { annotator }),
    });
    this.#where.set(key, [article, i]);
    paragraph.correction = { type, key, state: "sending", message: "", before };
    this.#shown(article, i, type);
  }

  #shown(article, i, type) {
    this.listeners.changed(article, i);
    announce(`Paragraph ${i + 1}: ${article.types.label(type)}`);
  }

  /** Go back to what the model said. The server keeps every correction, so this is one more. */
  undo(article, i) {
    const { correction, type } = article.paragraphs[i];
    if (!correction) announce("Nothing to take back here");
    else if (correction.type !== type) this.correct(article, i, type);
  }

  #told({ key, state, message, error }) {
    const [article, i] = this.#where.get(key) ?? [null, null];
    const correction = article?.paragraphs[i].correction;
    if (correction?.key === key) {
      Object.assign(correction, { state, message });
      if (state === "refused") this.#refused(article, i, message);
      else this.listeners.faring(article, i);
      if (state === "saved") announce(`Paragraph ${i + 1}: saved`);
    } else if (state === "refused") {
      this.listeners.complain(`A correction was refused: ${message}`);
    }
    if (state === "saved" || state === "refused") this.#where.delete(key);
    if (error?.needsKey) this.listeners.locked();
    this.#tell(state, message);
  }

  /** What the server will not have is taken back on the page as well. */
  #refused(article, i, message) {
    const { before } = article.paragraphs[i].correction;
    article.paragraphs[i].correction = before?.state === "saved" ? before : null;
    this.listeners.changed(article, i);
    this.listeners.complain(`The correction of paragraph ${i + 1} was refused: ${message}`);
  }

  /** Say on top of the page how many are not saved. */
  #tell(state, message) {
    const button = byId("outbox");
    if (state === "sending" && this.outbox.size) return; // the next event says how it went
    button.hidden = !this.outbox.size || state !== "waiting";
    if (button.hidden) return;
    setText(button, `${count(this.outbox.size, "correction")} not saved yet. Try now`);
    button.title = message;
    announce(button.textContent);
  }
}
