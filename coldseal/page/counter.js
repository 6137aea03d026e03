// The chip's counter of ended segments: each certification is signed by the checkpoint key that is active at its
// size, carries the hash of that checkpoint, and its value rises under each key.

const TPM_GENERATED = "ff544347"; // TPM_GENERATED_VALUE: what a restricted key signs begins so only where the chip made it
const TPM_NV = "8014"; // TPM_ST_ATTEST_NV

// Gives the counter's value (a big integer) and the hash that was certified with it, in hex.
function readCount(attest) {
  let at = 0;
  const take = (field, length) => {
    const found = attest.subarray(at, at + length);
    if (found.length !== length) refuse(`TPMS_ATTEST, ${field}`, `${found.length} bytes`, `${length} bytes`);
    at += length;
    return found;
  };
  const sized = (field) => take(field, Number.parseInt(toHex(take(field, 2)), 16));
  const magic = toHex(take("magic", 4));
  if (magic !== TPM_GENERATED) refuse("TPMS_ATTEST, magic", magic, TPM_GENERATED);
  const type = toHex(take("type", 2));
  if (type !== TPM_NV) refuse("TPMS_ATTEST, type", type, "a statement on an NV index");
  sized("qualifiedSigner");
  const extra = toHex(sized("extraData"));
  take("clockInfo", 16); // clock, resetCount, restartCount
  const safe = take("clockInfo.safe", 1)[0];
  if (safe > 1) refuse("TPMS_ATTEST, clockInfo.safe", safe, "0 or 1");
  take("firmwareVersion", 8);
  sized("indexName");
  const offset = toHex(take("offset", 2));
  const content = sized("nvContents");
  if (at !== attest.length || offset !== "0000" || content.length !== 8) refuse("TPMS_ATTEST", "another statement", "a counter of 8 bytes");
  return { value: BigInt(`0x${toHex(content)}`), extra };
}

// Gives size and value of each certification that holds, rising in size.
async function checkCounts({ files }, opened, history, faults) {
  const sizes = new Set([...files.keys()].filter((name) => name.startsWith("counter/")).map((name) => Number(/[0-9]+/.exec(name)[0])));
  const newest = new Map(); // text of a key -> size and value
  const counts = [];
  for (const size of [...sizes].sort((one, other) => one - other)) {
    const where = `counter/${size}`;
    try {
      const attest = files.get(`${where}.attest`) ?? refuse(where, "no statement", "a statement and a signature");
      const signature = files.get(`${where}.sig`) ?? refuse(where, "no signature", "a statement and a signature");
      const checkpoint = opened.get(size) ?? refuse(where, "no checkpoint", `one of size ${size}`);
      const { value, extra } = readCount(attest);
      const [key] = history.at(size).checkpoint;
      if (!(await isSignedBy(key, signature, attest))) refuse(where, "another signature", `that of the checkpoint key ${key.id}`);
      if (extra !== toHex(await sha256(UTF8.encode(checkpoint.note.text)))) refuse(where, extra, "the hash of the checkpoint's text");
      const before = newest.get(key.text);
      if (before !== undefined && value <= before.value) refuse(where, `the value ${value}`, `more than ${before.value}, as at size ${before.size}`);
      newest.set(key.text, { size, value });
      counts.push({ size, value });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      faults.add("bad-counter", size - 1, error.message);
    }
  }
  return counts;
}
