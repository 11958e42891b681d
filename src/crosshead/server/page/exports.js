// The article as Markdown, JSON and CSV. Pure functions.

import { NOT_SURE } from "./types.js";

export const FORMATS = {
  markdown: { suffix: "md", media: "text/markdown", write: toMarkdown },
  json: { suffix: "json", media: "application/json", write: toJson },
  csv: { suffix: "csv", media: "text/csv", write: toCsv },
};

/** Keep text from turning into markup: tags, and what would begin a heading, a list, a quotation or code. */
function escapeMarkdown(text) {
  return text
    .replace(/</g, "\\<")
    .replace(/^(\s{0,3})(#{1,6}\s|>|[-+*]\s|```|~~~|={3,}\s*$|-{3,}\s*$)/gm, "$1\\$2")
    .replace(/^(\s{0,3}\d{1,9})([.)]\s)/gm, "$1\\$2");
}

const oneLine = (text) => text.replace(/\s+/g, " ").trim();

export function toMarkdown(article) {
  const parts = article.title ? [`# ${escapeMarkdown(oneLine(article.title))}`] : [];
  article.paragraphs.forEach((paragraph, i) => {
    for (const { depth, text } of article.headingsAt(i)) {
      parts.push(`${"#".repeat(Math.min(depth + 2, 5))} ${escapeMarkdown(oneLine(text))}`);
    }
    if (article.beginsAt(i)) {
      const level = Math.min((paragraph.headings?.length ?? 0) + 2, 6);
      parts.push(`${"#".repeat(level)} ${article.types.label(article.shown(i))}`);
    }
    parts.push(escapeMarkdown(paragraph.text));
  });
  return `${parts.join("\n\n")}\n`;
}

/** The server's answer, each paragraph with `corrected`: the section type that the reader gave it, or null. */
export function toJson(article) {
  const { paragraphs, source: _, ...rest } = article.answer;
  const corrected = paragraphs.map((tagged, i) => ({ ...tagged, corrected: correctedName(article, i) }));
  return `${JSON.stringify({ ...rest, article_id: article.id, paragraphs: corrected }, null, 2)}\n`;
}

const COLUMNS = ["paragraph", "section_type", "confidence", "abstained", "corrected", "headings", "text"];

export function toCsv(article) {
  const names = article.types.list.map((type) => type.name);
  const rows = article.paragraphs.map((p, i) => [
    p.index,
    p.section_type,
    p.confidence,
    p.abstained,
    correctedName(article, i) ?? "",
    safe((p.headings ?? []).join(" / ")),
    safe(p.text),
    ...names.map((name) => p.scores[name]),
  ]);
  return [[...COLUMNS, ...names.map((name) => `score_${name}`)], ...rows].map((row) => `${row.map(quote).join(",")}\r\n`).join("");
}

/** A spreadsheet runs a cell that begins so; an apostrophe in front makes it text. */
function safe(text) {
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

function quote(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function correctedName(article, i) {
  const { correction } = article.paragraphs[i];
  return correction && correction.type !== NOT_SURE ? article.types.list[correction.type].name : null;
}
