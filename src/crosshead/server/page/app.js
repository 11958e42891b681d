// The page: what is on it at the moment, and what leads from one state to the next.

import * as api from "./api.js";
import { Article, slug } from "./article.js";
import { announce, byId, count, element, setText, storage } from "./dom.js";
import { describe, highlight } from "./explain.js";
import { FORMATS } from "./exports.js";
import { listen, listKeys } from "./keys.js";
import { Outbox } from "./outbox.js";
import { Strip } from "./strip.js";
import { NOT_SURE, SectionTypes } from "./types.js";
import { ArticleView } from "./view.js";

const MAX_FILE_BYTES = 10 * 1024 ** 2;
const N_NEIGHBOURS = 3;
const THEMES = ["system", "light", "dark"];

let model = null;
let article = null;
let stop = null; // ends the tagging under way

const outbox = new Outbox(api.correct);
const pending = new Map(); // idempotency key → [article, paragraph]

const view = new ArticleView(byId("article"), {
  onCurrent: (i) => strip.mark(i),
  onCorrect: correct,
  onWhy: (i) => why(i),
  onFrame: (first, last) => strip.frame(first, last),
});
const strip = new Strip(
  { strip: byId("strip"), filters: byId("filters"), caption: byId("caption") },
  { onGo: (i) => goVisible(i), onFilter: filtered },
);

// -- the model ----------------------------------------------------------------------------------------------------

async function loadModel() {
  try {
    model = await api.model();
  } catch (error) {
    if (error.needsKey) askForKey();
    setText(byId("model-name"), "The model cannot be asked");
    return;
  }
  model.types = new SectionTypes(model.section_types ?? []);
  setText(byId("model-name"), [model.name, model.digest?.startsWith(model.version) ? "" : model.version, model.digest?.slice(0, 8)].filter(Boolean).join(" · "));
  const facts = { Name: model.name, Version: model.version, "sha256 of the bundle": model.digest, ...spelledScores(model.scores) };
  byId("facts").replaceChildren(
    ...Object.entries(facts)
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]),
  );
  byId("type-list").replaceChildren(
    ...model.types.list.flatMap(({ label, description }, i) => [
      element("dt", { "data-hue": model.types.hue(i) }, element("span", { class: "swatch", "aria-hidden": "true" }), label),
      element("dd", {}, description),
    ]),
  );
}

/** Scores as rows for the dialog: a number, or `{value, low, high}`. */
function spelledScores(scores) {
  const number = (x) => (Number.isInteger(x) ? String(x) : x.toFixed(3));
  const rows = Object.entries(scores ?? {}).map(([name, score]) => {
    const label = name.replaceAll("_", " ");
    if (typeof score === "number") return [label, number(score)];
    if (typeof score?.value !== "number") return [label, null];
    return [label, `${number(score.value)} (95 %: ${number(score.low)} to ${number(score.high)})`];
  });
  return Object.fromEntries(rows);
}

// -- tagging --------------------------------------------------------------------------------------------------------

async function tag(text, format, name = "", place = "#article") {
  if (stop) return;
  complain("");
  if (!text.trim()) {
    complain("There is nothing to tag yet: paste an article, or take one of ours.");
    byId("text").focus();
    return;
  }
  stop = new AbortController();
  busy(true);
  try {
    const answer = await patiently(() => api.tag(text, format, stop.signal), stop.signal);
    read(answer, text, name);
    if (location.hash !== place) history.pushState(null, "", place);
    showReading();
  } catch (error) {
    if (error.name === "AbortError") announce("Cancelled");
    else if (error.needsKey) askForKey(() => tag(text, format, name, place));
    else complain(error.message);
    if (!(error instanceof api.ApiError) && error.name !== "AbortError") console.error(error);
    if (!article) showCompose();
  } finally {
    stop = null;
    busy(false);
  }
}

/** Ask again while the server says that it is only too busy. */
async function patiently(ask, signal) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 429 && error.status !== 503) throw error;
      const wait = Math.max(1, error.retryAfterS);
      announce(`The server is busy; trying again in ${count(wait, "second")}`);
      setText(byId("tag-name"), "Waiting for the server …");
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
      if (signal.aborted) throw new DOMException("", "AbortError");
    }
  }
}

function read(answer, text, name) {
  performance.mark("read");
  article = new Article(answer, SectionTypes.of(answer, model?.types), text, name);
  setText(byId("title"), article.title || "Untitled article");
  document.title = article.title ? `${article.title} · crosshead` : "crosshead";
  view.show(article);
  strip.show(article);
  byId("shape").classList.toggle("many", article.types.length > 6);
  performance.measure("render", "read");
  summarise();
  announce(`${byId("summary").textContent} ${article.title}`);
}

function summarise() {
  const counts = article.counts();
  const unsure = counts.at(-1);
  const corrected = article.paragraphs.filter(({ correction }) => correction).length;
  const left = Object.entries(article.answer.left_out ?? {}).map(([kind, n]) => count(n, kind));
  const parts = [
    count(article.length, "paragraph"),
    unsure ? `${unsure} not sure` : "all sure",
    corrected ? `${corrected} corrected` : "",
    left.length ? `left out: ${left.join(", ")}` : "",
  ];
  setText(byId("summary"), parts.filter(Boolean).join(" · "));
}

function busy(yes) {
  byId("form").setAttribute("aria-busy", String(yes));
  byId("tag").disabled = yes;
  byId("cancel").hidden = !yes;
  setText(byId("tag-name"), yes ? "Tagging …" : "Tag the article");
}

function complain(message) {
  const alert = byId("alert");
  alert.hidden = !message;
  setText(alert, message);
  if (message) alert.scrollIntoView({ block: "nearest" });
}

// -- what is shown ----------------------------------------------------------------------------------------------------

function showReading() {
  byId("compose").hidden = true;
  byId("reading").hidden = false;
  scrollTo(0, 0);
  byId("title").focus({ preventScroll: true });
}

function showCompose() {
  byId("reading").hidden = true;
  byId("compose").hidden = false;
  document.title = "crosshead";
}

/** The part of the address after # says what to show: #example/NAME, #article, or nothing. */
async function follow() {
  const [what, name] = location.hash.slice(1).split("/");
  complain("");
  if (what === "example" && name) {
    if (article?.example === name) return showReading();
    return openExample(name);
  }
  if (what === "article" && article) return showReading();
  showCompose();
  byId("text").focus({ preventScroll: true });
}

async function openExample(name) {
  try {
    const text = await api.example(name);
    await tag(text, "markdown", name, `#example/${name}`);
    if (article) article.example = name;
  } catch (error) {
    complain(error.message);
    showCompose();
  }
}

function goVisible(i) {
  view.go(i, { focus: false });
}

function filtered(chosen) {
  view.filter(chosen);
  const names = [...chosen].map((type) => article.types.label(type));
  announce(names.length ? `Only ${names.join(" and ")}` : "All paragraphs");
}

function move(step, wanted) {
  const next = view.next(view.current, step, wanted);
  if (next !== null) view.go(next);
  else announce(step > 0 ? "No more after this" : "No more before this");
}

/** The first use of j or k goes to the paragraph that is on the screen, not to its neighbour. */
function step(direction) {
  const inside = document.activeElement?.closest(".paragraph, .strip");
  if (!inside && !view.nodes[view.current].hidden) view.go(view.current);
  else move(direction);
}

// -- corrections ------------------------------------------------------------------------------------------------------

function correct(i, type) {
  if (type < 0 || type >= article.types.length) return;
  const paragraph = article.paragraphs[i];
  const name = article.types.list[type].name;
  const annotator = byId("annotator").value.trim();
  const key = outbox.add({
    article_id: article.id,
    paragraph: paragraph.index,
    text: paragraph.text,
    section_type: name,
    ...(annotator && { annotator }),
  });
  paragraph.correction = { type, key, state: "sending", message: "" };
  pending.set(key, [article, i]);
  redraw(i);
  announce(`Paragraph ${i + 1}: ${article.types.label(type)}`);
}

/** Back to what the model said. The server keeps every correction, so this is one more. */
function undo(i) {
  const paragraph = article.paragraphs[i];
  if (!paragraph.correction) return announce("Nothing to take back here");
  if (paragraph.correction.type !== paragraph.type) correct(i, paragraph.type);
}

function redraw(i) {
  view.update(i);
  view.tellState(i);
  strip.update(i);
  strip.updateCounts();
  strip.mark(view.current);
  summarise();
}

outbox.addEventListener("state", ({ detail: { key, state, message, error } }) => {
  const [where, i] = pending.get(key) ?? [null, null];
  const correction = where?.paragraphs[i].correction;
  if (correction?.key === key) {
    Object.assign(correction, { state, message });
    if (state === "refused") where.paragraphs[i].correction = null;
    if (where === article) tellCorrection(i, state, message);
  }
  if (state === "saved" || state === "refused") pending.delete(key);
  if (error?.needsKey) askForKey(() => outbox.hurry());
  tellOutbox(state, message);
});

function tellCorrection(i, state, message) {
  if (state === "refused") {
    redraw(i);
    complain(`The correction of paragraph ${i + 1} was refused: ${message}`);
    return;
  }
  view.tellState(i);
  if (state === "saved") announce(`Paragraph ${i + 1}: saved`);
}

function tellOutbox(state, message) {
  const button = byId("outbox");
  const waiting = outbox.size && state === "waiting";
  if (state === "sending" && !button.hidden) return; // the next word on it says how it went
  button.hidden = !waiting;
  if (!waiting) return;
  setText(button, `${count(outbox.size, "correction")} not saved yet. Try now`);
  button.title = message;
  announce(button.textContent);
}

// -- why --------------------------------------------------------------------------------------------------------------

async function why(i) {
  const node = view.nodes[i];
  const box = node.querySelector(".explanation");
  const button = node.querySelector(".why");
  const paragraph = article.paragraphs[i];
  if (button.getAttribute("aria-expanded") === "true") {
    button.setAttribute("aria-expanded", "false");
    node.classList.remove("explained");
    box.hidden = true;
    node.querySelector(".text").textContent = paragraph.text;
    return;
  }
  button.setAttribute("aria-expanded", "true");
  const asked = article;
  try {
    paragraph.explanation ??= await api.explain(neighbourhood(i));
  } catch (error) {
    button.setAttribute("aria-expanded", "false");
    if (error.needsKey) askForKey(() => why(i));
    else complain(`Paragraph ${i + 1} cannot be explained: ${error.message}`);
    return;
  }
  if (asked !== article || button.getAttribute("aria-expanded") !== "true") return;
  const type = Math.max(0, article.types.indexOf(paragraph.explanation.section_type));
  node.querySelector(".body").dataset.hue = article.types.hue(type); // that of the model's answer, also when corrected
  highlight(node.querySelector(".text"), paragraph.text, paragraph.explanation);
  box.replaceChildren(...describe(paragraph.explanation, article.types.label(type)));
  box.hidden = false;
  node.classList.add("explained");
  announce(`Explained: ${box.querySelector(".reasons").textContent || "nothing stands out"}`);
}

function neighbourhood(i) {
  const texts = article.paragraphs.map(({ text }) => text);
  return { paragraph: texts[i], before: texts.slice(Math.max(0, i - N_NEIGHBOURS), i), after: texts.slice(i + 1, i + 1 + N_NEIGHBOURS) };
}

// -- taking it along ----------------------------------------------------------------------------------------------------

function written() {
  const format = FORMATS[byId("export-format").value];
  return { ...format, text: format.write(article) };
}

async function copy() {
  const { text } = written();
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyByHand(text);
  }
  flash(byId("copy"), "Copied");
}

/** Where the page came without HTTPS there is no clipboard but this one. */
function copyByHand(text) {
  const area = element("textarea", { class: "visually-hidden", readonly: true, "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function download() {
  const { text, suffix, media } = written();
  const mark = suffix === "csv" ? "\ufeff" : ""; // spreadsheets take it as a sign of UTF-8
  const address = URL.createObjectURL(new Blob([mark, text], { type: `${media};charset=utf-8` }));
  element("a", { href: address, download: `${slug(article.title)}.${suffix}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  flash(byId("download"), "Downloaded");
}

function flash(button, word) {
  const label = button.lastChild;
  button.dataset.word ??= label.textContent;
  label.textContent = word;
  announce(word);
  clearTimeout(button.timer);
  button.timer = setTimeout(() => (label.textContent = button.dataset.word), 2000);
}

// -- files --------------------------------------------------------------------------------------------------------------

const BY_SUFFIX = { md: "markdown", markdown: "markdown", html: "html", htm: "html", xhtml: "html", txt: "text", text: "text" };

async function openFile(file) {
  complain("");
  if (file.size > MAX_FILE_BYTES) return complain(`${file.name} has more than ${MAX_FILE_BYTES / 1024 ** 2} MB; use crosshead tag for it.`);
  const text = decode(await file.arrayBuffer());
  if (text === null) return complain(`${file.name} is no text. Markdown, HTML and plain text can be tagged.`);
  const [, stem, suffix] = /^(.*?)(?:\.([^.]*))?$/s.exec(file.name);
  byId("text").value = text;
  byId("format").value = BY_SUFFIX[suffix?.toLowerCase()] ?? "auto";
  return tag(text, byId("format").value, stem);
}

/** UTF-8 or, with its mark, UTF-16; else what old Windows programs write; null for what is no text. */
function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  const mark = (bytes[0] << 8) | bytes[1];
  if (mark === 0xfffe || mark === 0xfeff) return new TextDecoder(mark === 0xfffe ? "utf-16le" : "utf-16be").decode(buffer);
  if (bytes.subarray(0, 4096).includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(buffer);
  } catch {
    return new TextDecoder("windows-1252").decode(buffer);
  }
}

function acceptDrops() {
  const hint = byId("dropping");
  const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    hint.hidden = false;
  });
  addEventListener("dragleave", (event) => (hint.hidden = hint.hidden || event.relatedTarget === null));
  addEventListener("drop", (event) => {
    hint.hidden = true;
    if (!carriesFile(event)) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) openFile(file);
  });
}

// -- the rest -------------------------------------------------------------------------------------------------------------

async function loadGallery() {
  const cards = await api.gallery().catch(() => []);
  byId("gallery").replaceChildren(
    ...cards.map(({ name, title, standfirst, n_paragraphs: n }) =>
      element(
        "li",
        {},
        element("h3", {}, element("a", { href: `#example/${name}` }, title)),
        element("p", { class: "standfirst" }, standfirst),
        element("p", { class: "size" }, count(n, "paragraph")),
      ),
    ),
  );
}

let afterKey = () => {};

function askForKey(then = () => {}) {
  afterKey = then;
  const dialog = byId("unlock");
  if (!dialog.open) dialog.showModal();
}

function chooseTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  storage.set("theme", theme === "system" ? null : theme);
  setText(byId("theme-name"), `Theme: ${theme}`);
}

function wire() {
  const on = (id, kind, act) => byId(id).addEventListener(kind, act);
  on("form", "submit", (event) => {
    event.preventDefault();
    tag(byId("text").value, byId("format").value);
  });
  on("text", "keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
  });
  on("cancel", "click", () => stop?.abort());
  on("open-file", "click", () => byId("file").click());
  on("file", "change", ({ target }) => {
    if (target.files[0]) openFile(target.files[0]);
    target.value = "";
  });
  on("copy", "click", copy);
  on("download", "click", download);
  on("outbox", "click", () => outbox.hurry());
  on("open-help", "click", () => byId("help").showModal());
  on("open-model", "click", () => byId("about").showModal());
  on("theme", "click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    chooseTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
  on("key-form", "submit", () => {
    api.apiKey.set(byId("api-key").value.trim());
    loadModel();
    afterKey();
  });
  on("annotator", "change", ({ target }) => storage.set("annotator", target.value.trim() || null));
  byId("annotator").value = storage.get("annotator") ?? "";
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop?.abort();
  });
}

function wireKeys() {
  listKeys();
  const unsure = (i) => article.shown(i) === NOT_SURE;
  listen(
    {
      j: () => step(1),
      k: () => step(-1),
      n: () => move(1, unsure),
      p: () => move(-1, unsure),
      e: () => why(view.current),
      u: () => undo(view.current),
      a: () => strip.showAll(),
      c: copy,
      d: download,
      w: () => (location.hash = ""),
      "?": () => byId("help").showModal(),
      digit: (type) => correct(view.current, type),
      shiftDigit: (type) => type < article.types.length && strip.toggle(type),
    },
    { active: () => article && !byId("reading").hidden },
  );
}

if (/Mac|iP(hone|ad)/.test(navigator.platform)) setText(byId("tag-keys"), "⌘ ⏎");
chooseTheme(document.documentElement.dataset.theme ?? "system");
wire();
wireKeys();
acceptDrops();
loadGallery();
outbox.run();
await loadModel();
follow();
