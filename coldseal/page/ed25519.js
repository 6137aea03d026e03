// Ed25519 (RFC 8032, 5.1.7) on big integers, for browsers whose WebCrypto has none. Verifies only: nothing
// here is secret, so nothing needs constant time.

const ed25519 = (() => {
  const P = 2n ** 255n - 19n;
  const L = 2n ** 252n + 27742317777372353535851937790883648493n;
  const D = mod(-121665n * power(121666n, P - 2n));
  const ROOT_OF_MINUS_1 = power(2n, (P - 1n) / 4n);
  const BASE = decode(hexBytes("5866666666666666666666666666666666666666666666666666666666666666"));
  const IDENTITY = [0n, 1n, 1n, 0n];

  function mod(value, modulus = P) {
    const rest = value % modulus;
    return rest < 0n ? rest + modulus : rest;
  }

  function power(base, exponent) {
    let result = 1n;
    let square = base;
    for (let left = exponent; left > 0n; left >>= 1n) {
      if (left & 1n) result = mod(result * square, 2n ** 255n - 19n);
      square = mod(square * square, 2n ** 255n - 19n);
    }
    return result;
  }

  function hexBytes(text) {
    return Uint8Array.from(text.match(/../g), (pair) => Number.parseInt(pair, 16));
  }

  function littleEndian(bytes) {
    return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  // A point in extended coordinates (X, Y, Z, T), or null where the bytes are no point (5.1.3).
  function decode(bytes) {
    const whole = littleEndian(bytes);
    const sign = whole >> 255n;
    const y = whole & (2n ** 255n - 1n);
    if (y >= P) return null;
    const square = mod(y * y);
    const u = mod(square - 1n);
    const v = mod(D * square + 1n);
    let x = mod(u * v ** 3n * power(mod(u * v ** 7n), (P - 5n) / 8n));
    const check = mod(v * x * x);
    if (check === mod(-u)) x = mod(x * ROOT_OF_MINUS_1);
    else if (check !== u) return null;
    if (x === 0n && sign === 1n) return null;
    if ((x & 1n) !== sign) x = P - x;
    return [x, y, 1n, mod(x * y)];
  }

  function encode([x, y, z]) {
    const inverse = power(z, P - 2n);
    const value = mod(y * inverse) | ((mod(x * inverse) & 1n) << 255n);
    return Uint8Array.from({ length: 32 }, (_, at) => Number((value >> BigInt(8 * at)) & 255n));
  }

  // The addition of 5.1.4, complete: it doubles as well.
  function add([x1, y1, z1, t1], [x2, y2, z2, t2]) {
    const a = mod((y1 - x1) * (y2 - x2));
    const b = mod((y1 + x1) * (y2 + x2));
    const c = mod(2n * t1 * t2 * D);
    const d = mod(2n * z1 * z2);
    const [e, f, g, h] = [b - a, d - c, d + c, b + a];
    return [mod(e * f), mod(g * h), mod(f * g), mod(e * h)];
  }

  function times(scalar, point) {
    let result = IDENTITY;
    let double = point;
    for (let left = scalar; left > 0n; left >>= 1n) {
      if (left & 1n) result = add(result, double);
      double = add(double, double);
    }
    return result;
  }

  async function verify(key, signature, message) {
    if (key.length !== 32 || signature.length !== 64) return false;
    const point = decode(key);
    const s = littleEndian(signature.subarray(32));
    if (point === null || s >= L) return false; // a larger s would be a second signature of the same text
    const hashed = new Uint8Array(64 + message.length);
    hashed.set(signature.subarray(0, 32));
    hashed.set(key, 32);
    hashed.set(message, 64);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", hashed));
    const [x, y, z, t] = point;
    const found = encode(add(times(s, BASE), times(mod(littleEndian(digest), L), [mod(-x), y, z, mod(-t)])));
    return found.every((byte, at) => byte === signature[at]);
  }

  return { verify };
})();
