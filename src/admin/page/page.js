// Reads `status` every two seconds and shows it. Whatever comes from a file name is set as text.
"use strict";

const PAUSE_MS = 2000;
const POINTS_MAX = 150;
const WORDS = {
  "in-sync": ["fine", "In sync: everything is in S3"],
  "syncing": ["busy", "Syncing"],
  "starting": ["busy", "Starting"],
  "stopping": ["busy", "Stopping"],
  "files-parked": ["bad", "In sync but for files that cannot be mirrored"],
  "deletes-held": ["bad", "Deletes wait for approval"],
  "s3-unavailable": ["bad", "S3 takes nothing"],
  "source-missing": ["bad", "The watched directory cannot be used"],
};
const points = [];
let before = null;

const at = (id) => document.getElementById(id);

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text ?? "";
  return made;
}

function rows(id, entries) {
  at(id).replaceChildren(...entries.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell) => element("td", cell)));
    return row;
  }));
}

function say(kind, text) {
  const state = at("state");
  state.className = kind;
  // Said again only when it changes: a screen reader reads every change.
  if (state.textContent !== text) state.textContent = text;
}

function seconds(count) {
  if (count == null) return "";
  if (count < 120) return count + " s";
  if (count < 7200) return Math.round(count / 60) + " min";
  return Math.round(count / 3600) + " h";
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 10240 && unit < 4) { count /= 1024; unit += 1; }
  return Math.round(count) + " " + units[unit];
}

function facts(status) {
  const { pending, watch, comparison, totals } = status;
  const last = comparison.last;
  const list = [
    ["waiting", `${pending.files} (${bytes(pending.bytes)})` +
      (pending.oldest_age_seconds == null ? "" : `, the oldest for ${seconds(pending.oldest_age_seconds)}`)],
    ["under way", `${pending.running}, and ${pending.settling} settling`],
    ["in S3", `${status.mirrored_files} files`],
    ["parked", `${status.parked.files}` +
      status.parked.reasons.map((reason) => `; ${reason.files}: ${reason.reason}`).join("")],
    ["deletes held", `${status.deletes.held}`],
    ["watching", `by ${watch.mode}: ${watch.watched_directories} directories, ` +
      `${watch.unwatched_directories} without a watch, ${watch.overflows} overflows`],
    ["compared", last ? `${last.ended}: ${last.new} new, ${last.changed} changed, ${last.gone} gone` : "not yet"],
    ["since the start", `${totals.uploads} uploads (${bytes(totals.upload_bytes)}), ${totals.copies} copies, ` +
      `${totals.deletes} deletes, ${totals.failures} failures`],
    ["last success", status.last_success ?? "none"],
  ];
  at("now").replaceChildren(...list.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

function chart(status) {
  const now = performance.now();
  const sent = status.totals.upload_bytes;
  if (before && sent >= before.sent) {
    points.push((sent - before.sent) / 1024 / ((now - before.now) / 1000));
    if (points.length > POINTS_MAX) points.shift();
  }
  before = { now, sent };
  const space = "http://www.w3.org/2000/svg";
  const top = Math.max(1, ...points);
  const svg = document.createElementNS(space, "svg");
  const latest = points.length ? points[points.length - 1] : 0;
  svg.setAttribute("viewBox", `0 0 ${POINTS_MAX} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `now ${Math.round(latest)}, at most ${Math.round(top)} KiB a second`);
  points.forEach((point, index) => {
    const bar = document.createElementNS(space, "rect");
    const height = (point / top) * 96;
    bar.setAttribute("x", index + POINTS_MAX - points.length);
    bar.setAttribute("y", 100 - height);
    bar.setAttribute("width", 0.8);
    bar.setAttribute("height", height);
    svg.append(bar);
  });
  at("chart").replaceChildren(svg);
}

function show(status) {
  const [kind, text] = WORDS[status.state] ?? ["bad", status.state];
  say(kind, text);
  document.title = `${text} – file-sync-service`;
  at("version").textContent = status.version;
  at("why").hidden = status.not_ready_because.length === 0;
  at("reasons").replaceChildren(...status.not_ready_because.map((reason) => element("li", reason)));
  facts(status);
  chart(status);
  const queue = status.queue ?? [];
  at("queue-section").hidden = queue.length === 0;
  rows("queue", queue.map((row) => [row.operation, row.path, seconds(row.age_seconds), row.parked ?? row.error]));
  rows("recent", status.recent.map((done) => [done.at, done.operation, done.path ?? "(not told here)", done.bytes, done.failure]));
  const settings = status.settings ?? [];
  at("settings-section").hidden = settings.length === 0;
  rows("settings", settings.map((setting) => [setting.key, setting.value, setting.origin]));
}

async function ask() {
  try {
    const answer = await fetch("status", { cache: "no-store" });
    show(await answer.json());
  } catch {
    say("bad", "The daemon does not answer");
  }
  setTimeout(ask, PAUSE_MS);
}

ask();
