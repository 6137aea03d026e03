// Checkpoints: signed notes (C2SP) with exactly three lines of text, and who signed them.

const ORIGIN = /^[!#-*,-[\]-~]{1,255}$/;
const MAX_NOTE = 65_535;
const MAX_SIGNATURES = 16;

// A fault that has a name of its own.
class UnknownKey extends Refusal {}

function parseNote(bytes) {
  if (bytes.length > MAX_NOTE) refuse("note", `${bytes.length} bytes`, `at most ${MAX_NOTE}`);
  if (bytes.some((byte) => (byte < 0x20 && byte !== 0x0a) || byte === 0x7f)) refuse("note", "a control character", "text");
  const whole = fromUtf8(bytes, "note");
  const blank = whole.lastIndexOf("\n\n");
  const lines = whole.slice(blank + 2).split("\n");
  if (blank < 0 || lines.pop() !== "" || lines.length === 0) refuse("note", whole.slice(-64), "a text, an empty line, signatures");
  if (lines.length > MAX_SIGNATURES) refuse("note", `${lines.length} signatures`, `at most ${MAX_SIGNATURES}`);
  const signatures = lines.map(parseLine);
  if (new Set(signatures.map(({ name, id }) => `${name}+${id}`)).size !== lines.length) refuse("note", "a key twice", "one line for each key");
  return { text: whole.slice(0, blank + 1), signatures };
}

function parseLine(line) {
  const [, name, encoded] = /^\u2014 (.*?) (.*)$/su.exec(line) ?? refuse("note", line, "dash, key name, base64");
  const data = fromBase64(encoded, "note signature");
  if (!isKeyName(name) || data.length < 5) refuse("note", line, "a key name, a key id and a signature");
  return { name, id: toHex(data.subarray(0, 4)), signature: data.subarray(4) };
}

function parseCheckpointText(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3] !== "") refuse("checkpoint", text.slice(0, 80), "exactly three lines; no extension line");
  const [origin, digits, root] = lines;
  if (!ORIGIN.test(origin)) refuse("checkpoint origin", origin, "visible ASCII");
  const size = Number(digits);
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(digits) || !Number.isSafeInteger(size)) refuse("checkpoint size", digits, "a number without leading zero");
  const hash = fromBase64(root, "checkpoint root");
  if (hash.length !== 32) refuse("checkpoint root", root, "32 bytes");
  return { origin, size, root: hash };
}

function readCheckpoint(bytes) {
  const note = parseNote(bytes);
  return { ...parseCheckpointText(note.text), note };
}

// Verifies a checkpoint that was read: the line of every known key must hold, every needed key must have
// signed, and a known name with an unknown key is refused. Gives the cosignatures of the witnesses.
async function openCheckpoint(checkpoint, { known, needed }) {
  const { note } = checkpoint;
  const text = UTF8.encode(note.text);
  const keys = new Map(known.map((key) => [`${key.name}+${key.id}`, key]));
  const names = new Set(known.map((key) => key.name));
  const signed = new Set();
  const cosigned = [];
  for (const { name, id, signature } of note.signatures) {
    const key = keys.get(`${name}+${id}`);
    if (key !== undefined) {
      if (!(await isSignedBy(key, signature, text))) refuse(`signature of ${name}`, id, "one that fits text and key");
      signed.add(`${name}+${id}`);
      if (key.algorithm === COSIGNATURE) cosigned.push({ name, id, time: Number(parseCosignature(signature).time) });
    } else if (names.has(name)) {
      throw new UnknownKey(`${name} is known, but signed with the unknown key ${id}`);
    }
  }
  for (const { name, id } of needed) {
    if (!signed.has(`${name}+${id}`)) refuse("checkpoint", `no signature of ${name} with key ${id}`, "every key that is needed");
  }
  if (signed.size === 0) refuse("checkpoint", "no signature of a known key", "at least one");
  return cosigned;
}
