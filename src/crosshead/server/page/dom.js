// Small helpers around the document. Text always goes in as text: nothing here, or anywhere on this page, parses markup.

export const byId = (id) => document.getElementById(id);

/** Make an element. Attributes that are false or null are left out, true is written empty, `on…` are listeners. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/**
 * A paragraph as it flows on a page: its source's wrapped lines run on, its hard breaks (a line that ends with two
 * spaces or a backslash, as in Markdown) stay. No letter is added or taken away, so offsets stay true.
 */
export function flowing(text) {
  return text.replace(/( {2}|\\)?\n/g, (end, hard) => (hard ? end : " "));
}

/** Change text only where it differs, so that nothing is painted or read out again for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let last = "";

/** Tell a screen reader. The same words twice are told twice. */
export function announce(message) {
  last = message === last ? `${message}\u00a0` : message;
  byId("live").textContent = last;
}

export function percent(probability) {
  const rounded = Math.round(probability * 100);
  if (rounded === 100 && probability < 1) return "> 99 %";
  if (rounded === 0 && probability > 0) return "< 1 %";
  return `${rounded} %`;
}

export function count(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}

export const storage = {
  get(name) {
    try {
      return localStorage.getItem(`crosshead.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`crosshead.${name}`);
      else localStorage.setItem(`crosshead.${name}`, value);
      return true;
    } catch {
      return false;
    }
  },
  /** Names that begin so, without `crosshead.`. */
  names(prefix) {
    try {
      return Object.keys(localStorage)
        .filter((name) => name.startsWith(`crosshead.${prefix}`))
        .map((name) => name.slice("crosshead.".length));
    } catch {
      return [];
    }
  },
};
