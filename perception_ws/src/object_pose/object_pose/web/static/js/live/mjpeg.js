// Reads a stream of JPEG pictures, each with the stamp of its frame, so that poses are drawn on the picture they belong to.

import { backOff, request } from "../api.js";

/** @typedef {{bytes: Uint8Array, stamp: string|null}} Picture */

/**
 * Read pictures until aborted; a stream that breaks is opened again. Only the newest picture is decoded.
 * @param {string} path @param {(bitmap: ImageBitmap, stamp: string|null) => void} onPicture @param {AbortSignal} signal
 */
export async function readPictures(path, onPicture, signal) {
  let newest = /** @type {Picture|null} */ (null), decoding = false;
  const decode = async () => {
    if (decoding) return;
    decoding = true;
    while (newest && !signal.aborted) {
      const { bytes, stamp } = newest;
      newest = null;
      try {
        const bitmap = await createImageBitmap(new Blob([/** @type {any} */ (bytes)], { type: "image/jpeg" }));
        onPicture(bitmap, stamp);
        bitmap.close();
      } catch { /* a picture that is damaged is left out */ }
    }
    decoding = false;
  };
  for (let failures = 0; !signal.aborted; ) {
    try {
      const response = await request(path, { signal });
      for await (const picture of parts(response.body.getReader())) {
        failures = 0;
        newest = picture;
        decode();
      }
    } catch { /* waited for below */ }
    if (!signal.aborted) await backOff(failures++);
  }
}

/**
 * Split multipart/x-mixed-replace into its parts, each of which says its length.
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader @returns {AsyncGenerator<Picture>}
 */
async function* parts(reader) {
  const text = new TextDecoder("latin1");
  let buffer = new Uint8Array(0);
  const more = async () => {
    const { done, value } = await reader.read();
    if (done) return false;
    const joined = new Uint8Array(buffer.length + value.length);
    joined.set(buffer);
    joined.set(value, buffer.length);
    buffer = joined;
    return true;
  };
  for (;;) {
    let end;
    while ((end = find(buffer, [13, 10, 13, 10])) < 0) if (!(await more())) return;
    const head = text.decode(buffer.subarray(0, end));
    const length = Number(/content-length:\s*(\d+)/i.exec(head)?.[1]);
    if (!length) throw new Error("a part has no Content-Length");
    buffer = buffer.subarray(end + 4);
    while (buffer.length < length) if (!(await more())) return;
    yield { bytes: buffer.slice(0, length), stamp: /x-stamp-ns:\s*(\d+)/i.exec(head)?.[1] ?? null };
    buffer = buffer.subarray(length);
  }
}

/** @param {Uint8Array} bytes @param {number[]} wanted */
function find(bytes, wanted) {
  for (let at = bytes.indexOf(wanted[0]); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (wanted.every((value, index) => bytes[at + index] === value)) return at;
  }
  return -1;
}
