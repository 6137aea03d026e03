// Entries: what is sealed. Reads one strictly and takes it apart; its signature is verified elsewhere.

const MAX_ENTRY = 65_535;
const BODY_FIELDS = ["data", "kid", "kind", "log", "prev", "seq", "src", "t", "tq", "v"];
const TQ_FIELDS = ["boot", "err", "mono", "off", "s"];
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$/;
const CLOCK_STATES = ["synchronised", "holdover", "unsynchronised"];
const KNOWN_KINDS = new Set(
  ("genesis reading rejected gap excursion alarm ack disposition profile calibration config key clock boot shutdown " +
    "heartbeat segment prune export access esig correction import drill").split(" "),
);

// Milliseconds since 1970, or null where the text is no time that exists, in the one form entries use.
function parseTime(text) {
  if (typeof text !== "string" || !TIME.test(text) || text.startsWith("0000")) return null;
  const millis = Date.parse(text);
  return Number.isNaN(millis) || new Date(millis).toISOString() !== text ? null : millis;
}

function isCount(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

function isTimeQuality(tq) {
  return (
    hasExactly(tq, TQ_FIELDS) && typeof tq.boot === "string" && /^[0-9a-f]{8}$/.test(tq.boot) && isCount(tq.err) &&
    isCount(tq.mono) && Number.isSafeInteger(tq.off) && CLOCK_STATES.includes(tq.s)
  );
}

function requireText(body, field, pattern, expected) {
  const value = body[field];
  if (typeof value !== "string" || !pattern.test(value)) refuse(`entry, ${field}`, value, expected);
}

function parseEntry(raw) {
  if (raw.length > MAX_ENTRY) refuse("entry", `${raw.length} bytes`, `at most ${MAX_ENTRY}`);
  const whole = parseCanonical(raw, "entry");
  const { body, sig } = whole;
  if (!hasExactly(body, BODY_FIELDS)) refuse("entry", "another body", BODY_FIELDS.join(", "));
  if (Object.keys(whole).length !== (sig === undefined ? 1 : 2)) refuse("entry", "other fields", "body and sig");
  const signature = sig === undefined ? null : parseSignature(fromBase64(sig, "entry, sig"), "entry, sig");
  if (body.v !== 1) refuse("entry, v", body.v, "1");
  if (!isCount(body.seq)) refuse("entry, seq", body.seq, "an integer from 0");
  if (!isTimeQuality(body.tq)) refuse("entry, tq", "another value", TQ_FIELDS.join(", "));
  if (!isObject(body.src)) refuse("entry, src", "another value", "an object");
  if (!isObject(body.data)) refuse("entry, data", "another value", "an object");
  requireText(body, "kid", /^[0-9a-f]{16}$/, "16 hex digits");
  requireText(body, "kind", /^[a-z][a-z0-9-]{0,31}$/, "lower-case letters, digits and hyphens");
  requireText(body, "log", ORIGIN, "visible ASCII");
  requireText(body, "prev", /^[0-9a-f]{64}$/, "64 hex digits");
  const time = parseTime(body.t);
  if (time === null) refuse("entry, t", body.t, "a time that exists, RFC 3339 in UTC with milliseconds and Z");
  // The signed bytes are a literal slice: behind {"body": and before ,"sig":"…"} or the last brace
  const end = raw.length - (sig === undefined ? 1 : sig.length + 10);
  return { ...body, time, sig: signature, body: raw.subarray(8, end) };
}

// Takes framed entries apart; `cut` says that the last one is not whole.
function parseFrames(bytes) {
  const entries = [];
  let at = 0;
  while (at + 2 <= bytes.length) {
    const length = bytes[at] * 256 + bytes[at + 1];
    if (length === 0 || at + 2 + length > bytes.length) break;
    entries.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return { entries, cut: at !== bytes.length };
}
