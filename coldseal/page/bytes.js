// Bytes: hex, base64, UTF-8 and SHA-256, each in its one form. Whatever has another form is refused.

const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const UTF8 = new TextEncoder();
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const BATCH = 256; // operations that WebCrypto has at hand at one time

// What was read is not what the format has in its place.
class Refusal extends Error {}

function refuse(where, found, expected) {
  const text = typeof found === "string" ? JSON.stringify(found.slice(0, 80)) : String(found);
  throw new Refusal(`${where}: found ${text}, expected ${expected}`);
}

function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function toBase64(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

// RFC 4648 section 4, padded, without stray bits, not empty.
function fromBase64(text, where) {
  if (typeof text !== "string" || text === "" || !BASE64.test(text)) refuse(where, text, "canonical base64");
  const characters = atob(text);
  if (btoa(characters) !== text) refuse(where, text, "canonical base64");
  return fromCharacters(characters);
}

function fromCharacters(characters) {
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

function fromUtf8(bytes, where) {
  try {
    return STRICT_UTF8.decode(bytes);
  } catch {
    return refuse(where, "other bytes", "UTF-8");
  }
}

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function isEqual(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

// Does `work` for each item, many at a time; the answers come in order.
async function inBatches(items, work, progress = () => {}) {
  const answers = [];
  for (let at = 0; at < items.length; at += BATCH) {
    const batch = await Promise.all(items.slice(at, at + BATCH).map(work));
    for (const answer of batch) answers.push(answer);
    progress(Math.min(at + BATCH, items.length), items.length);
  }
  return answers;
}

// Lets the browser draw and answer.
function breathe() {
  return new Promise((resolve) => { setTimeout(resolve); });
}
