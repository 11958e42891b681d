// The shape of the article: one lane for each section type, one cell for each paragraph, as high as its confidence.
// For a screen reader and the keyboard it is a slider over the paragraphs.

import { element, percent, setText, svg } from "./dom.js";
import { NOT_SURE } from "./types.js";

const LOWEST = 0.25;

export class Strip {
  /**
   * @param {{strip: HTMLElement, filters: HTMLElement, caption: HTMLElement}} parts
   * @param {{onGo: (i: number) => void, onFilter: (types: Set<number>) => void}} listeners
   */
  constructor(parts, { onGo, onFilter }) {
    Object.assign(this, parts, { onGo, onFilter });
    this.chosen = new Set();
    this.current = 0;
    this.strip.addEventListener("keydown", (event) => this.#key(event));
    this.strip.addEventListener("pointerdown", (event) => this.#press(event));
    this.strip.addEventListener("pointermove", (event) => this.#move(event));
    this.strip.addEventListener("pointerleave", () => this.#tell(this.current));
  }

  show(article) {
    this.article = article;
    this.chosen.clear();
    this.lanes = [...article.types.list.keys(), NOT_SURE];
    this.#drawFilters();
    this.#drawCells();
    this.mark(0);
  }

  /** Redraw a paragraph whose section type changed. */
  update(i) {
    const { article } = this;
    const type = article.shown(i);
    const lane = this.lanes.indexOf(type);
    const { confidence, correction } = article.paragraphs[i];
    const height = correction ? 1 : LOWEST + (1 - LOWEST) * confidence;
    const cell = this.cells[i];
    cell.setAttribute("y", String(lane + (1 - height) * 0.86 + 0.07));
    cell.setAttribute("height", String(height * 0.86));
    cell.dataset.hue = article.types.hue(type);
    cell.classList.toggle("faded", this.chosen.size > 0 && !this.chosen.has(type));
  }

  updateCounts() {
    const counts = this.article.counts();
    this.buttons.forEach((button, lane) => {
      setText(button.querySelector(".count"), String(counts[lane]));
      button.classList.toggle("empty", !counts[lane]);
      button.setAttribute("aria-pressed", String(this.chosen.has(this.lanes[lane])));
    });
    this.all.hidden = !this.chosen.size;
  }

  /** Make a paragraph the current one. */
  mark(i) {
    this.current = i;
    this.marker.setAttribute("x", String(i));
    this.strip.setAttribute("aria-valuenow", String(i + 1));
    this.strip.setAttribute("aria-valuetext", this.#say(i));
    this.#tell(i);
  }

  /** Show which paragraphs are on the screen. */
  frame(first, last) {
    this.window.setAttribute("x", String(first));
    this.window.setAttribute("width", String(last - first + 1));
  }

  /** Show only the paragraphs of one more section type, or of one less. */
  toggle(type) {
    if (!this.chosen.delete(type)) this.chosen.add(type);
    this.#filtered();
  }

  showAll() {
    this.chosen.clear();
    this.#filtered();
  }

  #filtered() {
    for (let i = 0; i < this.article.length; i++) this.update(i);
    this.updateCounts();
    this.onFilter(this.chosen);
  }

  #drawFilters() {
    const { types } = this.article;
    this.buttons = this.lanes.map((type, lane) =>
      element(
        "button",
        {
          type: "button",
          class: "filter",
          "data-hue": types.hue(type),
          "aria-pressed": "false",
          title: type === NOT_SURE ? "Below the model's threshold" : types.list[type].description,
          onclick: () => this.toggle(type),
        },
        element("kbd", { class: "digit", "aria-hidden": "true" }, type === NOT_SURE || lane > 8 ? "" : String(lane + 1)),
        element("span", { class: "swatch", "aria-hidden": "true" }),
        element("span", { class: "name" }, types.label(type)),
        element("span", { class: "count" }),
      ),
    );
    this.all = element("button", { type: "button", class: "link", hidden: true, onclick: () => this.showAll() }, "Show all");
    this.filters.replaceChildren(
      ...this.buttons.map((button) => element("li", {}, button)),
      element("li", { class: "all" }, this.all),
    );
  }

  #drawCells() {
    const n = this.article.length;
    const lanes = this.lanes.length;
    const gap = n > 120 ? 0.12 : 0.06;
    this.cells = this.article.paragraphs.map((_, i) => svg("rect", { x: i + gap / 2, width: 1 - gap, class: "cell" }));
    this.marker = svg("rect", { class: "marker", x: 0, y: 0, width: 1, height: lanes });
    this.window = svg("rect", { class: "window", x: 0, y: 0, width: 0, height: lanes });
    const rules = Array.from({ length: lanes + 1 }, (_, k) => svg("line", { x1: 0, x2: n, y1: k, y2: k, class: "rule" }));
    const drawing = svg("svg", { viewBox: `0 0 ${n} ${lanes}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    drawing.append(this.window, ...rules, ...this.cells, this.marker);
    this.strip.replaceChildren(drawing);
    this.strip.style.setProperty("--lanes", String(lanes));
    this.strip.style.setProperty("--cells", String(n));
    this.filters.style.setProperty("--lanes", String(lanes));
    this.strip.setAttribute("aria-valuemin", "1");
    this.strip.setAttribute("aria-valuemax", String(n));
    for (let i = 0; i < n; i++) this.update(i);
    this.updateCounts();
  }

  #say(i) {
    const { types, paragraphs } = this.article;
    const { confidence, correction } = paragraphs[i];
    const type = this.article.shown(i);
    const how = correction ? "corrected" : type === NOT_SURE ? "" : percent(confidence);
    return `Paragraph ${i + 1} of ${this.article.length}: ${types.label(type)} ${how}`.trim();
  }

  #tell(i) {
    const { text } = this.article.paragraphs[i];
    setText(this.caption, `${this.#say(i)} — ${text.slice(0, 120)}`);
  }

  #at(event) {
    const box = this.strip.firstElementChild.getBoundingClientRect();
    const i = Math.floor(((event.clientX - box.left) / box.width) * this.article.length);
    return Math.min(Math.max(i, 0), this.article.length - 1);
  }

  #press(event) {
    if (event.button) return;
    this.onGo(this.#at(event));
  }

  #move(event) {
    const i = this.#at(event);
    if (event.buttons & 1 && event.pointerType === "mouse") this.onGo(i);
    else this.#tell(i);
  }

  #key(event) {
    const n = this.article.length;
    const page = Math.max(1, Math.round(n / 10));
    const to = {
      ArrowRight: this.current + 1,
      ArrowDown: this.current + 1,
      ArrowLeft: this.current - 1,
      ArrowUp: this.current - 1,
      PageDown: this.current + page,
      PageUp: this.current - page,
      Home: 0,
      End: n - 1,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.onGo(Math.min(Math.max(to, 0), n - 1));
  }
}
