// Poses, cameras and covariances. Matrices are arrays in rows; quaternions are (x, y, z, w); lengths are metres.

/** @param {number[]} q @returns {number[]} 9 numbers */
export function rotationOf([x, y, z, w]) {
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
    2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
    2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
  ];
}

/** @param {number[]} position @param {number[]} quatXyzw @returns {number[]} 16 numbers */
export function transformOf(position, quatXyzw) {
  const r = rotationOf(quatXyzw);
  return [r[0], r[1], r[2], position[0], r[3], r[4], r[5], position[1], r[6], r[7], r[8], position[2], 0, 0, 0, 1];
}

/** @param {number[]} a @param {number[]} b @returns {number[]} 16 numbers */
export function compose(a, b) {
  const out = new Array(16).fill(0);
  for (let i = 0; i < 4; i++) for (let j = 0; j < 4; j++) for (let k = 0; k < 4; k++) out[4 * i + j] += a[4 * i + k] * b[4 * k + j];
  return out;
}

/** @param {number[]} t @param {number[]} p @returns {number[]} */
export function apply(t, [x, y, z]) {
  return [0, 4, 8].map((row) => t[row] * x + t[row + 1] * y + t[row + 2] * z + t[row + 3]);
}

/** Pixel of a point of the camera, null behind it. @param {number[]} K 9 numbers @param {number[]} p @returns {number[]|null} */
export function project(K, [x, y, z]) {
  return z > 1e-6 ? [(K[0] * x) / z + K[2], (K[4] * y) / z + K[5]] : null;
}

/** Roll, pitch and yaw in degrees about fixed x, y, z. @param {number[]} t 16 numbers */
export function rollPitchYaw(t) {
  const pitch = Math.asin(Math.max(-1, Math.min(1, -t[8])));
  return [Math.atan2(t[9], t[10]), pitch, Math.atan2(t[4], t[0])].map((angle) => (angle * 180) / Math.PI);
}

/** The corners of a box, x slowest. @param {number[]} center @param {number[]} size */
export function boxCorners(center, size) {
  const corners = [];
  for (const x of [-0.5, 0.5]) for (const y of [-0.5, 0.5]) for (const z of [-0.5, 0.5]) {
    corners.push([center[0] + x * size[0], center[1] + y * size[1], center[2] + z * size[2]]);
  }
  return corners;
}

/** Pairs of `boxCorners` that an edge joins. */
export const BOX_EDGES = [[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [1, 3], [4, 6], [5, 7], [0, 4], [1, 5], [2, 6], [3, 7]];

/** A 3x3 block of a 6x6 covariance. @param {number[]} covariance @param {0|3} at */
export function block(covariance, at) {
  return [0, 1, 2].flatMap((i) => [0, 1, 2].map((j) => covariance[6 * (i + at) + j + at]));
}

/** Eigenvalues and eigenvectors of a symmetric 3x3 matrix, by Jacobi rotations, greatest first. @param {number[]} matrix */
export function eigen(matrix) {
  const a = [0, 1, 2].map((i) => matrix.slice(3 * i, 3 * i + 3));
  const v = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  for (let sweep = 0; sweep < 12; sweep++) {
    for (const [p, q] of [[0, 1], [0, 2], [1, 2]]) {
      if (Math.abs(a[p][q]) < 1e-30) continue;
      const angle = 0.5 * Math.atan2(2 * a[p][q], a[q][q] - a[p][p]);
      const c = Math.cos(angle), s = Math.sin(angle);
      for (const rows of [a, v]) for (const row of rows) [row[p], row[q]] = [c * row[p] - s * row[q], s * row[p] + c * row[q]];
      [a[p], a[q]] = [a[p].map((x, k) => c * x - s * a[q][k]), a[p].map((x, k) => s * x + c * a[q][k])];
    }
  }
  const order = [0, 1, 2].sort((i, j) => a[j][j] - a[i][i]);
  return { values: order.map((i) => Math.max(a[i][i], 0)), vectors: order.map((i) => v.map((row) => row[i])) };
}

const FREE_RAD2 = (Math.PI / 4) ** 2;

/**
 * One standard deviation of position (mm) and orientation (degrees), over all axes; `free` counts axes that symmetry leaves open.
 * @param {number[]|null} covariance 36 numbers
 */
export function uncertainty(covariance) {
  if (!covariance) return { mm: NaN, deg: NaN, free: 0 };
  const turns = eigen(block(covariance, 3)).values, fixed = turns.filter((value) => value < FREE_RAD2);
  const total = (values) => Math.sqrt(values.reduce((sum, value) => sum + value, 0));
  return {
    mm: 1000 * total([covariance[0], covariance[7], covariance[14]]),
    deg: (total(fixed) * 180) / Math.PI,
    free: turns.length - fixed.length,
  };
}
