// The article itself: paragraphs with a bar of their section type's colour, crossheads where a section begins.

import { byId, count, element, flowing, percent, setText } from "./dom.js";
import { NOT_SURE } from "./types.js";

export class ArticleView {
  /**
   * @param {HTMLElement} root
   * @param {{onCurrent: (i: number) => void, onCorrect: (i: number, type: number) => void,
   *          onWhy: (i: number) => void, onFrame: (first: number, last: number) => void}} listeners
   */
  constructor(root, listeners) {
    this.root = root;
    this.listeners = listeners;
    this.nodes = [];
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("focusin", (event) => this.#focus(event));
    this.seen = new Set();
    this.observer = new IntersectionObserver((entries) => this.#intersect(entries), { rootMargin: "-15% 0px -5% 0px" });
  }

  show(article) {
    this.observer.disconnect();
    this.seen.clear();
    this.article = article;
    this.current = 0;
    this.crossheads = new Map();
    const prototype = this.#prototype();
    this.nodes = article.paragraphs.map((paragraph, i) => this.#make(prototype, paragraph, i));
    const all = document.createDocumentFragment();
    this.nodes.forEach((node, i) => {
      for (const { depth, text } of article.headingsAt(i)) {
        all.append(element(`h${Math.min(depth + 3, 5)}`, { class: "own", dir: "auto", "data-before": i }, text));
      }
      all.append(node);
    });
    this.root.replaceChildren(all);
    for (let i = 0; i < this.nodes.length; i++) {
      this.#label(i);
      this.#crosshead(i);
    }
    this.#reach(0, true);
    for (const node of this.nodes) this.observer.observe(node);
  }

  /** Redraw what a correction changes: the paragraph, its crosshead and the next one's. */
  update(i) {
    this.#label(i);
    this.#crosshead(i);
    if (i + 1 < this.nodes.length) this.#crosshead(i + 1);
  }

  /** Show how a paragraph's correction is faring. */
  tellState(i) {
    const { correction } = this.article.paragraphs[i];
    const node = this.nodes[i];
    const line = node.querySelector(".state");
    const words = {
      sending: "Saving …",
      waiting: "Not saved yet; trying again",
      saved: "Saved",
      local: "On this page only: the server takes no corrections",
    };
    line.className = `state ${correction?.state ?? ""}`;
    setText(line, correction ? (words[correction.state] ?? "") : "");
  }

  /** Mark a paragraph's text, in the colour of the section type that is explained, and say the reasons below it. */
  explain(i, type, mark, reasons) {
    const body = this.nodes[i].querySelector(".body");
    body.dataset.hue = this.article.types.hue(type);
    mark(body.querySelector(".text"));
    const box = body.querySelector(".explanation");
    box.replaceChildren(...reasons);
    box.hidden = false;
  }

  unexplain(i) {
    const node = this.nodes[i];
    node.querySelector(".text").textContent = flowing(this.article.paragraphs[i].text);
    node.querySelector(".explanation").hidden = true;
  }

  /** Make a paragraph the current one; `focus` moves the keyboard there, and the screen with it. */
  go(i, { focus = true } = {}) {
    this.#become(i);
    const node = this.nodes[i];
    if (focus) node.focus({ preventScroll: true });
    this.#bring(node);
  }

  /** Scroll to a paragraph. On the way others get their true height, which moves it: look again until it stays. */
  #bring(node, tries = 5) {
    const { top, bottom } = node.getBoundingClientRect();
    const away = bottom < 0 || top > innerHeight;
    node.scrollIntoView({ block: away ? "start" : "nearest" });
    requestAnimationFrame(() => {
      const { top: now } = node.getBoundingClientRect();
      const gone = now < 0 || now > innerHeight - 40;
      if (gone && tries && this.nodes[this.current] === node) this.#bring(node, tries - 1);
    });
  }

  /** Show only paragraphs of these section types; all, if there are none. */
  filter(chosen) {
    const { article } = this;
    for (const gap of this.root.querySelectorAll(".gap")) gap.remove();
    let hidden = 0;
    const close = (before) => {
      if (!hidden) return;
      const words = count(hidden, "paragraph");
      this.root.insertBefore(element("p", { class: "gap" }, `${words} of other sections`), before);
      hidden = 0;
    };
    this.nodes.forEach((node, i) => {
      const out = chosen.size > 0 && !chosen.has(article.shown(i));
      node.hidden = out;
      const first = this.#firstAt(i);
      if (out) hidden += 1;
      else close(first);
      for (let other = first; other !== node; other = other.nextSibling) other.hidden = out;
    });
    close(null);
    if (this.nodes[this.current].hidden) this.#leave();
  }

  /** Make the nearest paragraph that is shown the current one. */
  #leave() {
    const held = this.nodes[this.current].contains(document.activeElement);
    const i = this.next(this.current, 1) ?? this.next(this.current, -1);
    if (i === null) return;
    this.#become(i);
    if (held) this.nodes[i].focus({ preventScroll: true });
  }

  #become(i) {
    this.#reach(this.current, false);
    this.current = i;
    this.#reach(i, true);
    this.listeners.onCurrent(i);
  }

  /** The nearest paragraph that the filter shows, going forwards or backwards from one; null where there is none. */
  next(from, step, wanted = () => true) {
    for (let i = from + step; i >= 0 && i < this.nodes.length; i += step) {
      if (!this.nodes[i].hidden && wanted(i)) return i;
    }
    return null;
  }

  /** A paragraph with one chip for each section type, to be copied: making it once is what keeps long articles quick. */
  #prototype() {
    const node = byId("paragraph-template").content.firstElementChild.cloneNode(true);
    const { types } = this.article;
    node.querySelector(".chips").append(
      ...types.list.map(({ label }, type) =>
        element(
          "button",
          { type: "button", class: "chip", tabindex: "-1", "data-type": type, "data-hue": types.hue(type), "data-label": label },
          element("span", { class: "level", "aria-hidden": "true" }),
          element("span", { class: "digit" }, String(type + 1)),
          element("span", { class: "visually-hidden" }, ` ${label}`),
        ),
      ),
    );
    return node;
  }

  #make(prototype, paragraph, i) {
    const node = prototype.cloneNode(true);
    node.id = `p${i + 1}`;
    node.dataset.index = i;
    node.querySelector(".number").textContent = i + 1;
    node.querySelector(".text").textContent = flowing(paragraph.text);
    for (const chip of node.querySelectorAll(".chip")) {
      const { name } = this.article.types.list[chip.dataset.type];
      const score = paragraph.scores[name] ?? 0;
      chip.firstElementChild.style.setProperty("--score", String(score));
      chip.dataset.caption = `${chip.dataset.label} ${percent(score)}`;
    }
    return node;
  }

  #label(i) {
    const { types, paragraphs } = this.article;
    const { confidence, correction, section_type: guess, truncated_tokens: cut } = paragraphs[i];
    const node = this.nodes[i];
    const type = this.article.shown(i);
    const label = types.label(type);
    const sure = correction ? "corrected by you" : percent(confidence);
    node.dataset.hue = types.hue(type);
    node.classList.toggle("not-sure", type === NOT_SURE);
    node.classList.toggle("corrected", Boolean(correction));
    setText(node.querySelector(".name"), label);
    setText(node.querySelector(".confidence"), type === NOT_SURE ? "" : correction ? "" : sure);
    node.setAttribute("aria-label", `Paragraph ${i + 1}: ${label}${type === NOT_SURE ? "" : `, ${sure}`}`);
    for (const chip of node.querySelectorAll(".chip")) {
      chip.setAttribute("aria-pressed", String(Number(chip.dataset.type) === type));
    }
    const notes = [];
    if (type === NOT_SURE) notes.push(this.article.candidates(i).map((k) => types.label(k)).join(" or ") + "?");
    if (correction) notes.push(this.#formerly(guess, correction.type, paragraphs[i]));
    if (paragraphs[i].out_of_distribution) notes.push("Unlike what the model learned from");
    if (cut) notes.push(`Long: the last ${count(cut, "token")} not read`);
    node.querySelector(".notes").replaceChildren(...notes.map((note) => element("span", {}, note)));
  }

  #formerly(guess, type, { confidence, abstained }) {
    const { types } = this.article;
    const former = types.indexOf(guess);
    if (former === type) return abstained ? "Decided by you" : "Confirmed by you";
    return `Corrected by you; the model said ${types.label(former)}, ${percent(confidence)}`;
  }

  /** Add or take away the crosshead in front of a paragraph. */
  #crosshead(i) {
    const { article } = this;
    const there = this.crossheads.get(i);
    if (!article.beginsAt(i)) {
      there?.remove();
      this.crossheads.delete(i);
      return;
    }
    const type = article.shown(i);
    const level = Math.min((article.paragraphs[i].headings?.length ?? 0) + 3, 6);
    const made = there ?? element(`h${level}`, { class: "crosshead" });
    made.dataset.hue = article.types.hue(type);
    setText(made, article.types.label(type));
    if (!there) this.root.insertBefore(made, this.nodes[i]);
    made.hidden = this.nodes[i].hidden;
    this.crossheads.set(i, made);
  }

  /** The first of the headings in front of a paragraph, or the paragraph. */
  #firstAt(i) {
    let first = this.nodes[i];
    while (first.previousSibling?.matches?.(".own, .crosshead")) first = first.previousSibling;
    return first;
  }

  /** Put a paragraph and its buttons into the tab order, or take them out: one paragraph is in it at a time. */
  #reach(i, yes) {
    const node = this.nodes[i];
    if (!node) return;
    node.classList.toggle("current", yes);
    node.tabIndex = yes ? 0 : -1;
    for (const button of node.querySelectorAll("button")) button.tabIndex = yes ? 0 : -1;
  }

  #indexOf(target) {
    const node = target.closest(".paragraph");
    return node ? Number(node.dataset.index) : null;
  }

  #click(event) {
    const i = this.#indexOf(event.target);
    if (i === null) return;
    const button = event.target.closest("button");
    if (button && i !== this.current) this.go(i, { focus: false });
    if (button?.matches(".chip")) this.listeners.onCorrect(i, Number(button.dataset.type));
    else if (button?.matches(".why")) this.listeners.onWhy(i);
  }

  #focus(event) {
    const i = this.#indexOf(event.target);
    if (i !== null && i !== this.current) this.#become(i);
  }

  #intersect(entries) {
    for (const { target, isIntersecting } of entries) {
      const i = Number(target.dataset.index);
      if (isIntersecting) this.seen.add(i);
      else this.seen.delete(i);
    }
    if (this.seen.size) this.listeners.onFrame(Math.min(...this.seen), Math.max(...this.seen));
  }
}
