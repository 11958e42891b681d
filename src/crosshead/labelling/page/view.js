/** Drawing: everything here reads what it is given and changes the page, nothing else. */

export const OPEN = -1;
export const SKIPPED = -2;
const N_COLOURS = 8;

export const $ = (id) => document.getElementById(id);
export const colour = (i) => `type-${i % N_COLOURS}`;

/** A section type's name as words. */
export function shown(name) {
  const words = name.replace(/[_-]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A paragraph as it flows: wrapped lines run on, hard breaks (two spaces or a backslash at a line's end) stay. */
export function flowing(text) {
  return text.replace(/( {2}|\\)?\n/g, (end, hard) => (hard ? end : " "));
}

export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function show(node, isShown) {
  node.hidden = !isShown;
}

export function drawSession(session) {
  $("annotator").textContent = session.annotator;
  const modes = { second: "second reading", adjudicate: "adjudication" };
  $("mode").textContent = modes[session.mode] || "";
  show($("mode"), session.mode in modes);
  $("total").textContent = session.marks.length.toLocaleString("en");
  $("progress").setAttribute("aria-valuemax", session.marks.length);
  document.title = `${session.queue} – label – crosshead`;
  $("finish-command").textContent = session.next;
  const keys = session.section_types.map((type, i) => typeButton(type, i));
  $("types").replaceChildren(...keys);
  $("types").dataset.n = Math.min(keys.length, N_COLOURS);
}

function typeButton(type, i) {
  const button = element("button", "", `type ${colour(i)}`);
  button.type = "button";
  button.dataset.type = i;
  button.setAttribute("aria-pressed", "false");
  button.title = type.description;
  const key = keyOf(i);
  if (key) {
    const cap = element("kbd", key);
    cap.setAttribute("aria-hidden", "true");
    button.append(cap);
    button.setAttribute("aria-keyshortcuts", key);
  }
  button.append(element("span", shown(type.name)));
  return button;
}

/** The key of a section type: 1 to 9, then 0; those after the tenth have none. */
export function keyOf(i) {
  return i < 9 ? String(i + 1) : i === 9 ? "0" : "";
}

export function drawItem(item, session) {
  const mark = session.marks[item.index];
  show($("sheet"), true);
  show($("finish"), false);
  $("title").textContent = [item.title || item.article_id, ...item.headings].join(" › ");
  $("number").textContent = `${item.index + 1} / ${session.marks.length}`;
  const begins = item.before.length === 0 && item.title;
  $("before").replaceChildren(
    ...(begins ? [element("p", item.title, "headline")] : item.before.map((text) => element("p", flowing(text)))),
  );
  $("after").replaceChildren(...item.after.map((text) => element("p", flowing(text))));
  $("headings").textContent = item.headings.join(" › ");
  show($("headings"), item.begins_section);
  $("paragraph").textContent = flowing(item.text);
  $("paragraph").className = `paragraph ${mark >= 0 ? colour(mark) : ""}`;
  drawMark(mark);
  drawVotes(item.votes, session.section_types);
  settle();
}

/** Let every paragraph begin at the same height, where the eye waits for it; a long one moves up until it fits. */
function settle() {
  const reading = $("reading");
  const box = $("paragraph").getBoundingClientRect();
  const top = box.top - reading.getBoundingClientRect().top + reading.scrollTop;
  const room = reading.clientHeight - box.height - 24;
  reading.scrollTop = top - Math.max(56, Math.min(0.3 * reading.clientHeight, room));
}

export function drawMark(mark) {
  for (const button of $("types").children) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.type) === mark));
  }
}

function drawVotes(votes, types) {
  show($("votes"), Boolean(votes));
  if (!votes) return;
  const rows = votes.map((vote) => {
    const row = element("p", "", "vote");
    const number = types.findIndex((type) => type.name === vote.section_type);
    row.append(
      element("span", vote.annotator || "(no name)"),
      element("span", shown(vote.section_type), `chip ${number < 0 ? "type-none" : colour(number)}`),
    );
    if (vote.note) row.append(element("span", `“${vote.note}”`, "vote-note"));
    return row;
  });
  $("votes").replaceChildren(...rows);
}

export function drawSuggestion(suggestion, types) {
  show($("suggestion"), Boolean(suggestion));
  const number = suggestion ? types.findIndex((type) => type.name === suggestion.section_type) : -1;
  for (const button of $("types").children) {
    button.classList.toggle("hinted", Number(button.dataset.type) === number);
  }
  if (!suggestion) return;
  const share = `${Math.round(100 * suggestion.confidence)} %`;
  $("suggestion").textContent = `The tagger says ${shown(suggestion.section_type)}, ${share}`;
}

export function drawProgress(session, current) {
  const nLabelled = session.marks.filter((mark) => mark >= 0).length;
  const nDone = session.marks.filter((mark) => mark !== OPEN).length;
  $("done").textContent = nDone.toLocaleString("en");
  $("progress").setAttribute("aria-valuenow", nDone);
  $("progress").setAttribute("aria-valuetext", `${nLabelled} labelled, ${nDone - nLabelled} skipped`);
  show($("pace"), Boolean(session.pace));
  show($("left"), Boolean(session.pace) && nDone < session.marks.length);
  if (session.pace) {
    $("pace").textContent = `${Math.round(session.pace)} an hour`;
    $("left").textContent = `${duration((session.marks.length - nDone) / session.pace)} left`;
  }
  drawStrip(session.marks, current);
}

function duration(hours) {
  const minutes = Math.max(1, Math.round(60 * hours));
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

let asksForStrip = false;
let palette = null;

/** Forget the colours, as when day turns into night. */
export function forgetColours() {
  palette = null;
}

function resolve(node) {
  const names = ["--rule", "--soft", "--ink", ...Array.from({ length: N_COLOURS }, (_, i) => `--type-${i}`)];
  return names.map((name) => {
    node.style.color = `var(${name})`;
    return getComputedStyle(node).color;
  });
}

/** Draw the queue's shape before the next frame, once however often it is asked for. */
function drawStrip(marks, current) {
  if (asksForStrip) cancelAnimationFrame(asksForStrip);
  asksForStrip = requestAnimationFrame(() => {
    asksForStrip = false;
    paintStrip(marks, current);
  });
}

/** A mark a paragraph in the colour of its section type; in long queues a mark a pixel. */
function paintStrip(marks, current) {
  const canvas = $("strip");
  const scale = devicePixelRatio || 1;
  const width = (canvas.width = Math.round(canvas.clientWidth * scale));
  const height = (canvas.height = Math.round(canvas.clientHeight * scale));
  const [rule, soft, ink, ...colours] = (palette ??= resolve(canvas));
  const draw = canvas.getContext("2d");
  const n = Math.min(marks.length, width);
  const step = width / n;
  const gap = step > 4 * scale ? scale : 0;
  for (let i = 0; i < n; i += 1) {
    const mark = marks[Math.floor((i * marks.length) / n)];
    draw.fillStyle = mark >= 0 ? colours[mark % N_COLOURS] : mark === SKIPPED ? soft : rule;
    const top = mark === SKIPPED ? height * 0.35 : 0;
    draw.fillRect(i * step, top, Math.max(step - gap, 1), mark === SKIPPED ? height * 0.3 : height);
  }
  if (current !== null) {
    const wide = Math.max(width / marks.length, 3 * scale);
    draw.fillStyle = ink;
    draw.fillRect(((current + 0.5) * width) / marks.length - wide / 2, height - 3 * scale, wide, 3 * scale);
  }
}

export function drawSaving(outbox, lost) {
  const state = lost ? "lost" : outbox.isFailing ? "failing" : outbox.size ? "saving" : "saved";
  const told = {
    lost: "not taken",
    failing: `${outbox.size} not saved`,
    saving: "saving",
    saved: "saved",
  };
  $("saving").dataset.state = state;
  $("saving").textContent = told[state];
  const trouble = outbox.trouble || "crosshead label does not answer; start it again with the same command.";
  drawTrouble(lost || (outbox.isFailing ? `${trouble} Nothing is lost: this page sends it again by itself.` : ""));
}

export function drawTrouble(message) {
  if ($("trouble").textContent !== message) $("trouble").textContent = message;
  show($("trouble"), Boolean(message));
}

export function drawLast(session, entry) {
  const line = $("last");
  line.replaceChildren();
  if (!entry) {
    const n = session.section_types.length;
    const told = matchMedia("(pointer: coarse)").matches ? "One touch saves and brings the next." :
      `One key, ${n > 9 ? "1 to 9 and 0" : `1 to ${n}`}, saves and brings the next.`;
    line.append(element("span", told, "last-text"));
    return;
  }
  const chip = entry.mark >= 0 ? colour(entry.mark) : "type-none";
  const name = entry.mark >= 0 ? shown(session.section_types[entry.mark].name) : "Skipped";
  line.append(element("span", name, `chip ${chip}`), element("span", entry.text || "", "last-text"));
}

export function drawFinish(session) {
  show($("sheet"), false);
  show($("finish"), true);
  show($("votes"), false);
  drawMark(OPEN);
  const counts = session.section_types.map((type, i) => [type.name, session.marks.filter((m) => m === i).length, i]);
  const nSkipped = session.marks.filter((mark) => mark === SKIPPED).length;
  const nLabelled = session.marks.length - nSkipped;
  $("finish-told").textContent = `${nLabelled.toLocaleString("en")} labelled${nSkipped ? `, ${nSkipped} skipped` : ""}.`;
  const most = Math.max(1, ...counts.map(([, n]) => n));
  $("finish-counts").replaceChildren(
    ...counts.flatMap(([name, n, i]) => {
      const value = element("dd");
      const bar = element("span", "", `bar ${colour(i)}`);
      bar.style.setProperty("--share", n / most);
      value.append(bar, n.toLocaleString("en"));
      return [element("dt", shown(name)), value];
    }),
  );
  show($("again"), nSkipped > 0);
}
