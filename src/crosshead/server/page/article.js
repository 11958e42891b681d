// A tagged article with what its reader made of it.

import { NOT_SURE } from "./types.js";

/** Fifty-three bits of a hash (after cyrb53, public domain), to tell articles apart; browsers' own needs HTTPS. */
function hash(text) {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 2654435761);
    b = Math.imul(b ^ code, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(16).padStart(14, "0");
}

export function slug(title) {
  const plain = title.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60).replace(/-+$/, "") || "article";
}

const idOf = (name) => name.replace(/[\u0000-\u001f\u007f]/g, "").trim().slice(0, 200);

export class Article {
  /**
   * @param answer of POST /v1/tag
   * @param {SectionTypes} types
   * @param {string} text what was sent
   * @param {{name?: string, file?: boolean}} from what it came from, and whether that is a file
   */
  constructor(answer, types, text, { name = "", file = false } = {}) {
    this.answer = answer;
    this.types = types;
    this.title = answer.title || name || "";
    this.paragraphs = answer.paragraphs.map((tagged) => ({
      ...tagged,
      type: types.indexOf(tagged.section_type),
      correction: null,
    }));
    // A file's articles go by its name in a corpus, so corrections of it fit there as they are.
    this.id = (file && idOf(name)) || `page-${slug(this.title)}-${hash(text)}`;
  }

  get length() {
    return this.paragraphs.length;
  }

  /** The index of the section type that is shown: the reader's, the model's, or NOT_SURE. */
  shown(i) {
    const { correction, abstained, type } = this.paragraphs[i];
    if (correction) return correction.type;
    return abstained ? NOT_SURE : type;
  }

  /** How many paragraphs are shown as each section type; not sure is the last. */
  counts() {
    const counts = new Array(this.types.length + 1).fill(0);
    for (let i = 0; i < this.length; i++) {
      const type = this.shown(i);
      counts[type === NOT_SURE ? this.types.length : type] += 1;
    }
    return counts;
  }

  /** The article's own headings that begin at a paragraph: `{depth, text}`, outermost first. */
  headingsAt(i) {
    const here = this.paragraphs[i].headings ?? [];
    const before = i ? (this.paragraphs[i - 1].headings ?? []) : [];
    let same = 0;
    while (same < here.length && here[same] === before[same]) same += 1;
    return here.slice(same).map((text, k) => ({ depth: same + k, text }));
  }

  /** True where a section begins: a type other than the paragraph's before, or a heading of the article's own. */
  beginsAt(i) {
    return i === 0 || this.shown(i) !== this.shown(i - 1) || this.headingsAt(i).length > 0;
  }

  /** The model's candidates for a paragraph it is not sure of, most probable first. */
  candidates(i) {
    const { label_set: set, scores } = this.paragraphs[i];
    const ranked = Object.keys(scores).sort((a, b) => scores[b] - scores[a]);
    const named = set?.length > 1 && set.length < ranked.length ? ranked.filter((name) => set.includes(name)) : ranked.slice(0, 2);
    return named.map((name) => this.types.indexOf(name));
  }
}
