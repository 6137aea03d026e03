// The verification: every check in order, every fault by its name and first bad entry. The names and the
// order are those of `coldseal evidence verify`.

const CHECKS = [
  ["bundle complete and undamaged", ["bundle-damaged"]],
  ["every entry well-formed", ["malformed"]],
  ["every entry signed by the key active at its place", ["unsigned", "wrong-key", "bad-signature"]],
  ["sequence without gap, from the right log", ["gap", "foreign-log", "genesis-mismatch"]],
  ["hash chain unbroken", ["broken-chain"]],
  ["Merkle root equals each checkpoint", ["root-mismatch"]],
  ["checkpoints signed by both keys", ["bad-checkpoint", "unknown-key"]],
  ["cosigned by enough witnesses", ["not-witnessed"]],
  ["key changes proven, no key revoked", ["bad-key-change", "revoked-key"]],
  ["time without step, drift or silence", ["clock-step", "clock-drift", "silence"]],
  ["pruned ranges archived", ["pruned-unproven"]],
  ["table of readings equals the entries", ["csv-mismatch"]],
  ["timestamps valid", ["bad-timestamp"]],
  ["counter of segments certified and rising", ["bad-counter"]],
  ["continues the log that it cites", ["broken-link"]],
  ["nothing behind the last cosigned checkpoint", ["tail-not-anchored"]],
];
const ORDER = CHECKS.flatMap(([, verdicts]) => verdicts);
const MAX_FAULTS = 100;
const DRIFT_MS = 120_000; // how far an entry's time may lie behind the cosignature that covers it

class Faults {
  constructor() {
    this.found = [];
  }

  add(verdict, seq, detail) {
    this.found.push({ verdict, seq, detail });
  }

  sorted() {
    return this.found.toSorted((one, other) => ORDER.indexOf(one.verdict) - ORDER.indexOf(other.verdict) || one.seq - other.seq);
  }
}

// Verifies a bundle with its own keys, or with those of a policy that somebody gave.
async function verifyBundle(bytes, { given = null, progress = () => {} } = {}) {
  const faults = new Faults();
  progress("opening the bundle", 0, 1);
  let bundle;
  let policy;
  try {
    bundle = await openBundle(bytes);
    const own = await parsePolicy(bundle.manifest, MANIFEST);
    policy = given ?? own;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    faults.add("bundle-damaged", 0, error.message);
    return { faults: faults.sorted(), policy: given, given: given !== null, entries: [], series: [] };
  }
  const entries = await readEntries(bundle, faults, progress);
  const readable = entries.filter(({ kind }) => kind !== undefined);
  const history = await followKeys(policy, readable, faults);
  const opened = await openCheckpoints(policy, bundle.notes, history, faults);
  await checkSignatures(policy, readable, history, faults, progress);
  const heartbeats = heartbeatsOf(readable);
  const after = await followLink(policy, readable, faults);
  const tree = await rebuildTree(bundle, entries, progress);
  checkOrder(policy, bundle, entries, { faults, tree, heartbeats, opened });
  const anchors = await checkRoots(policy, bundle, { faults, tree, opened });
  checkRevocations(bundle, history, anchors, faults);
  await checkPrunings(policy, readable, { history, tree, faults });
  checkTable(bundle, readable, faults);
  const timestamps = await checkTimestamps(bundle, opened, faults);
  const counts = await checkCounts(bundle, opened, history, faults);
  const sorted = faults.sorted();
  return {
    faults: sorted.slice(0, MAX_FAULTS), more: Math.max(0, sorted.length - MAX_FAULTS),
    policy, given: given !== null, bundle, entries: readable, history, after, anchors, timestamps, counts, series: seriesOf(readable),
  };
}

// Takes the entries out of their frames and gives each its place: the seq that it must have.
async function readEntries({ frames, runs }, faults, progress) {
  const entries = [];
  for (const [at, { places, content }] of frames.entries()) {
    const { entries: raws, cut } = parseFrames(content);
    const missing = places[raws.length];
    if (cut && missing !== undefined) faults.add("malformed", missing, "a file is cut within this entry");
    if (missing !== undefined) faults.add("gap", missing, `a file ends before it, with ${raws.length} of ${places.length} entries`);
    else if (cut || raws.length > places.length) faults.add("gap", places.at(-1) + 1, "a file holds more than the runs want");
    for (const [number, raw] of raws.slice(0, places.length).entries()) entries.push(readEntry(places[number], raw, faults));
    if (at % 16 === 0) {
      progress("reading entries", at, frames.length);
      await breathe();
    }
  }
  if (runs[0][0] !== 0) faults.add("genesis-mismatch", 0, "the genesis entry is not there");
  const leaves = await inBatches(entries, ({ raw }) => leafHash(raw));
  entries.forEach((entry, at) => { entry.leaf = leaves[at]; });
  return entries;
}

function readEntry(place, raw, faults) {
  try {
    return { place, raw, ...parseEntry(raw) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    faults.add("malformed", place, error.message);
    return { place, raw };
  }
}

async function followKeys(policy, entries, faults) {
  const history = await KeyHistory.begin(policy.origin, policy.record, policy.checkpointKeys);
  for (const entry of entries.filter(({ kind }) => kind === "key")) {
    try {
      await history.apply(entry);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      faults.add("bad-key-change", entry.place, error.message);
    }
  }
  return history;
}

// The promised intervals in seconds, each with the first place that it holds for.
function heartbeatsOf(entries) {
  return entries
    .filter(({ kind, data }) => (kind === "genesis" || kind === "config") && isCount(data.heartbeat) && data.heartbeat > 0)
    .map(({ seq, data }) => ({ from: seq + 1, seconds: data.heartbeat }));
}

// What the genesis entry cites of the log before, and how many witnesses had seen it; null where there is none.
async function followLink(policy, entries, faults) {
  const genesis = entries.find(({ kind, seq }) => kind === "genesis" && seq === 0);
  if (genesis === undefined) return null;
  try {
    const cited = readLink(genesis);
    return cited === null ? null : { ...cited, witnessed: await witnessesOf(cited, policy.witnesses) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    faults.add("broken-link", 0, error.message);
    return null;
  }
}

// Who may sign a checkpoint of that size, and who must.
async function signersOf(policy, history, size) {
  const keys = history.at(size);
  const record = await makeVkey(policy.origin, ECDSA, keys.record);
  return {
    known: [...keys.checkpoint, record, ...policy.witnesses],
    needed: policy.mode === "checkpoint" ? [...keys.checkpoint, record] : keys.checkpoint,
  };
}

// Gives size -> checkpoint, with the times (s) of its cosignatures, for all whose signatures hold.
async function openCheckpoints(policy, notes, history, faults) {
  const opened = new Map();
  for (const bytes of notes) {
    let size = 0;
    try {
      const found = readCheckpoint(bytes);
      size = found.size;
      const cosigned = await openCheckpoint(found, await signersOf(policy, history, size));
      const checkpoint = { ...found, cosigned, times: cosigned.map(({ time }) => time) };
      const known = opened.get(size);
      const last = Math.max(0, size - 1);
      if (found.origin !== policy.origin) faults.add("foreign-log", last, `a checkpoint of ${found.origin}`);
      else if (known !== undefined && !isEqual(known.root, found.root)) faults.add("root-mismatch", last, `two signed checkpoints of size ${size} with two roots: a fork`);
      else if (known === undefined || known.times.length < checkpoint.times.length) opened.set(size, checkpoint);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      faults.add(error instanceof UnknownKey ? "unknown-key" : "bad-checkpoint", Math.max(0, size - 1), error.message);
    }
  }
  return opened;
}

// Each entry is signed by the key that was active at its place. In mode "checkpoint" the signed tree stands
// for the signature, but never for that of a `key` entry.
async function checkSignatures(policy, entries, history, faults, progress) {
  const isUnsignedGood = ({ kind }) => policy.mode === "checkpoint" && kind !== "key";
  const answers = await inBatches(
    entries,
    async (entry) => {
      const { record, kid } = history.at(entry.seq); // where that is not its place, it is a gap
      if (entry.kid !== kid) return "wrong-key";
      if (entry.sig === null) return isUnsignedGood(entry) ? null : "unsigned";
      return (await isSignedP256(record, entry.sig, entry.body)) ? null : "bad-signature";
    },
    (done, all) => progress("checking signatures", done, all),
  );
  answers.forEach((verdict, at) => {
    const { place, kind, kid } = entries[at];
    if (verdict !== null) faults.add(verdict, place, `kind ${kind}, kid ${kid}`);
  });
}

async function rebuildTree({ hashes }, entries, progress) {
  progress("rebuilding the tree", 0, 1);
  const tree = new Tree();
  for (const { place, leaf } of entries) tree.put(0, place, leaf);
  for (const { level, index, hash } of hashes) tree.put(level, index, hash);
  await tree.grow();
  return tree;
}

// Holds each entry against its place and the entry before it: seq, log, prev, time.
function checkOrder(policy, { runs }, entries, { faults, tree, heartbeats, opened }) {
  const anchors = anchorsOf(opened);
  const firsts = new Set(runs.map(([first]) => first));
  let before = null;
  let anchor = 0;
  for (const [at, entry] of entries.entries()) {
    const { place } = entry;
    if (firsts.has(place)) before = null;
    while (anchor < anchors.length && anchors[anchor].size <= place) anchor += 1;
    if (entry.kind !== undefined) {
      checkPlace(policy, entry, faults);
      const expected = place === 0 ? fromHex(EMPTY_ROOT) : (before?.leaf ?? tree.get(0, place - 1));
      if (expected !== undefined && entry.prev !== toHex(expected)) faults.add("broken-chain", place, `prev is ${entry.prev}, expected ${toHex(expected)}`);
      if (before?.kind !== undefined) {
        const heartbeat = heartbeats.findLast(({ from }) => from <= place)?.seconds ?? 0;
        checkTime(before, entry, { heartbeat, faults, isStart: isStart(entry, entries[at + 1]) });
      }
      const covered = anchor < anchors.length ? anchors[anchor].time : Infinity;
      if (entry.time > covered * 1000 + DRIFT_MS) faults.add("clock-drift", place, `its time ${entry.t} lies behind the cosignature over it, ${covered} s`);
    }
    before = entry;
  }
}

// The cosigned sizes, rising, each with the time (s) of the earliest cosignature that covers it: else one
// witness whose clock is ahead could let the log's be as far ahead.
function anchorsOf(opened) {
  const cosigned = [...opened.values()].filter(({ times }) => times.length > 0).sort((one, other) => other.size - one.size);
  let time = Infinity;
  return cosigned.map(({ size, times }) => {
    time = Math.min(time, ...times);
    return { size, time };
  }).reverse();
}

// A gateway that starts on a clock which has stepped says so first: `clock`, and directly behind it `boot`.
function isStart(entry, next) {
  return entry.kind === "clock" && next?.kind === "boot" && next.place === entry.place + 1;
}

function checkPlace(policy, entry, faults) {
  const { place, kind, data } = entry;
  if (entry.log !== policy.origin) faults.add("foreign-log", place, `log is ${entry.log}, expected ${policy.origin}`);
  if (entry.seq !== place) faults.add("gap", place, `seq is ${entry.seq}, expected ${place}`);
  if ((place === 0) !== (kind === "genesis")) {
    faults.add("genesis-mismatch", place, `entry ${place} is of kind ${kind}`);
  } else if (place === 0) {
    const keys = policy.checkpointKeys.map(({ text }) => text);
    const isSame = data.mode === policy.mode && data.record_key === toBase64(policy.record) &&
      areTexts(data.checkpoint_keys) && data.checkpoint_keys.join("\n") === keys.join("\n");
    if (!isSame) faults.add("genesis-mismatch", 0, "its mode or keys are not those that are trusted");
  }
}

// The wall clock against the one that never steps, and both against the promised heartbeat.
function checkTime(before, after, { heartbeat, faults, isStart }) {
  let span = after.time - before.time;
  if (before.tq.boot === after.tq.boot) {
    const passed = after.tq.mono - before.tq.mono;
    if (after.kind !== "clock" && Math.abs(span - passed) > 250 + Math.floor(Math.abs(passed) / 1000)) {
      faults.add("clock-step", after.place, `${span} ms by the wall clock, ${passed} ms by the one that never steps`);
      return;
    }
    span = passed;
  } else if (after.kind !== "boot" && after.kind !== "clock") {
    faults.add("clock-step", after.place, `the machine was started anew (${before.tq.boot}, ${after.tq.boot}) without a word`);
    return;
  }
  const isGap = after.kind === "gap" && after.data.cause !== "silent"; // the log's own, not a sensor's
  const isExplained = isStart || after.kind === "boot" || isGap;
  if (heartbeat > 0 && !isExplained && span > heartbeat * 2500 + 5000) {
    faults.add("silence", after.place, `no entry for ${span} ms, a heartbeat was promised every ${heartbeat} s`);
  }
}

function largest(numbers) {
  return [...numbers].reduce((most, number) => Math.max(most, number), 0);
}

// Holds the tree against each checkpoint; gives size -> time (s) of those that enough witnesses cosigned.
async function checkRoots(policy, { size }, { faults, tree, opened }) {
  const anchors = new Map();
  const beyond = largest(opened.keys());
  if (beyond > size) faults.add("gap", size, `a signed checkpoint covers ${beyond} entries, the evidence ends at ${size}`);
  for (const checkpoint of [...opened.values()].sort((one, other) => one.size - other.size)) {
    const root = checkpoint.size > size ? null : await tree.root(checkpoint.size);
    if (root === null) continue;
    const times = checkpoint.times.toSorted((one, other) => one - other);
    if (!isEqual(root, checkpoint.root)) faults.add("root-mismatch", checkpoint.size - 1, `the checkpoint of size ${checkpoint.size} signs another root`);
    else if (times.length >= policy.quorum) anchors.set(checkpoint.size, times[policy.quorum - 1]);
  }
  const anchored = largest(anchors.keys());
  const since = largest(anchors.values());
  if (anchors.size === 0) faults.add("not-witnessed", 0, `no checkpoint carries the cosignatures of ${policy.quorum} known witnesses`);
  else if (anchored < size) faults.add("tail-not-anchored", anchored, `${size - anchored} entries have no cosigned checkpoint over them since ${new Date(since * 1000).toISOString()}`);
  return anchors;
}

// What a revoked key signed counts only where witnesses had seen it before it fell into wrong hands.
function checkRevocations({ size, runs }, history, anchors, faults) {
  for (const { use, key, since } of history.revocations) {
    const good = largest([...anchors].filter(([, time]) => time * 1000 <= parseTime(since)).map(([found]) => found));
    const { from, below } = history.spanOf(use, key);
    const first = Math.max(from, good);
    const end = Math.min(below, size);
    const run = runs.find(([start, stop]) => stop > first && start < end);
    const held = run === undefined ? end : Math.max(first, run[0]);
    if (held < end) faults.add("revoked-key", held, `${use === "record" ? "signed" : "fixed in checkpoints"} with ${key}, revoked since ${since}: to be reviewed`);
  }
}

// Whoever pruned must name a range before the entry, the root over it, and the receipt for its archive.
async function checkPrunings(policy, entries, { history, tree, faults }) {
  for (const { seq, data } of entries.filter(({ kind }) => kind === "prune")) {
    try {
      const { first, last } = data;
      if (!isCount(first) || !isCount(last) || first > last || last >= seq) refuse("prune", "other entries", "a range before it");
      const root = await tree.root(last + 1);
      if (root !== null && data.root !== toBase64(root)) refuse("prune, root", data.root, toBase64(root));
      const receipt = isObject(data.archive) ? data.archive.receipt : undefined;
      if (typeof receipt !== "string") refuse("prune", "no receipt", "an archive receipt");
      const found = readCheckpoint(UTF8.encode(receipt));
      const cosigned = await openCheckpoint(found, await signersOf(policy, history, found.size));
      if (found.size <= data.last || cosigned.length < policy.quorum) refuse("prune", "another receipt", "one that covers what was pruned");
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      faults.add("pruned-unproven", seq, error.message);
    }
  }
}

function checkTable({ files }, entries, faults) {
  if (!files.has("readings.csv")) return;
  try {
    const seq = csvFault(files.get("readings.csv"), entries);
    if (seq !== null) faults.add("csv-mismatch", seq, "readings.csv is not what the entries give");
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    faults.add("csv-mismatch", 0, error.message);
  }
}

// Whether each timestamp is for the text of a checkpoint that is here. Who signed it is not checked here.
async function checkTimestamps({ files }, opened, faults) {
  const timestamps = [];
  for (const [name, content] of files) {
    const [, digits] = /^timestamps\/([0-9]+)\.tsr$/.exec(name) ?? [];
    if (digits === undefined) continue;
    const size = Number(digits);
    try {
      const checkpoint = opened.get(size) ?? refuse(name, "no checkpoint", `one of size ${size}`);
      const { imprint, time } = readTimestamp(content);
      if (imprint !== toHex(await sha256(UTF8.encode(checkpoint.note.text)))) refuse(name, imprint, "the hash of the checkpoint's text");
      timestamps.push({ size, time });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      faults.add("bad-timestamp", Math.max(0, size - 1), error.message);
    }
  }
  return timestamps;
}
