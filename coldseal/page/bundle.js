// The bundle: its files against their sums, its manifest, and which keys the verdict will rest on.

const MANIFEST = "manifest.json";
const FORMAT = 2;
const TILE = 256; // entries in a tile, and
const LOOSE = 4096; // in a file that is none
const PLAIN_NAMES = new Set(["proof", "readings.csv", "policy.json", "keys/record.pem", "READ-ME.txt", "verify.html", "timestamps/ca.pem"]);
const NUMBERED_NAME = /^(?:checkpoints\/[0-9]{6}|certificates\/[a-z0-9][a-z0-9.-]*\.pem|timestamps\/[1-9][0-9]{0,14}\.tsr|counter\/[1-9][0-9]{0,14}\.(?:attest|sig))$/;

// Gives the files, what the manifest says, and the framed entries; refuses what is damaged.
async function openBundle(bytes) {
  const files = await readZip(bytes);
  if (!files.has(MANIFEST)) refuse("bundle", "no manifest.json", "an evidence bundle");
  const manifest = parseCanonical(files.get(MANIFEST), MANIFEST);
  if (manifest.format !== FORMAT) refuse(`${MANIFEST}, format`, manifest.format, FORMAT);
  await requireSums(files, manifest.files);
  const { size } = manifest;
  if (!isCount(size) || size === 0) refuse(`${MANIFEST}, size`, size, "a number from 1");
  const runs = parseRuns(manifest.runs, size);
  const proof = files.get("proof") ?? refuse("bundle", "nothing", "the file proof");
  const places = gapsOf(runs, size).flatMap(([first, end]) => subtrees(first, end));
  if (proof.length !== 32 * places.length) refuse("proof", `${proof.length} bytes`, `${places.length} hashes of 32 bytes`);
  const hashes = places.map((place, at) => ({ ...place, hash: proof.subarray(32 * at, 32 * at + 32) }));
  const needed = entryFiles(size, runs);
  requireNames(files, needed);
  return { files, manifest, size, runs, hashes, frames: framesOf(files, manifest.entries, needed), notes: notesOf(files) };
}

async function requireSums(files, sums) {
  if (!isObject(sums)) refuse(`${MANIFEST}, files`, "another value", "names and SHA-256 sums");
  for (const name of Object.keys(sums)) if (!files.has(name)) refuse("bundle", "nothing", `the file ${name}`);
  for (const [name, content] of files) {
    if (name === MANIFEST) continue;
    if (!Object.hasOwn(sums, name)) refuse("bundle", `the file ${name}`, "only files that the manifest names");
    if (toHex(await sha256(content)) !== sums[name]) refuse(name, "other bytes", `SHA-256 ${sums[name]}`);
  }
}

// Nothing is in a bundle that the format does not name: nobody signs the manifest.
function requireNames(files, needed) {
  const known = new Set([MANIFEST, ...PLAIN_NAMES, ...needed.map(({ name }) => name)]);
  for (const name of files.keys()) if (!known.has(name) && !NUMBERED_NAME.test(name)) refuse("bundle", `the file ${name}`, "only files that a bundle has");
}

// The manifest writes [first, count]; here a run is first seq, and the seq behind the last.
function parseRuns(found, size) {
  if (!Array.isArray(found) || found.length === 0) refuse(`${MANIFEST}, runs`, "another value", "at least one run");
  let before = -1;
  return found.map((run) => {
    const [first, count] = Array.isArray(run) && run.length === 2 && run.every(isCount) ? run : refuse(`${MANIFEST}, runs`, String(run), "first and count");
    const end = first + count;
    if (first <= before || count === 0 || end > size) refuse(`${MANIFEST}, runs`, String(run), "rising runs below the size, none touching");
    before = end;
    return [first, end];
  });
}

// Which file holds which places; it follows from the runs alone. A run that begins at a tile and ends with the
// log stands in tiles, all other entries, run after run, in files of 4096.
function entryFiles(size, runs) {
  const [first, end] = runs.at(-1);
  const isTiled = first % TILE === 0 && end === size;
  const loose = placesOf(isTiled ? runs.slice(0, -1) : runs);
  const files = [];
  for (let at = 0; at < loose.length; at += LOOSE) {
    files.push({ name: `entries/${String(at / LOOSE).padStart(6, "0")}`, places: loose.slice(at, at + LOOSE) });
  }
  for (let start = first; isTiled && start < end; start += TILE) {
    const places = placesOf([[start, Math.min(end, start + TILE)]]);
    files.push({ name: tileName(start / TILE, places.length), places });
  }
  return files;
}

function placesOf(runs) {
  return runs.flatMap(([first, end]) => Array.from({ length: end - first }, (_, at) => first + at));
}

// C2SP tlog-tiles: groups of three digits, all but the last behind an x.
function tileName(index, width) {
  const groups = [String(index % 1000).padStart(3, "0")];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) groups.unshift(`x${String(rest % 1000).padStart(3, "0")}`);
  return `tile/entries/${groups.join("/")}${width === TILE ? "" : `.p/${width}`}`;
}

function framesOf(files, names, needed) {
  const isRight = areTexts(names) && names.length === needed.length && needed.every(({ name }, at) => name === names[at]);
  if (!isRight) refuse(`${MANIFEST}, entries`, String(names), "the files that the runs need, in order");
  return needed.map(({ name, places }) => ({ places, content: files.get(name) ?? refuse("bundle", "nothing", `the file ${name}`) }));
}

function notesOf(files) {
  return [...files.keys()].filter((name) => name.startsWith("checkpoints/")).sort().map((name) => files.get(name));
}

// Reads origin, keys, witnesses, quorum and mode, from the manifest or from a policy file.
async function parsePolicy(found, where) {
  const { origin, quorum = 1, mode = "record", witnesses = [] } = found;
  if (typeof origin !== "string" || !ORIGIN.test(origin)) refuse(`${where}, origin`, origin, "a log's name");
  if (!isCount(quorum) || quorum === 0) refuse(`${where}, quorum`, quorum, "a number from 1");
  if (mode !== "record" && mode !== "checkpoint") refuse(`${where}, mode`, mode, "record or checkpoint");
  if (!areTexts(found.checkpoint_keys) || found.checkpoint_keys.length === 0) refuse(`${where}, checkpoint_keys`, "another value", "verifier keys");
  if (!areTexts(witnesses)) refuse(`${where}, witnesses`, "another value", "verifier keys");
  const record = fromBase64(found.record_key, `${where}, record_key`);
  await importP256(record, `${where}, record_key`);
  return {
    origin, quorum, mode, record,
    checkpointKeys: await Promise.all(found.checkpoint_keys.map(parseVkey)),
    witnesses: await Promise.all(witnesses.map(parseVkey)),
  };
}

// Reads what a person pasted: a policy as JSON, and witness keys, each on a line of its own.
async function parseGivenPolicy(text) {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const witnesses = lines.filter((line) => VKEY.test(line));
  let found;
  try {
    found = JSON.parse(lines.filter((line) => !VKEY.test(line)).join("\n"));
  } catch {
    refuse("policy", text.trim().slice(0, 40), "a policy file as JSON, and verifier keys of witnesses");
  }
  if (!isObject(found)) refuse("policy", text.trim().slice(0, 40), "a JSON object");
  const named = areTexts(found.witnesses) ? found.witnesses : [];
  return parsePolicy({ ...found, witnesses: [...new Set([...named, ...witnesses])] }, "policy");
}
