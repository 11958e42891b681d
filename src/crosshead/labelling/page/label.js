/** The label page: what a key press does. Labels go to the outbox at once; the next paragraph never waits for them. */

import { Outbox } from "./outbox.js";
import * as view from "./view.js";
import { $, OPEN, SKIPPED, shown } from "./view.js";

const AHEAD = 12;
const CHUNK = 30;
const WIDE = matchMedia("(min-width: 68rem)");

const items = new Map();
const asked = new Set();
let session;
let outbox;
let current = null;
let history = [];
let last = null;
let lost = "";
let hints = false;
let onlySkipped = false;

// -- paragraphs -------------------------------------------------------------------------------------------------------

async function load(index) {
  const start = Math.floor(index / CHUNK) * CHUNK;
  if (asked.has(start)) return;
  asked.add(start);
  try {
    const response = await fetch(`/api/items?start=${start}&n=${CHUNK}`);
    if (!response.ok) throw new Error(response.status);
    for (const item of await response.json()) items.set(item.index, { ...item, hinted: false });
    if (current !== null && start <= current && current < start + CHUNK) draw();
  } catch {
    asked.delete(start);
    setTimeout(() => load(index), 1000);
  }
}

function goTo(index) {
  current = index;
  window.history.replaceState(null, "", `#${index + 1}`);
  closeNote();
  load(index);
  load(Math.min(index + AHEAD, session.marks.length - 1));
  draw();
}

function draw() {
  const item = items.get(current);
  if (item) {
    view.drawItem(item, session);
    $("note").value = item.note;
    document.querySelector('[data-do="note"]').classList.toggle("filled", Boolean(item.note));
    hint(item);
  }
  view.drawProgress(session, current);
  view.drawLast(session, last);
}

/** The next paragraph to read after one: an open one, else none; skipped ones come when they are asked for. */
function next(after) {
  const wanted = onlySkipped ? SKIPPED : OPEN;
  const rest = session.marks.indexOf(wanted, after + 1);
  if (rest >= 0 || onlySkipped) return rest;
  return session.marks.indexOf(wanted);
}

function advance(from) {
  const index = next(from);
  if (index >= 0) goTo(index);
  else finish();
}

function finish() {
  current = null;
  onlySkipped = false;
  window.history.replaceState(null, "", "#end");
  view.drawProgress(session, null);
  view.drawLast(session, last);
  view.drawSuggestion(null, session.section_types);
  view.drawFinish(session);
  tell(`All read. ${$("finish-told").textContent}`);
}

// -- what is done with them -------------------------------------------------------------------------------------------

function place(item) {
  return { article_id: item.article_id, paragraph: item.paragraph, text_sha256: item.text_sha256 };
}

function mark(number) {
  const item = items.get(current);
  if (!item || number >= session.section_types.length) return;
  const index = current;
  const type = session.section_types[number];
  session.marks[index] = number;
  history = [...history.filter((i) => i !== index), index];
  last = { index, mark: number, text: item.text };
  outbox.add(
    number === SKIPPED
      ? { event: "skip", ...place(item) }
      : { event: "label", ...place(item), section_type: type.name, suggestion_shown: item.hinted },
  );
  flash(number);
  advance(index);
  const told = number === SKIPPED ? "Skipped." : `${shown(type.name)}.`;
  if (current !== null) tell(`${told} ${current + 1} of ${session.marks.length}.`);
}

function undo() {
  const index = history.pop();
  if (index === undefined) return tell("There is nothing to take back.");
  const item = items.get(index);
  if (!item) {
    history.push(index);
    load(index);
    return tell("Loading; press again.");
  }
  session.marks[index] = OPEN;
  last = null;
  outbox.add({ event: "undo", ...place(item) });
  goTo(index);
  tell(`Taken back. ${index + 1} of ${session.marks.length}.`);
}

function step(by) {
  if (current === null) {
    if (by < 0) goTo(session.marks.length - 1);
    return;
  }
  const index = current + by;
  if (index >= 0 && index < session.marks.length) goTo(index);
}

function openNote() {
  if (current === null) return;
  view.show($("note-form"), true);
  $("note").focus();
}

function keepNote() {
  const item = items.get(current);
  const note = $("note").value.trim();
  if (item && note !== item.note) {
    item.note = note;
    outbox.add({ event: "note", ...place(item), note });
    tell(note ? "Note kept." : "Note removed.");
    draw();
  }
  closeNote();
  $("reading").focus({ preventScroll: true });
}

function closeNote() {
  view.show($("note-form"), false);
}

function toggleHints() {
  if (!session.suggestions) return;
  hints = !hints;
  document.querySelector('[data-do="suggest"]').setAttribute("aria-pressed", String(hints));
  if (items.has(current)) hint(items.get(current));
}

async function hint(item) {
  view.drawSuggestion(null, session.section_types);
  if (!hints) return;
  try {
    const response = await fetch(`/api/suggestions/${item.index}`);
    const { suggestion } = await response.json();
    if (!hints || item.index !== current) return;
    item.hinted ||= Boolean(suggestion);
    view.drawSuggestion(suggestion, session.section_types);
  } catch {
    // Without a server there is no hint.
  }
}

function toggleCodebook(open = $("codebook").hidden) {
  view.show($("codebook"), open);
  document.body.classList.toggle("with-codebook", open);
  document.querySelector('[data-do="codebook"]').setAttribute("aria-expanded", String(open));
  const covers = open && !WIDE.matches;
  for (const node of [$("reading"), document.querySelector(".top"), document.querySelector(".dock")]) node.inert = covers;
  if (covers) $("codebook-close").focus();
  else $("reading").focus({ preventScroll: true });
  view.drawProgress(session, current);
}

const deeds = {
  back: () => step(-1),
  undo,
  skip: () => mark(SKIPPED),
  note: openNote,
  suggest: toggleHints,
  codebook: () => toggleCodebook(),
  help: () => $("help").showModal(),
};

// -- telling ------------------------------------------------------------------------------------------------------------

function tell(message) {
  $("told").textContent = message;
}

function flash(number) {
  const button = $("types").children[number];
  if (!button) return;
  button.classList.remove("pressed");
  void button.offsetWidth; // begins the animation anew
  button.classList.add("pressed");
}

function saved(event, answer) {
  session.pace = answer.pace;
  const later = outbox.waiting.some((other) => other.article_id === event.article_id && other.paragraph === event.paragraph);
  if (!later && session.marks[answer.index] !== answer.mark) {
    session.marks[answer.index] = answer.mark; // an earlier label holds again
    if (answer.mark !== OPEN) history = [answer.index, ...history.filter((i) => i !== answer.index)];
    if (answer.index === current) view.drawMark(answer.mark);
  }
  view.drawProgress(session, current);
  view.drawSaving(outbox, lost);
}

function refused(event, why) {
  lost = `A ${event.event} was not taken: ${why}`;
  view.drawSaving(outbox, lost);
}

// -- keys and clicks ----------------------------------------------------------------------------------------------------

const KEYS = { u: "undo", backspace: "undo", s: "skip", n: "note", h: "suggest", c: "codebook", "?": "help" };

function typeOf(event) {
  // The digit itself, or, on keyboards that give digits with Shift only, the key that carries it.
  const digit = /^\d$/.test(event.key) ? event.key : (/^Digit(\d)$/.exec(event.code) || [])[1];
  return digit === undefined ? -1 : digit === "0" ? 9 : Number(digit) - 1;
}

function onKey(event) {
  const isTyping = event.target.matches("input:not([type=checkbox]), textarea");
  if ($("help").open) return;
  if (event.key === "Escape") {
    if (isTyping) {
      closeNote();
      $("note").value = items.get(current)?.note || "";
      $("reading").focus({ preventScroll: true });
    } else if (!$("codebook").hidden && !WIDE.matches) toggleCodebook(false);
    return;
  }
  const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  if (isTyping || event.repeat) return;
  if (isUndo) {
    event.preventDefault();
    undo();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || !$("keys-on").checked) return;
  const number = typeOf(event);
  const deed = KEYS[event.key.toLowerCase()];
  if ($("reading").inert && deed !== "codebook") return;
  if (number >= 0) mark(number);
  else if (deed) deeds[deed]();
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
}

function listen() {
  document.addEventListener("keydown", onKey);
  $("types").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) mark(Number(button.dataset.type));
  });
  document.querySelector(".tools").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) deeds[button.dataset.do]();
  });
  $("note-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keepNote();
  });
  $("codebook-close").addEventListener("click", () => toggleCodebook(false));
  $("help-close").addEventListener("click", () => $("help").close());
  $("keys-on").addEventListener("change", () => localStorage.setItem("keys", $("keys-on").checked ? "on" : "off"));
  $("again").addEventListener("click", () => {
    onlySkipped = true;
    advance(-1);
  });
  $("progress").addEventListener("click", (event) => {
    const share = event.offsetX / $("progress").clientWidth;
    goTo(Math.min(session.marks.length - 1, Math.max(0, Math.floor(share * session.marks.length))));
  });
  addEventListener("resize", () => view.drawProgress(session, current));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    view.forgetColours();
    view.drawProgress(session, current);
  });
  WIDE.addEventListener("change", () => toggleCodebook(WIDE.matches));
  addEventListener("beforeunload", (event) => {
    if (outbox.size) event.preventDefault();
  });
}

function drawKeys() {
  const rows = [
    ...session.section_types.map((type, i) => [view.keyOf(i), shown(type.name)]).filter(([key]) => key),
    ["S", "skip; skipped paragraphs come again at the end"],
    ["U", "undo, also Backspace and Ctrl Z"],
    ["N", "note; Enter keeps it, Esc does not"],
    ...(session.suggestions ? [["H", "hint: what the tagger says; such labels are marked"]] : []),
    ["C", "codebook"],
    ["← →", "back and forward, to look or to label anew"],
    ["Tab", "every button"],
  ];
  $("help-keys").replaceChildren(
    ...rows.flatMap(([key, told]) => {
      const term = view.element("dt");
      term.append(view.element("kbd", key));
      return [term, view.element("dd", told)];
    }),
  );
}

// -- the beginning ------------------------------------------------------------------------------------------------------

function firstPlace() {
  const told = Number(location.hash.slice(1)) - 1;
  if (Number.isInteger(told) && told >= 0 && told < session.marks.length) return told;
  return next(history.at(-1) ?? -1);
}

/** Put on top of what the server knows what it has not been told yet. */
async function replay() {
  for (const event of outbox.waiting) {
    const index = [...items.values()].find(
      (item) => item.article_id === event.article_id && item.paragraph === event.paragraph,
    )?.index;
    if (index === undefined) continue;
    if (event.event === "label") session.marks[index] = session.section_types.findIndex((t) => t.name === event.section_type);
    if (event.event === "skip") session.marks[index] = SKIPPED;
    if (event.event === "undo") session.marks[index] = OPEN;
  }
}

async function begin() {
  try {
    const response = await fetch("/api/session");
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    session = answer;
  } catch (error) {
    view.drawTrouble(`The page cannot begin: ${error.message}. Start crosshead label again, then load this page.`);
    return;
  }
  history = session.history;
  outbox = new Outbox(`outbox ${session.annotator} ${session.queue_id}`, {
    changed: () => view.drawSaving(outbox, lost),
    saved,
    refused,
  });
  view.drawSession(session);
  drawKeys();
  view.show(document.querySelector('[data-do="suggest"]'), session.suggestions);
  $("keys-on").checked = localStorage.getItem("keys") !== "off";
  listen();
  const index = firstPlace();
  await load(Math.max(0, index));
  replay();
  toggleCodebook(WIDE.matches);
  if (index >= 0) goTo(index);
  else finish();
  view.drawSaving(outbox, lost);
  outbox.send();
  document.body.dataset.ready = "";
}

begin();
