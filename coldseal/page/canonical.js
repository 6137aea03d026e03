// Canonical JSON: RFC 8785 without floats. A reader accepts exactly the canonical bytes and no others.

const MAX_DEPTH = 16;
const LONE_SURROGATE = /[\ud800-\udfff]/u; // with "u", a pair is one character and does not match

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Reads an object. What JSON.parse lets pass (a key twice, 5.0, 1e3, 2^53+1, an escape that is not
// needed) is written differently below, or not at all, and so it is refused.
function parseCanonical(bytes, where) {
  const text = fromUtf8(bytes, where);
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    refuse(where, text.slice(0, 32), "JSON");
  }
  if (!isObject(value)) refuse(where, text.slice(0, 32), "an object");
  const canonical = canonicalText(value, where, 1);
  if (canonical !== text) {
    let at = 0;
    while (canonical[at] === text[at]) at += 1;
    refuse(`${where}, character ${at}`, text.slice(at, at + 16), `the canonical ${canonical.slice(at, at + 16)}`);
  }
  return value;
}

function canonicalText(value, where, depth) {
  if (typeof value === "string") {
    if (LONE_SURROGATE.test(value)) refuse(where, "a lone surrogate", "text");
    return JSON.stringify(value); // escapes just what RFC 8785 does
  }
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) refuse(where, value, "an integer within 2^53-1, never a float");
    return String(value);
  }
  if (depth > MAX_DEPTH) refuse(where, "deeper nesting", `at most ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalText(item, where, depth + 1)).join(",")}]`;
  const names = Object.keys(value).sort(); // by UTF-16 code units, as RFC 8785 3.2.3 has it
  const members = names.map(
    (name) => `${canonicalText(name, where, depth)}:${canonicalText(value[name], where, depth + 1)}`,
  );
  return `{${members.join(",")}}`;
}

// Whether an object has exactly these members.
function hasExactly(value, names) {
  if (!isObject(value)) return false;
  const found = Object.keys(value);
  return found.length === names.length && names.every((name) => Object.hasOwn(value, name));
}

function areTexts(value) {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
