// What the page says of the model.

import { byId, element, percent, setText } from "./dom.js";

/** @param model the answer of GET /v1/model, with `types` */
export function showModel(model) {
  const { name, version, digest, types, scores, threshold, label_set_coverage: coverage } = model;
  const unnumbered = !version || digest?.startsWith(version);
  setText(byId("model-name"), [name, unnumbered ? "" : version, digest?.slice(0, 8)].filter(Boolean).join(" · "));
  const facts = [
    ["Name", name],
    ["Version", version],
    ["Not sure", threshold ? `below ${percent(threshold)}` : null],
    ["Candidates", coverage ? `hold the right section type in ${percent(coverage)} of cases` : null],
    ["Encoder", model.encoder?.name],
    ...spelledScores(scores),
    ["sha256", digest],
  ];
  byId("facts").replaceChildren(
    ...facts
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .flatMap(([label, value]) => [element("dt", {}, label), element("dd", {}, String(value))]),
  );
  byId("type-list").replaceChildren(
    ...types.list.flatMap(({ label, description }, i) => [
      element("dt", { "data-hue": types.hue(i) }, element("span", { class: "swatch", "aria-hidden": "true" }), label),
      element("dd", {}, description),
    ]),
  );
}

/** Scores as rows: numbers, or `{value, low, high}`; anything deeper is for programs. */
function spelledScores(scores) {
  const number = (x) => (Number.isInteger(x) ? String(x) : x.toFixed(3));
  return Object.entries(scores ?? {}).map(([name, score]) => {
    const label = name.replaceAll("_", " ");
    if (typeof score === "number") return [label, number(score)];
    if (typeof score?.value !== "number") return [label, null];
    return [label, `${number(score.value)} (95 %: ${number(score.low)} to ${number(score.high)})`];
  });
}
