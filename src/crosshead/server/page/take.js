// Copying the article and downloading it.

import { slug } from "./article.js";
import { announce, byId, element } from "./dom.js";
import { FORMATS } from "./exports.js";

function written(article) {
  const format = FORMATS[byId("export-format").value];
  return { ...format, text: format.write(article) };
}

export async function copy(article) {
  const { text } = written(article);
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
  const before = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  before?.focus?.({ preventScroll: true });
}

export function download(article) {
  const { text, suffix, media } = written(article);
  const mark = suffix === "csv" ? "\ufeff" : ""; // spreadsheets take it as a sign of UTF-8
  const address = URL.createObjectURL(new Blob([mark, text], { type: `${media};charset=utf-8` }));
  element("a", { href: address, download: `${slug(article.title)}.${suffix}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  flash(byId("download"), "Downloaded");
}

const timers = new WeakMap();

/** Let a button say for two seconds that it has done its work. */
function flash(button, word) {
  const label = button.lastChild;
  button.dataset.word ??= label.textContent;
  label.textContent = word;
  announce(word);
  clearTimeout(timers.get(button));
  timers.set(button, setTimeout(() => (label.textContent = button.dataset.word), 2000));
}
