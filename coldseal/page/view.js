// What the inspector sees: takes a bundle in, shows progress, the verdict in plain words, every check, whose
// keys it rests on, and the curves. All text is set as text; nothing from a bundle becomes markup.

const MEANING = {
  "bundle-damaged": "The file is not as it was made: a part is missing, added or changed, or it is no evidence bundle.",
  malformed: "An entry has not the one form that entries have.",
  unsigned: "An entry carries no signature.",
  "wrong-key": "An entry was signed with another key than the one in force at its place.",
  "bad-signature": "An entry is not what was signed: it was changed afterwards, or somebody else signed it.",
  gap: "An entry is missing, doubled, moved or added.",
  "foreign-log": "An entry or a checkpoint belongs to another log.",
  "genesis-mismatch": "The log does not begin as it must, or with other keys than those trusted here.",
  "broken-chain": "An entry does not name the one before it: something was taken out, put in or changed.",
  "root-mismatch": "The entries are not those that a signed checkpoint covers, or two histories of this log exist.",
  "bad-checkpoint": "A checkpoint is malformed, or not signed by both keys of the log.",
  "unknown-key": "A checkpoint bears a known name, but was signed with a key that is not known.",
  "not-witnessed": "Not enough witnesses have confirmed any of this.",
  "bad-key-change": "A change of keys does not prove that the new keys belong to this log.",
  "revoked-key": "Entries rest on a key that was revoked, and nobody had confirmed them before. They need a review.",
  "clock-step": "The clock jumped between two entries, and no entry says why.",
  "clock-drift": "An entry claims a time later than that at which witnesses had already confirmed it.",
  silence: "The log was silent for longer than it promised, and no entry says why.",
  "pruned-unproven": "Entries were removed without proof that they were archived.",
  "csv-mismatch": "The table of readings differs from the sealed entries.",
  "bad-timestamp": "A timestamp is not for a checkpoint of this bundle.",
  "bad-counter": "The counter in the gateway's chip fell or repeated, or what the chip certified of it is not for this log.",
  "broken-link": "The log says that it continues another one, but what it cites of it does not fit.",
  "tail-not-anchored": "What is below that entry holds. The entries from there on were not yet confirmed by witnesses.",
};
const CAUTION =
  "These keys were named by the bundle itself. Whoever makes a false bundle names false keys in it: compare them with those " +
  "that you were given some other way, or paste the keys that you trust above. The page, too, is only as good as its source: " +
  "take it from a coldseal installation of your own (coldseal evidence page).";
const GIVEN = "These are the keys of the policy that you gave; the keys in the bundle were not trusted.";
const NOT_CHECKED = [
  "whether the log went on after its last entry here, and what it says there",
  "the log that this one continues, where it continues one: it is another bundle",
  "who a device is: its certificate was checked when its reading was taken in",
  "the signature of a timestamp authority (coldseal evidence verify checks it); that a timestamp is for this checkpoint was checked",
];

const byId = (id) => document.getElementById(id);
let current = null; // the bundle's bytes

function made(name, { text, ...attributes } = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

function fill(id, ...nodes) {
  byId(id).replaceChildren(...nodes);
}

function setState(state) {
  document.body.dataset.state = state;
  byId("working").hidden = state !== "working";
  byId("result").hidden = state !== "done";
}

function showProgress(step, done, all) {
  byId("step").textContent = `${step[0].toUpperCase()}${step.slice(1)} …`;
  byId("bar").value = all === 0 ? 1 : done / all;
}

async function check(bytes, name) {
  current = { bytes, name };
  byId("refused").textContent = "";
  setState("working");
  const begun = performance.now();
  try {
    const text = byId("policy").value.trim();
    const given = text === "" ? null : await parseGivenPolicy(text);
    const report = await verifyBundle(bytes, { given, progress: showProgress });
    report.millis = Math.round(performance.now() - begun);
    show(report, name);
    setState("done");
    byId("verdict").focus();
  } catch (error) {
    byId("refused").textContent = error instanceof Refusal ? `The policy cannot be used. ${error.message}` : `The check could not be made: ${error}`;
    setState("failed");
  }
}

function show(report, name) {
  const [worst] = report.faults;
  const banner = byId("verdict");
  banner.dataset.verdict = worst?.verdict ?? "good";
  banner.dataset.seq = worst?.seq ?? "";
  banner.dataset.millis = report.millis;
  banner.className = worst === undefined ? "good" : "against";
  const newest = report.anchors === undefined ? 0 : largest(report.anchors.values());
  banner.replaceChildren(
    made("h2", { text: worst === undefined ? "GOOD" : `NOT GOOD: ${worst.verdict}` }),
    made("p", {
      text: worst === undefined
        ? `Nothing is missing, changed, moved or added. Witnesses confirmed it on ${moment(newest * 1000)}.`
        : `${MEANING[worst.verdict]}${report.bundle === undefined ? "" : ` First at entry ${worst.seq}.`}`,
    }),
  );
  if (!report.given) banner.append(made("p", { text: "This rests on keys that the bundle itself names. Compare them: they are listed below." }));
  fill("checks", ...CHECKS.map(([label, verdicts]) => checkRow(report, label, verdicts)));
  byId("more").textContent = report.more > 0 ? `${report.more} further faults are not listed.` : "";
  fill("about", ...aboutRows(report, name));
  fill("notes", ...notesOn(report).map((text) => made("li", { text })));
  fill("keys", ...keyRows(report));
  byId("caution").textContent = report.given ? GIVEN : CAUTION;
  fill("unchecked", ...NOT_CHECKED.map((text) => made("li", { text })));
  byId("unproven").hidden = worst === undefined;
  fill("curves", ...report.series.map(figureOf));
  byId("no-curves").hidden = report.series.length > 0;
}

function checkRow(report, label, verdicts) {
  const faults = report.faults.filter(({ verdict }) => verdicts.includes(verdict));
  const isReached = report.bundle !== undefined || verdicts.includes("bundle-damaged");
  const mark = faults.length > 0 ? "fail" : isReached ? "ok" : "skipped";
  const row = made("li", { "data-check": label, "data-mark": mark, class: mark },
    made("span", { class: "mark", text: { ok: "✓ holds", fail: "✗ fails", skipped: "– not reached" }[mark] }), made("span", { text: label }));
  if (faults.length > 0) {
    const details = faults.map(({ verdict, seq, detail }) =>
      made("li", { "data-verdict": verdict, "data-seq": seq, text: `${verdict} at entry ${seq}: ${detail}` }));
    row.append(made("ul", { class: "faults" }, ...details));
  }
  return row;
}

function aboutRows({ bundle, policy, entries, timestamps = [], counts = [] }, name) {
  const rows = [["File", name]];
  if (bundle !== undefined) {
    const inside = bundle.runs.map(([first, end]) => (end - first === 1 ? `${first}` : `${first}–${end - 1}`));
    const held = bundle.runs.reduce((sum, [first, end]) => sum + end - first, 0);
    const kinds = new Map();
    for (const { kind } of entries) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    const times = entries.map(({ t }) => t).sort();
    rows.push(
      ["Log", policy.origin],
      ["Entries here", `${held} of ${bundle.size}: ${inside.slice(0, 20).join(", ")}${inside.length > 20 ? ", …" : ""}`],
      ["Kinds", [...kinds].sort((one, other) => other[1] - one[1]).map(([kind, count]) => `${count} ${kind}`).join(", ")],
      ...Object.entries(isObject(bundle.manifest.selection) ? bundle.manifest.selection : {}).map(([field, value]) => [`Chosen: ${field}`, typeof value === "string" ? value : JSON.stringify(value)]),
      ["Accepted", times.length > 0 ? `${times[0]} to ${times.at(-1)}` : "–"],
      ...timestamps.map(({ size, time }) => ["Timestamp", `on the checkpoint of size ${size}, says ${time}; its signature was not checked here`]),
      ...counts.slice(-1).map(({ size, value }) => ["Chip's counter", `${value} at size ${size}; ${counts.length} certifications hold`]),
    );
  }
  return rows.flatMap(([term, text]) => [made("dt", { text: term }), made("dd", { text })]);
}

function notesOn({ bundle, entries, after }) {
  if (bundle === undefined) return [];
  const notes = [];
  if (after) notes.push(`This log continues ${after.origin}, of which it cites ${after.size} entries. ${after.witnessed} of the witnesses named here had cosigned them. That log is another bundle.`);
  const held = bundle.runs.reduce((sum, [first, end]) => sum + end - first, 0);
  if (held < bundle.size) notes.push(`${bundle.size - held} entries of this log are not in the bundle. That those here are part of it is proven; what the others say is not known.`);
  const loose = entries.filter(({ tq }) => tq.s === "unsynchronised").length;
  if (loose > 0) notes.push(`${loose} entries were sealed with a clock that was not synchronised.`);
  const strange = entries.filter(({ kind }) => !KNOWN_KINDS.has(kind)).length;
  if (strange > 0) notes.push(`${strange} entries are of a kind that this page does not know.`);
  return notes;
}

// The sums of record keys are those that `coldseal evidence verify` prints.
function keyRows({ policy, history }) {
  if (!policy || history === undefined) return [];
  const rows = history.spans.flatMap(({ from, sum, checkpoint }) => {
    const since = from === 0 ? "at the beginning" : `from entry ${from} on, changed within the log`;
    return [["Record key (SHA-256)", since, sum], ...checkpoint.map(({ text }) => ["Checkpoint key", since, text])];
  });
  const witnesses = policy.witnesses.map(({ text }) => ["Witness", `${policy.quorum} of ${policy.witnesses.length} needed`, text]);
  return [...witnesses, ...rows].map((row) =>
    made("tr", {}, ...row.map((text, at) => (at === 2 ? made("td", {}, made("code", { text })) : made("td", { text })))));
}

function figureOf(series) {
  const { device, sensor, quantity, unit, points, ranges, excursions } = series;
  const sign = { Cel: "°C", "%RH": "% RH" }[unit] ?? unit;
  const { count, low, high, mean } = summaryOf(series);
  const missing = missingIn(points).length;
  const facts = [`${count} readings`, `least ${low} ${sign}`, `greatest ${high} ${sign}`, `mean ${mean.toFixed(2)} ${sign}`];
  for (const range of ranges) facts.push(`range ${rangeText(range)} ${sign} by ${range.name}`);
  if (excursions.length > 0) facts.push(`${excursions.length} excursion${excursions.length === 1 ? "" : "s"}, the gravest ${gravestOf(excursions)}`);
  if (missing > 0) facts.push(`${missing} gaps`);
  const doubtful = points.filter(({ isDoubtful }) => isDoubtful).length;
  if (doubtful > 0) facts.push(`${doubtful} flagged as doubtful`);
  const title = `${sensor} (${device}): ${quantity}, ${sign}`;
  const counts = { "data-points": count, "data-gaps": missing, "data-ranges": ranges.length, "data-excursions": excursions.length };
  return made("figure", { "data-sensor": sensor, "data-quantity": quantity, ...counts },
    made("figcaption", {}, made("strong", { text: title }), made("span", { text: facts.join(", ") })),
    drawCurve(series, `${title}. ${facts.join(", ")}`));
}

function rangeText({ low, high }) {
  if (low === undefined) return `up to ${high}`;
  return high === undefined ? `from ${low}` : `${low} to ${high}`;
}

function gravestOf(excursions) {
  return TIERS[Math.max(...excursions.map(({ tier }) => TIERS.indexOf(tier)))];
}

function moment(millis) {
  return `${new Date(millis).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

async function take(file) {
  if (file !== undefined) await check(new Uint8Array(await file.arrayBuffer()), file.name);
}

function begin() {
  const chosen = byId("file");
  chosen.addEventListener("change", () => take(chosen.files[0]));
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      if (kind === "drop") take(event.dataTransfer.files[0]);
    });
  }
  byId("again").addEventListener("click", () => { if (current !== null) check(current.bytes, current.name); });
  byId("print").addEventListener("click", () => { print(); });
  setState("idle");
  if (globalThis.crypto?.subtle === undefined) {
    byId("refused").textContent = "This browser gives a local file no cryptography (WebCrypto). Use another one, or coldseal evidence verify.";
    setState("failed");
    return;
  }
  const carried = byId("bundle").textContent.trim();
  if (carried !== "") check(fromCharacters(atob(carried)), "the bundle that this page carries");
}

begin();
