// Reads `status` every two seconds and shows it. Whatever comes from a file name is set as text.
"use strict";

const PAUSE_MS = 2000;
const PATIENCE_MS = 5000;
// The first words tell whether it is in sync; the colour only repeats them.
const WORDS = {
  "in-sync": ["fine", "In sync: everything is in S3"],
  "syncing": ["busy", "Not in sync yet: changes are on their way"],
  "starting": ["busy", "Not known yet: starting and comparing"],
  "waiting-for-instance": ["busy", "Waiting for another instance: it holds the state directory"],
  "stopping": ["warn", "Stopping: what is left waits for the next start"],
  "partly": ["warn", "Not everything is in S3"],
  "deletes-held": ["bad", "Not in sync: deletes wait for approval"],
  "restoring": ["bad", "Not in sync: a restore has not ended"],
  "s3-unavailable": ["bad", "Not in sync: S3 unavailable"],
  "source-unavailable": ["bad", "Not in sync: the watched directory cannot be used"],
  "source-empty": ["bad", "Not in sync: the watched directory is empty"],
};
const shown = new Map();
let answered = null;

const at = (id) => document.getElementById(id);

// Characters that hide, move or reorder what is read. The service has the same list (escape.rs), and a test compares them.
const HOSTILE = /[\u{0}-\u{1f}\u{7f}-\u{9f}\u{ad}-\u{ad}\u{34f}-\u{34f}\u{61c}-\u{61c}\u{115f}-\u{1160}\u{17b4}-\u{17b5}\u{180b}-\u{180f}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{3164}-\u{3164}\u{feff}-\u{feff}\u{ffa0}-\u{ffa0}\u{fff9}-\u{fffb}\u{1d173}-\u{1d17a}\u{e0000}-\u{e007f}]/gu;

// A text of others, as it may be shown.
function printable(text) {
  return String(text ?? "").replace(HOSTILE, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = printable(text);
  if (kind) made.className = kind;
  return made;
}

// A moment, short; all of it for those who point at it.
function time(moment) {
  const date = new Date(moment);
  const today = date.toDateString() === new Date().toDateString();
  const made = element("time", today ? date.toLocaleTimeString("en-GB") : date.toLocaleString("en-GB"));
  made.dateTime = made.title = moment;
  return made;
}

function cell(kind, ...parts) {
  const made = element("td", "", kind);
  const shown = parts.filter((part) => part != null);
  made.append(...shown.map((part) => typeof part === "string" ? printable(part) : part));
  return made;
}

// A file, and beneath it what there is to say of it.
function file(name, why, kind) {
  return cell("free", element("span", name), why ? element("span", why, "why " + (kind ?? "")) : null);
}

// A key breaks between its words, where it has to.
function key(name) {
  const made = cell("key");
  for (const part of name.split(/(?<=_)/)) made.append(part, document.createElement("wbr"));
  return made;
}

// Rows are made anew only when they change, so that a person may select what they say.
function rows(id, entries, row) {
  const now = JSON.stringify(entries);
  if (shown.get(id) === now) return;
  shown.set(id, now);
  at(id).replaceChildren(...entries.map((entry) => {
    const made = document.createElement("tr");
    made.append(...row(entry));
    return made;
  }));
}

function say(kind, text, ...detail) {
  at("banner").className = kind;
  const state = at("state");
  // Said again only when it changes: a screen reader reads every change.
  if (state.textContent !== text) state.textContent = text;
  document.title = `${text} – file-sync-service`;
  at("detail").replaceChildren(...detail);
}

function many(count, one, more = one + "s") {
  return `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
}

function seconds(count) {
  if (count == null) return "";
  if (count < 120) return count + " s";
  if (count < 7200) return Math.round(count / 60) + " min";
  if (count < 172800) return Math.round(count / 3600) + " h";
  return Math.round(count / 86400) + " days";
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < 4) { count /= 1024; unit += 1; }
  return (unit > 0 && count < 10 ? count.toFixed(1) : Math.round(count)) + " " + units[unit];
}

// What waits, in one sentence.
function backlog({ pending }) {
  const oldest = pending.oldest_age_seconds;
  const age = oldest == null ? "" : `, the oldest for ${seconds(oldest)}`;
  return `${many(pending.files, "change")} (${bytes(pending.bytes)}) ${pending.files === 1 ? "waits" : "wait"}${age}`;
}

// What the headline leaves open, or what to do about it.
function detail(status) {
  switch (status.state) {
    case "in-sync":
      return status.last_success ? ["Last change sent at ", time(status.last_success), "."] : ["Nothing had to be sent."];
    case "partly":
    case "restoring":
      return [status.cause ?? ""];
    case "deletes-held":
      return [`${many(status.deletes.held, "object")} would go at once, more than the limits allow. If that is meant: `,
        element("code", `file-sync-service deletes approve --expect ${status.deletes.held}`), "."];
    case "s3-unavailable":
      return [`${status.s3.outage?.cause ?? "S3 takes nothing"}. ${backlog(status)}. ` +
        "Nothing is lost: they go by themselves when S3 takes them. What is wrong, in detail: ",
        element("code", "file-sync-service doctor"), "."];
    case "source-unavailable":
      return [`${status.source.problem ?? "It is not there"}. Nothing is deleted in S3 because of it.`];
    case "source-empty":
      return [`${many(status.deletes.held, "delete")} held. Mount the volume or restore the files, ` +
        "or put a file there if everything else should be deleted."];
    case "starting":
    case "waiting-for-instance":
    case "stopping":
    case "syncing":
      return [status.pending.files > 0 ? backlog(status) + "." : "Changes are waited for until they have settled."];
    default:
      return [];
  }
}

function facts(status) {
  const { pending, watch, comparison, totals } = status;
  const last = comparison.last;
  const gaps = [[watch.unwatched_directories, "without a watch"], [watch.unreadable_directories, "not readable"]];
  const list = [
    ["waiting", [pending.files > 0 ? backlog(status) : "nothing"]],
    ["under way", [`${many(pending.running, "attempt")}` + (pending.prepared > 0 ? `, ${pending.prepared} prepared` : "") +
      `, and ${many(pending.settling, "file")} settling`]],
    ["concurrency limit", [many(status.concurrency.limit, "request")]],
    ["in S3", [many(status.mirrored_files, "file")]],
    ["parked", [many(status.parked.files, "file"),
      ...status.parked.reasons.map(({ files, reason }) => element("span", `${files}: ${reason}`, "why"))]],
    ["deletes held", [`${status.deletes.held}`]],
    ...delayed(status.deletes),
    ["watching", [`by ${watch.mode}, ${watch.complete ? "complete" : "not complete"}: ` +
      [many(watch.watched_directories, "directory", "directories"),
        ...gaps.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`),
        many(watch.overflows, "overflow")].join(", ")]],
    ["compared", comparison.running ? ["right now"] : last
      ? [time(last.ended), `: ${last.new} new, ${last.changed} changed, ${last.gone} gone`] : ["not yet"]],
    ...cloudfront(status.invalidations),
    ["since the start", [`${many(totals.uploads, "upload")} (${bytes(totals.upload_bytes)}), ` +
      `${many(totals.copies, "copy", "copies")}, ${many(totals.deletes, "delete")}, ${many(totals.failures, "failure")}`]],
    ["started", [time(status.started)]],
  ];
  at("now").replaceChildren(...list.flatMap(([name, parts]) => {
    const fact = element("dd");
    fact.append(...parts);
    return [element("dt", name), fact];
  }));
}

// Deletes that are not due, and how to keep their objects.
function delayed({ delayed: count, first_due_seconds: first, last_due_seconds: last }) {
  if (!count) return [];
  const due = first === last ? seconds(first) : `${seconds(first)} to ${seconds(last)}`;
  return [["deletes delayed", [`${many(count, "delete")} due in ${due}; keep the objects by `,
    element("code", `file-sync-service deletes cancel --expect ${count}`)]]];
}

function cloudfront(told) {
  if (!told) return [];
  const { month, failing, last_error: error } = told;
  const limit = month.limit === null ? "" : ` of ${month.limit}`;
  const parts = [`${many(told.waiting_paths, "path")} waiting, ${month.paths}${limit} this month`];
  if (month.exhausted) parts.push(element("span", "cloudfront_monthly_path_limit is reached", "why"));
  if (failing) parts.push(element("span", `refused: ${error.code}`, "why"));
  return [["CloudFront", parts]];
}

// Why a change waits.
function reason({ due_seconds: due, parked, error }) {
  return due == null ? parked ?? error : `delayed, due in ${seconds(due)}`;
}

// What was sent in the last minutes, as the daemon keeps it.
function chart({ throughput }) {
  const points = throughput.bytes.map((sent) => sent / throughput.seconds);
  const top = Math.max(1, ...points);
  const most = Math.max(0, ...points);
  // The last is not over yet.
  const latest = points[points.length - 2] ?? 0;
  const words = most > 0
    ? `now ${bytes(latest)} a second, at most ${bytes(most)} a second`
    : "nothing was sent";
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${points.length} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", words);
  points.forEach((point, index) => {
    if (point === 0) return;
    const bar = document.createElementNS(space, "rect");
    const height = (point / top) * 96;
    bar.setAttribute("x", index);
    bar.setAttribute("y", 100 - height);
    bar.setAttribute("width", 0.8);
    bar.setAttribute("height", height);
    svg.append(bar);
  });
  at("chart").replaceChildren(svg);
  const minutes = points.length * throughput.seconds / 60;
  at("chart-note").textContent = `${words}, in the last ${minutes} minutes`;
}

function show(status) {
  const [kind, text] = WORDS[status.state] ?? ["bad", status.state];
  say(kind, text, ...detail(status));
  at("version").textContent = status.version;
  at("why").hidden = status.not_ready_because.length === 0;
  at("reasons").replaceChildren(...status.not_ready_because.map((reason) => element("li", reason)));
  facts(status);
  chart(status);
  const queue = status.queue ?? [];
  const waiting = status.pending.files + status.parked.files + status.deletes.delayed;
  at("queue-section").hidden = queue.length === 0;
  const some = waiting > queue.length ? [`the first ${queue.length} of ${waiting.toLocaleString("en")}`] : [];
  const held = status.deletes.approval_needed ? ["deletes are held until they are approved"] : [];
  at("queue-note").textContent = [...some, ...held].join("; ");
  rows("queue", queue.map((row) => [row.operation, row.path, reason(row), row.bytes, row.age_seconds]),
    ([operation, path, why, size, age]) => [
      cell("", operation),
      file(path, why, "failed"),
      cell("number", operation === "delete" ? "" : bytes(size)),
      cell("number", seconds(age)),
    ]);
  at("recent-none").hidden = status.recent.length > 0;
  at("recent-table").hidden = status.recent.length === 0;
  rows("recent", status.recent, (done) => [
    cell("", time(done.at)),
    cell("", done.operation),
    file(done.path ?? "(names are shown on the admin address)", done.failure ? `failed: ${done.failure}` : null, "failed"),
    cell("number", done.operation === "delete" ? "" : bytes(done.bytes)),
  ]);
  const settings = status.settings ?? [];
  at("settings-section").hidden = settings.length === 0;
  rows("settings", settings, (setting) => [key(setting.key), cell("setting", setting.value), cell("setting", setting.origin)]);
}

async function ask() {
  let status = null;
  try {
    const answer = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    status = await answer.json();
  } catch {
    say("bad", "Not known: the daemon does not answer",
      ...(answered ? ["The data below is of ", time(answered), "."] : []));
  }
  at("main").classList.toggle("stale", status == null);
  if (status) {
    answered = status.now;
    show(status);
  }
}

async function forever() {
  try {
    await ask();
  } finally {
    setTimeout(forever, PAUSE_MS);
  }
}

forever();
