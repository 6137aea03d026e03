// Signatures and the public keys that verify them: ECDSA over P-256 in strict DER with the lower s, and
// Ed25519. Verifier keys are written as C2SP signed-note has it: name+id+base64 of algorithm and key.

const ED25519 = 1;
const ECDSA = 2;
const COSIGNATURE = 4;

const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const P256_SPKI = fromHex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"); // then x and y
const VKEY = /^(.+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/su;
// White space as Unicode has it, control characters, and plus
const NOT_IN_NAME = /[\x00-\x20\x7f\x85\xa0+\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

const importedKeys = new Map(); // hex of a SubjectPublicKeyInfo -> promise of its key
let nativeEd25519 = null; // promise of whether WebCrypto has it

function isKeyName(text) {
  const length = [...text].length;
  return length >= 1 && length <= 255 && !NOT_IN_NAME.test(text) && !LONE_SURROGATE.test(text);
}

// Gives r and s, 32 bytes each, of a signature in strict DER; the twin with the higher s is refused.
function parseSignature(der, where) {
  const rSize = der[3];
  const sSize = der[5 + rSize];
  const isFramed = der[0] === 0x30 && der[1] === der.length - 2 && der[2] === 2 && der[4 + rSize] === 2;
  if (!isFramed || 6 + rSize + sSize !== der.length) refuse(where, toHex(der), "strict DER of r and s");
  const r = parseInteger(der.subarray(4, 4 + rSize), where);
  const s = parseInteger(der.subarray(6 + rSize), where);
  if (r.value >= P256_ORDER || s.value >= P256_ORDER) refuse(where, toHex(der), "r and s below the order of P-256");
  if (s.value > P256_ORDER / 2n) refuse(where, toHex(der), "the signature with the lower s");
  return join(r.bytes, s.bytes);
}

// A positive integer of DER in its shortest form (X.690, 8.3).
function parseInteger(bytes, where) {
  const isPadded = bytes[0] === 0;
  const digits = isPadded ? bytes.subarray(1) : bytes;
  const isShortest = isPadded ? bytes[1] >= 0x80 : bytes[0] < 0x80;
  if (!isShortest || digits.length > 32) refuse(where, toHex(bytes), "an integer of DER, positive and in its shortest form");
  const padded = new Uint8Array(32);
  padded.set(digits, 32 - digits.length);
  return { bytes: padded, value: BigInt(`0x${toHex(padded)}`) };
}

// Opens a P-256 key from the one DER form of its SubjectPublicKeyInfo.
function importP256(spki, where) {
  const name = toHex(spki);
  if (!importedKeys.has(name)) {
    const isPlain = spki.length === P256_SPKI.length + 64 && isEqual(spki.subarray(0, P256_SPKI.length), P256_SPKI);
    if (!isPlain) refuse(where, name, "SubjectPublicKeyInfo of a P-256 key");
    const opened = crypto.subtle
      .importKey("spki", spki, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"])
      .catch(() => refuse(where, name, "a point of P-256"));
    importedKeys.set(name, opened);
  }
  return importedKeys.get(name);
}

async function isSignedP256(spki, signature, message) {
  const key = await importP256(spki, "key");
  return crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, message);
}

async function isSignedEd25519(key, signature, message) {
  nativeEd25519 ??= hasEd25519();
  if (!(await nativeEd25519)) return ed25519.verify(key, signature, message);
  return nativelySigned(key, signature, message);
}

async function nativelySigned(key, signature, message) {
  const opened = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", opened, signature, message);
}

// Tries RFC 8032, 7.1, test 1: says yes only if WebCrypto knows a good signature.
async function hasEd25519() {
  const key = fromHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const signature = fromHex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155" +
      "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  );
  try {
    return await nativelySigned(key, signature, new Uint8Array());
  } catch {
    return false;
  }
}

// Gives name, id (8 hex digits), algorithm and key of a verifier key.
async function parseVkey(text) {
  const [, name, id, encoded] = VKEY.exec(text) ?? refuse("verifier key", text, "name+8 hex digits+base64");
  const whole = fromBase64(encoded, "verifier key");
  const key = await makeVkey(name, whole[0], whole.subarray(1));
  if (key.id !== id) refuse("verifier key", id, `${key.id}, from name and key`);
  return key;
}

async function makeVkey(name, algorithm, key) {
  if (!isKeyName(name)) refuse("verifier key", name, "a name of 1 to 255 characters without space or plus");
  if (algorithm === ECDSA) {
    await importP256(key, "verifier key");
  } else if ((algorithm !== ED25519 && algorithm !== COSIGNATURE) || key.length !== 32) {
    refuse("verifier key", `algorithm ${algorithm}, ${key.length} bytes`, "Ed25519, ECDSA or a cosignature key");
  }
  const hashed = algorithm === ECDSA ? key : join(UTF8.encode(`${name}\n`), [algorithm], key);
  const text = toBase64(join([algorithm], key));
  const id = toHex((await sha256(hashed)).subarray(0, 4));
  return { name, algorithm, key, id, text: `${name}+${id}+${text}` };
}

// Whether `signature` is the key's over a text; refuses what has not the form of one.
async function isSignedBy(key, signature, text) {
  if (key.algorithm === ECDSA) return isSignedP256(key.key, parseSignature(signature, "signature"), text);
  if (key.algorithm === ED25519) return isSignedEd25519(key.key, signature, text);
  const { time, rest } = parseCosignature(signature);
  const message = join(UTF8.encode(`cosignature/v1\ntime ${time}\n`), text);
  return isSignedEd25519(key.key, rest, message);
}

// The time of a witness (seconds since 1970, a big integer) and its Ed25519 signature.
function parseCosignature(signature) {
  if (signature.length !== 72) refuse("cosignature", `${signature.length} bytes`, "72 bytes");
  const time = BigInt(`0x${toHex(signature.subarray(0, 8))}`);
  if (time >= 2n ** 63n) refuse("cosignature", time, "a time below 2^63");
  return { time, rest: signature.subarray(8) };
}

// SHA-256 of a record key, in hex; its first 16 digits are the kid, by which entries name the key.
async function sumOf(spki) {
  return toHex(await sha256(spki));
}

function kidOf(sum) {
  return sum.slice(0, 16);
}
