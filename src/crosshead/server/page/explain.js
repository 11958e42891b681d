// Why a paragraph has its section type: its sentences and words, marked by how much they speak for it or against it.

import { element } from "./dom.js";

const N_LEVELS = 4;
const FAINTEST_SENTENCE = 0.05;
const FAINTEST_WORD = 0.25; // weaker ones are "the" and "of" as often as not

/** Offsets count code points; strings here count UTF-16 units. */
function unitOffsets(text) {
  const offsets = [0];
  for (const point of text) offsets.push(offsets.at(-1) + point.length);
  return offsets;
}

/** Cut text at all borders of the spans; each piece with the sentence and the word it lies in, or null. */
export function pieces(text, sentences, words) {
  const units = unitOffsets(text);
  const at = (offset) => units[Math.min(Math.max(offset, 0), units.length - 1)];
  const place = (spans) => spans.map((span) => ({ ...span, from: at(span.start), to: at(span.end) })).filter((s) => s.to > s.from);
  const [placedSentences, placedWords] = [place(sentences), place(words)];
  const borders = new Set([0, text.length, ...[...placedSentences, ...placedWords].flatMap(({ from, to }) => [from, to])]);
  const sorted = [...borders].sort((a, b) => a - b);
  const over = (spans, from) => spans.find((span) => span.from <= from && from < span.to) ?? null;
  return sorted.slice(1).map((to, k) => {
    const from = sorted[k];
    return { text: text.slice(from, to), sentence: over(placedSentences, from), word: over(placedWords, from) };
  });
}

/** 0 to 4: how strong an effect is, beside the strongest of its kind. */
function level(effect, strongest, faintest) {
  const share = strongest ? Math.abs(effect) / strongest : 0;
  return share < faintest ? 0 : Math.max(1, Math.ceil(share * N_LEVELS));
}

const strongest = (spans) => Math.max(0, ...spans.map(({ effect }) => Math.abs(effect)));

function markWord(text, span, most) {
  const strength = span ? level(span.effect, most, FAINTEST_WORD) : 0;
  if (!strength) return document.createTextNode(text);
  return element("span", { class: `word ${span.effect > 0 ? "for" : "against"} level-${strength}` }, text);
}

/** Mark sentences and words in the paragraph's text. */
export function highlight(node, text, { sentences, words }) {
  const [mostSentence, mostWord] = [strongest(sentences), strongest(words)];
  let open = null;
  let holder = null;
  const made = [];
  for (const { text: part, sentence, word } of pieces(text, sentences, words)) {
    if (!sentence || sentence !== open) {
      open = sentence;
      const strength = sentence ? level(sentence.effect, mostSentence, FAINTEST_SENTENCE) : 0;
      const side = sentence?.effect > 0 ? "for" : "against";
      holder = element("span", strength ? { class: `sentence ${side} level-${strength}` } : {});
      made.push(holder);
    }
    holder.append(markWord(part, word, mostWord));
  }
  node.replaceChildren(...made);
}

const signed = (effect) => `${effect < 0 ? "−" : "+"}${Math.abs(effect).toFixed(2)}`;

function strongestWords(words, sign, n = 6) {
  const most = strongest(words);
  const chosen = words.filter(({ effect }) => Math.sign(effect) === sign && level(effect, most, FAINTEST_WORD));
  const seen = new Map(chosen.sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect)).map((word) => [word.text.toLowerCase(), word]));
  return [...seen.values()].slice(0, n).map(({ text }) => text);
}

function wordList(label, words) {
  if (!words.length) return [];
  return [element("dt", {}, label), element("dd", {}, words.join(", "))];
}

/** A legend, and the same in words for those who do not see the marks. */
export function describe(explanation, label) {
  const { sentences, words } = explanation;
  const most = strongest(sentences);
  const sample = (side, text) =>
    element("span", { class: "key" }, element("span", { class: `sentence ${side} level-3`, "aria-hidden": "true" }, "Aa"), ` ${text}`);
  const told = sentences.filter(({ effect }) => level(effect, most, FAINTEST_SENTENCE));
  return [
    element("p", { class: "legend" }, sample("for", `speaks for ${label}`), sample("against", "speaks against it")),
    element(
      "dl",
      { class: "reasons" },
      ...wordList("Words for it", strongestWords(words, 1)),
      ...wordList("Words against it", strongestWords(words, -1)),
    ),
    element(
      "ol",
      { class: "visually-hidden" },
      ...told.map(({ text, effect }) => element("li", {}, `${effect > 0 ? "For" : "Against"}, ${signed(effect)}: ${text}`)),
    ),
  ];
}
