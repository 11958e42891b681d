// Single-key shortcuts. They never act in a field, in a dialog or together with Ctrl, Alt or Meta, and can be switched off.

import { byId, element, storage } from "./dom.js";

/** What the list in the dialog says. */
const WORDS = [
  [["j", "k"], "next, previous paragraph"],
  [["n", "p"], "next, previous one that the model is not sure of"],
  [["1", "…", "9"], "correct or confirm the section type"],
  [["u"], "back to what the model said"],
  [["e"], "why this section type? Again to close"],
  [["Shift 1", "…", "Shift 9"], "show only this section type; again for all"],
  [["a"], "show all"],
  [["c"], "copy in the chosen format"],
  [["d"], "download"],
  [["w"], "another article"],
  [["?"], "this list"],
  [["Ctrl ⏎"], "in the text field: tag the article"],
  [["Esc"], "stop tagging; close what is open"],
  [["←", "→"], "on the shape of the article: move along"],
];

export function listKeys() {
  const rows = WORDS.map(([keys, words]) => [
    element("dt", {}, ...keys.map((key) => (key === "…" ? " to " : element("kbd", {}, key)))),
    element("dd", {}, words),
  ]);
  byId("key-list").replaceChildren(...rows.flat());
}

const busy = (target) => target.closest?.("input, textarea, select, dialog, [contenteditable]");

/** @param {Record<string, () => void>} actions by key; `digit` and `shiftDigit` take a number from 0 */
export function listen(actions, { active }) {
  const box = byId("keys-on");
  box.checked = storage.get("keys") !== "off";
  box.addEventListener("change", () => storage.set("keys", box.checked ? null : "off"));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (!box.checked || busy(event.target)) return;
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
    const name = digit ? (event.shiftKey ? "shiftDigit" : "digit") : event.key;
    if (!Object.hasOwn(actions, name) || (name !== "?" && !active())) return;
    event.preventDefault();
    actions[name](digit ? Number(digit[1]) - 1 : undefined);
  });
}
