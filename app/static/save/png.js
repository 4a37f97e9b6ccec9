// Words inside a PNG: iTXt chunks, which picture viewers and programs show beside the picture.

const SIGNATURE = 8; // bytes
const HEADER = 25; // bytes of IHDR with its length, name and checksum, which comes first

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** The checksum that PNG has behind every chunk. @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** One iTXt chunk, not compressed. name: Latin letters, at most 79. @returns {Uint8Array} */
function chunk(name, text) {
  const body = new TextEncoder().encode(`iTXt${name}\0\0\0\0\0${text}`);
  const out = new Uint8Array(body.length + 8);
  const view = new DataView(out.buffer);
  view.setUint32(0, body.length - 4);
  out.set(body, 4);
  view.setUint32(body.length + 4, crc32(body));
  return out;
}

/** The PNG with these words; those that are empty are left out. @param {Uint8Array} png @param {Record<string, string>} words */
export function withWords(png, words) {
  const chunks = Object.entries(words)
    .filter(([, text]) => text)
    .map(([name, text]) => chunk(name, text));
  const at = SIGNATURE + HEADER;
  const out = new Uint8Array(png.length + chunks.reduce((sum, c) => sum + c.length, 0));
  out.set(png.subarray(0, at));
  let end = at;
  for (const c of chunks) (out.set(c, end), (end += c.length));
  out.set(png.subarray(at), end);
  return out;
}
