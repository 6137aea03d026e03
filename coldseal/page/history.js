// Which keys a log uses at each place: those it began with, then what its `key` entries changed. A change
// counts only if the active key signed the entry and each new key proved itself for this very place.

const KEY_FIELDS = {
  "record roll-over": ["action", "key", "not_before", "old", "proof", "reason", "use"],
  "checkpoint roll-over": ["action", "keys", "not_before", "old", "proofs", "reason", "use"],
  "record revoke": ["action", "key", "reason", "since", "use"],
  "checkpoint revoke": ["action", "key", "reason", "since", "use"],
};
const MAX_REASON = 300;

class KeyHistory {
  static async begin(origin, record, checkpoint) {
    const made = new KeyHistory();
    made.origin = origin;
    made.revocations = []; // { use, key, since }
    const sum = await sumOf(record);
    made.spans = [{ from: 0, record, sum, kid: kidOf(sum), checkpoint }];
    return made;
  }

  // The keys that sign the entry at `place`, and a checkpoint of that size.
  at(place) {
    return this.spans.findLast(({ from }) => from <= place);
  }

  // The places at which a key was active: from, and below; null if never.
  spanOf(use, key) {
    const isActive = (keys) => key === (use === "record" ? keys.kid : checkpointId(keys.checkpoint));
    const first = this.spans.findIndex(isActive);
    if (first < 0) return null;
    const next = this.spans.slice(first).find((keys) => !isActive(keys));
    return { from: this.spans[first].from, below: next === undefined ? Infinity : next.from };
  }

  // Takes note of a `key` entry, each one in order; refuses one that proves nothing.
  async apply(entry) {
    const keys = this.at(entry.seq);
    const { data } = entry;
    const isSigned = entry.sig !== null && entry.kid === keys.kid && (await isSignedP256(keys.record, entry.sig, entry.body));
    if (!isSigned) refuse("key entry", "another signature", "that of the active record key");
    const fields = KEY_FIELDS[`${data.use} ${data.action}`];
    if (fields === undefined || !hasExactly(data, fields)) refuse("key entry", "other fields", "those of a key entry");
    const length = typeof data.reason === "string" ? [...data.reason].length : 0;
    if (length < 1 || length > MAX_REASON) refuse("key entry, reason", data.reason, `a text of 1 to ${MAX_REASON} characters`);
    if (data.action === "revoke") {
      this.revoke(data);
      return;
    }
    if (parseTime(data.not_before) === null) refuse("key entry, not_before", data.not_before, "a time");
    const change = data.use === "record" ? changeOfRecord : changeOfCheckpoint;
    this.spans.push({ ...keys, ...(await change(this.origin, entry, keys)), from: entry.seq + 1 });
  }

  revoke({ use, key, since }) {
    if (parseTime(since) === null) refuse("key entry, since", since, "a time");
    if (typeof key !== "string" || this.spanOf(use, key) === null) refuse("key entry, key", key, "a key that this log had");
    this.revocations.push({ use, key, since });
  }
}

function checkpointId(keys) {
  return keys.map(({ id }) => id).join("+");
}

async function changeOfRecord(origin, entry, keys) {
  const { data } = entry;
  if (data.old !== keys.kid) refuse("key entry, old", data.old, keys.kid);
  const record = fromBase64(data.key, "key entry, key");
  const key = await makeVkey(origin, ECDSA, record);
  const sum = await sumOf(record);
  await requireProof(origin, entry, { key, old: keys.kid, made: kidOf(sum), proof: data.proof });
  return { record, sum, kid: kidOf(sum) };
}

async function changeOfCheckpoint(origin, entry, keys) {
  const { data } = entry;
  const old = keys.checkpoint.map(({ id }) => id);
  if (!areTexts(data.old) || data.old.join() !== old.join()) refuse("key entry, old", String(data.old), old.join());
  if (!areTexts(data.keys) || !areTexts(data.proofs)) refuse("key entry", "other keys or proofs", "lists of texts");
  const checkpoint = await Promise.all(data.keys.map(parseVkey));
  const kinds = checkpoint.map(({ algorithm }) => algorithm).join();
  if (kinds !== `${ECDSA},${ED25519}`) refuse("key entry, keys", kinds, "P-256, then Ed25519");
  const isOurs = checkpoint.every(({ name }) => name === origin) && data.proofs.length === checkpoint.length;
  if (!isOurs) refuse("key entry, keys", "other keys", "keys of this log, with a proof each");
  for (const [at, key] of checkpoint.entries()) {
    await requireProof(origin, entry, { key, old: checkpointId(keys.checkpoint), made: checkpointId(checkpoint), proof: data.proofs[at] });
  }
  return { checkpoint };
}

// Proof of possession: the new key signed for this log, this place and the key it takes over from.
async function requireProof(origin, entry, { key, old, made, proof }) {
  const message = UTF8.encode(`coldseal key v1\n${origin}\n${entry.seq}\n${old}\n${made}\n`);
  if (!(await isSignedBy(key, fromBase64(proof, "key entry, proof"), message))) refuse("key entry, proof", key.id, "a proof that the new key is there");
}
