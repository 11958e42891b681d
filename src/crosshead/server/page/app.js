// The page: what is on it at the moment, and what leads from one state to the next.

import { showModel } from "./about.js";
import * as api from "./api.js";
import { Article } from "./article.js";
import { Corrections } from "./corrections.js";
import { announce, byId, count, element, flowing, setText, storage } from "./dom.js";
import { describe, highlight } from "./explain.js";
import { acceptDrops, readFile } from "./files.js";
import { listen, listKeys } from "./keys.js";
import { Outbox } from "./outbox.js";
import { Strip } from "./strip.js";
import { copy, download } from "./take.js";
import { NOT_SURE, SectionTypes } from "./types.js";
import { ArticleView } from "./view.js";

const THEMES = ["system", "light", "dark"];

let model = null;
let article = null;
let stop = null; // ends the tagging under way
let afterKey = () => {};
let known = Promise.resolve(); // until the model has been asked for

const view = new ArticleView(byId("article"), {
  onCurrent: (i) => strip.mark(i),
  onCorrect: correct,
  onWhy: why,
  onFrame: (first, last) => strip.frame(first, last),
});
const strip = new Strip(
  { strip: byId("strip"), filters: byId("filters"), caption: byId("caption") },
  { onGo: (i) => view.go(i, { focus: false }), onFilter: filtered },
);
const outbox = new Outbox(api.correct);
const corrections = new Corrections(outbox, {
  changed: (where, i) => where === article && redraw(i),
  faring: (where, i) => where === article && view.tellState(i),
  complain,
  locked: () => askForKey(() => outbox.hurry()),
  taken: () => model?.takes_corrections !== false,
});

// -- tagging --------------------------------------------------------------------------------------------------------

async function loadModel() {
  try {
    model = await api.model();
  } catch (error) {
    setText(byId("model-name"), "The model cannot be asked");
    if (error.needsKey) askForKey();
    return;
  }
  model.types = new SectionTypes(model.section_types ?? []);
  showModel(model);
}

/** @param {{file?: string, example?: string}} from the file or the example that the text came from, without suffix */
async function tag(text, format, { file = "", example = "" } = {}) {
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
    await known;
    read(answer, text, { name: file || example, file: Boolean(file) });
    article.example = example;
    const place = example ? `#example/${example}` : "#article";
    if (location.hash !== place) history.pushState(null, "", place);
    showReading();
  } catch (error) {
    failed(error, () => tag(text, format, { file, example }));
    showCompose();
  } finally {
    stop = null;
    busy(false);
  }
}

function failed(error, again) {
  if (error.name === "AbortError") announce("Cancelled");
  else if (error.needsKey) askForKey(again);
  else complain(error.message);
  if (!(error instanceof api.ApiError) && error.name !== "AbortError") console.error(error);
}

/** Ask again while the server says that it is only too busy. */
async function patiently(ask, signal) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 429 && error.status !== 503) throw error;
      const wait = Math.max(1, error.retryAfterS);
      setText(byId("tag-name"), "Waiting for the server …");
      announce(`The server is busy; trying again in ${count(wait, "second")}`);
      await new Promise((resolve) => {
        setTimeout(resolve, wait * 1000);
        signal.addEventListener("abort", resolve);
      });
      signal.throwIfAborted();
    }
  }
}

function read(answer, text, from) {
  performance.mark("read");
  article = new Article(answer, SectionTypes.of(answer, model?.types), text, from);
  setText(byId("title"), article.title || "Untitled article");
  view.show(article);
  strip.show(article);
  byId("shape").classList.toggle("many", article.types.length > 6);
  summarise();
  performance.measure("render", "read");
  announce(`${article.title}: ${byId("summary").textContent}`);
}

function summarise() {
  const unsure = article.counts().at(-1);
  const corrected = article.paragraphs.filter(({ correction }) => correction).length;
  const left = Object.entries(article.answer.left_out ?? {}).map(([kind, n]) => count(n, kind));
  const parts = [
    count(article.length, "paragraph"),
    unsure ? `${unsure} not sure` : "",
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

async function openFile(file) {
  complain("");
  try {
    const { text, name, format } = await readFile(file, model?.limits?.body_bytes);
    byId("text").value = text;
    byId("format").value = format;
    await tag(text, format, { file: name });
  } catch (error) {
    complain(error.message);
  }
}

// -- what is shown ----------------------------------------------------------------------------------------------------

function showReading() {
  byId("compose").hidden = true;
  byId("reading").hidden = false;
  document.title = article.title ? `${article.title} · crosshead` : "crosshead";
  scrollTo(0, 0);
  byId("title").focus({ preventScroll: true });
}

function showCompose() {
  const returned = byId("compose").hidden;
  byId("reading").hidden = true;
  byId("compose").hidden = false;
  document.title = "crosshead";
  if (returned) byId("compose-title").focus();
}

/** The part of the address after # says what to show: #example/NAME, #article, or nothing. */
async function follow() {
  const [what, name] = location.hash.slice(1).split("/");
  complain("");
  if (what === "example" && name) {
    if (article?.example === name) showReading();
    else await openExample(name);
  } else if (what === "article" && article) showReading();
  else showCompose();
}

async function openExample(name) {
  try {
    await tag(await api.example(name), "markdown", { example: name });
  } catch (error) {
    complain(error.message);
    showCompose();
  }
}

function redraw(i) {
  view.update(i);
  view.tellState(i);
  strip.update(i);
  strip.updateCounts();
  strip.mark(view.current);
  summarise();
}

function filtered(chosen) {
  view.filter(chosen);
  const names = [...chosen].map((type) => article.types.label(type));
  announce(names.length ? `Only ${names.join(" and ")}` : "All paragraphs");
}

function move(direction, wanted) {
  const next = view.next(view.current, direction, wanted);
  if (next !== null) view.go(next);
  else announce(direction > 0 ? "No more after this" : "No more before this");
}

/** The first use of j or k goes to the current paragraph, not past it. */
function step(direction) {
  const inside = document.activeElement?.closest(".paragraph, .strip");
  if (!inside && !view.nodes[view.current].hidden) view.go(view.current);
  else move(direction);
}

function correct(i, type) {
  if (type < article.types.length) corrections.correct(article, i, type);
}

// -- why --------------------------------------------------------------------------------------------------------------

async function why(i) {
  const button = view.nodes[i].querySelector(".why");
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) {
    view.unexplain(i);
    return;
  }
  const asked = article;
  const paragraph = article.paragraphs[i];
  try {
    paragraph.explanation ??= await api.explain(neighbourhood(i));
  } catch (error) {
    button.setAttribute("aria-expanded", "false");
    if (error.needsKey) askForKey(() => why(i));
    else complain(`Paragraph ${i + 1} cannot be explained: ${error.message}`);
    return;
  }
  if (asked === article && button.getAttribute("aria-expanded") === "true") explain(i, paragraph);
}

function explain(i, { text, explanation }) {
  const type = Math.max(0, article.types.indexOf(explanation.section_type));
  view.explain(i, type, (words) => highlight(words, flowing(text), explanation), describe(explanation, article.types.label(type)));
  const reasons = view.nodes[i].querySelector(".reasons").textContent;
  announce(`Explained. ${reasons || "Nothing stands out."}`);
}

/** All of the article, so that what is explained is what was decided. */
function neighbourhood(i) {
  const texts = article.paragraphs.map(({ text }) => text);
  return { paragraph: texts[i], before: texts.slice(0, i), after: texts.slice(i + 1) };
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
  on("copy", "click", () => copy(article));
  on("download", "click", () => download(article));
  on("outbox", "click", () => outbox.hurry());
  on("open-help", "click", () => byId("help").showModal());
  on("open-model", "click", () => byId("about").showModal());
  on("theme", "click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    chooseTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
  on("key-form", "submit", () => {
    api.apiKey.set(byId("api-key").value.trim());
    byId("api-key").value = "";
    known = loadModel();
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
      u: () => corrections.undo(article, view.current),
      a: () => strip.showAll(),
      c: () => copy(article),
      d: () => download(article),
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
acceptDrops(openFile);
loadGallery();
outbox.run();
known = loadModel();
if (location.hash) follow();
