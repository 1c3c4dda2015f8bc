// A zip file without compression, made in the browser: pictures are compressed already. (APPNOTE 4.3, no zip64)

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const LIMIT = 2 ** 32 - 1;
const DOS_DAY = (1 << 5) | 1; // 1980-01-01, the zero of the format: content alone decides the bytes

function header(signature, fields) {
  const size = 4 + fields.reduce((sum, [bytes]) => sum + bytes, 0);
  const view = new DataView(new ArrayBuffer(size));
  view.setUint32(0, signature, true);
  let at = 4;
  for (const [bytes, value] of fields) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

/** @param {{name: string, file: Blob}[]} entries @returns {Promise<Blob>} */
export async function zip(entries, progress = () => {}) {
  if (entries.length > 65535) throw new Error("a zip of this kind holds 65,535 files at most");
  const parts = [];
  const index = [];
  let offset = 0;
  for (const [i, { name, file }] of entries.entries()) {
    const crc = crc32(new Uint8Array(await file.arrayBuffer()));
    const path = new TextEncoder().encode(name);
    const common = [[2, 0x800], [2, 0], [2, 0], [2, DOS_DAY], [4, crc], [4, file.size], [4, file.size], [2, path.length], [2, 0]];
    const local = header(0x04034b50, [[2, 20], ...common]);
    index.push(header(0x02014b50, [[2, 20], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), path);
    parts.push(local, path, file);
    offset += local.length + path.length + file.size;
    if (offset > LIMIT) throw new Error("a zip of this kind holds 4 GB at most");
    progress(i + 1, entries.length);
  }
  const length = index.reduce((sum, part) => sum + part.length, 0);
  const end = header(0x06054b50, [[2, 0], [2, 0], [2, entries.length], [2, entries.length], [4, length], [4, offset], [2, 0]]);
  return new Blob([...parts, ...index, end], { type: "application/zip" });
}
