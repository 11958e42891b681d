// Files that are dropped on the page or opened: which they are, and their text.

import { byId } from "./dom.js";

const MAX_BYTES = 10 * 1024 ** 2; // where the server does not say what it takes

const BY_SUFFIX = { md: "markdown", markdown: "markdown", html: "html", htm: "html", xhtml: "html", txt: "text", text: "text" };

/** Read a file; throws an error with words for the reader where it is no text, or too long. */
export async function readFile(file, maxBytes = MAX_BYTES) {
  if (file.size > maxBytes) {
    const most = (maxBytes / 1024 ** 2).toFixed(1).replace(".0", "");
    throw new RangeError(`${file.name} is larger than this server takes (${most} MB); use “crosshead tag” for it.`);
  }
  const text = decode(await file.arrayBuffer());
  if (text === null) throw new TypeError(`${file.name} is no text. Markdown, HTML and plain text can be tagged.`);
  const [, name, suffix] = /^(.*?)(?:\.([^.]*))?$/s.exec(file.name);
  return { text, name, format: BY_SUFFIX[suffix?.toLowerCase()] ?? "auto" };
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

/** Take files that are dropped anywhere on the page. */
export function acceptDrops(take) {
  const hint = byId("dropping");
  const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    hint.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) hint.hidden = true;
  });
  addEventListener("drop", (event) => {
    hint.hidden = true;
    if (!carriesFile(event)) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
}
