// Draws results on pictures: boxes, axes and labels of poses, and what the other tasks find.

import { classColor, SELECTION } from "./colors.js";
import { apply, BOX_EDGES, boxCorners, project, transformOf } from "./geometry.js";

const HALO = "rgba(0, 0, 0, 0.55)";
const AXES = [[[1, 0, 0], "#ff5a4d"], [[0, 1, 0], "#3ddc84"], [[0, 0, 1], "#5b9dff"]];

/** A pencil for one picture: coordinates are the picture's pixels, widths those of the screen. */
export class Pencil {
  /** @param {CanvasRenderingContext2D} context @param {number} scale screen pixels for each of the picture's */
  constructor(context, scale) {
    this.context = context;
    this.scale = scale;
    const ratio = Math.max(window.devicePixelRatio || 1, 1);
    // Lines and letters are smaller on small pictures.
    this.unit = ratio * Math.min(Math.max(context.canvas.width / ratio / 560, 0.7), 1);
    context.lineCap = context.lineJoin = "round";
  }

  /** @param {number[]} point pixel centres are integers */
  at([x, y]) {
    return [(x + 0.5) * this.scale, (y + 0.5) * this.scale];
  }

  /** Strokes a path with a dark edge, so that it is seen on any picture. @param {number[][][]} lines @param {string} stroke @param {number} width */
  lines(lines, stroke, width) {
    const { context } = this;
    context.beginPath();
    for (const line of lines) line.forEach((point, index) => context[index ? "lineTo" : "moveTo"](...this.at(point)));
    context.strokeStyle = HALO;
    context.lineWidth = (width + 2) * this.unit;
    context.stroke();
    context.strokeStyle = stroke;
    context.lineWidth = width * this.unit;
    context.stroke();
  }

  /** @param {number[][]} corners @param {string} stroke @param {number} width */
  polygon(corners, stroke, width) {
    this.lines([[...corners, corners[0]]], stroke, width);
  }

  /** A name above a point. @param {number[]} point @param {string} text @param {string} fill */
  label(point, text, fill) {
    const { context, unit } = this;
    context.font = `500 ${12 * unit}px system-ui, sans-serif`;
    const width = context.measureText(text).width + 10 * unit, height = 18 * unit;
    let [x, y] = this.at(point);
    x = Math.max(2, Math.min(x - width / 2, context.canvas.width - width - 2));
    y = Math.max(2, Math.min(y - height - 4 * unit, context.canvas.height - height - 2));
    context.fillStyle = "rgba(12, 15, 19, 0.82)";
    context.beginPath();
    context.roundRect(x, y, width, height, 4 * unit);
    context.fill();
    context.fillStyle = fill;
    context.fillRect(x, y + 4 * unit, 3 * unit, height - 8 * unit);
    context.fillStyle = "#f4f6f8";
    context.textBaseline = "middle";
    context.fillText(text, x + 7 * unit, y + height / 2);
  }
}

/**
 * The projections of a pose's box and axes; null where part of it is behind the camera.
 * @param {number[]} K @param {number[]} T_camera_object @param {{center: number[], size: number[]}} box
 */
export function outlineOf(K, T_camera_object, box) {
  const pixel = (point) => project(K, apply(T_camera_object, point));
  const corners = boxCorners(box.center, box.size).map(pixel);
  const length = 0.6 * Math.max(...box.size);
  const tips = AXES.map(([axis]) => pixel(axis.map((value, k) => box.center[k] + length * value)));
  const center = pixel(box.center);
  if (!center || corners.some((p) => !p) || tips.some((p) => !p)) return null;
  return { corners, center, tips };
}

/**
 * @param {Pencil} pencil @param {{corners: number[][], center: number[], tips: number[][]}} outline
 * @param {{name: string, text: string, selected?: boolean, faint?: boolean}} item @param {{boxes: boolean, axes: boolean, labels: boolean}} layers
 */
export function drawPose(pencil, outline, item, layers) {
  const stroke = item.selected ? SELECTION : classColor(item.name);
  pencil.context.globalAlpha = item.faint ? 0.5 : 1;
  if (layers.boxes || item.selected) pencil.lines(BOX_EDGES.map(([a, b]) => [outline.corners[a], outline.corners[b]]), stroke, item.selected ? 3 : 1.5);
  if (layers.axes) AXES.forEach(([, axisColor], k) => pencil.lines([[outline.center, outline.tips[k]]], axisColor, 2.5));
  if (layers.labels || item.selected) {
    const top = outline.corners.reduce((best, p) => (p[1] < best[1] ? p : best));
    pencil.label([outline.center[0], top[1]], item.text, stroke);
  }
  pencil.context.globalAlpha = 1;
}

const FAINT_SCORE = 0.3;
const percent = (score) => `${Math.round(100 * score)} %`;
const DRAWN_AS = {
  detect: (pencil, result, chosen) => result.detections.forEach((item, index) => {
    const [x1, y1, x2, y2] = item.box_xyxy, stroke = index === chosen ? SELECTION : classColor(item.class_name);
    pencil.polygon([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], stroke, index === chosen ? 3 : 2);
    pencil.label([(x1 + x2) / 2, y1], `${item.class_name} ${percent(item.score)}`, stroke);
  }),
  oriented: (pencil, result, chosen) => result.boxes.forEach((item, index) => {
    const heading = [Math.sin(item.yaw), Math.cos(item.yaw)], across = [heading[1], -heading[0]];
    const [w, l] = item.size_px.map((value) => value / 2), [x, y] = item.center_px;
    const corner = (a, b) => [x + a * w * across[0] + b * l * heading[0], y + a * w * across[1] + b * l * heading[1]];
    const stroke = index === chosen ? SELECTION : classColor(item.class_name);
    pencil.polygon([corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)], stroke, index === chosen ? 3 : 2);
    pencil.lines([[[x, y], corner(0, 1)]], "#ff5a4d", 2.5);
    pencil.label(corner(0, -1), `${item.class_name} ${percent(item.score)}`, stroke);
  }),
  segment: (pencil, result, chosen) => {
    const { context } = pencil, fill = classColor(result.class_name);
    result.regions.forEach((region, index) => {
      const rings = [region.contour_px, ...region.holes_px];
      context.beginPath();
      for (const ring of rings) {
        ring.forEach((point, k) => context[k ? "lineTo" : "moveTo"](...pencil.at(point)));
        context.closePath();
      }
      context.globalAlpha = 0.4;
      context.fillStyle = index === chosen ? SELECTION : fill;
      context.fill("evenodd");
      context.globalAlpha = 1;
      for (const ring of rings) pencil.polygon(ring, index === chosen ? SELECTION : fill, 1);
    });
  },
  classify: (pencil, result) => {
    const { context, unit } = pencil, { point_px: point, value } = result.attention_peak;
    const stroke = classColor(result.class_name);
    if (value >= 0.5) {
      context.beginPath();
      context.arc(...pencil.at(point), 22 * unit, 0, 2 * Math.PI);
      for (const [style, width] of [[HALO, 5], [stroke, 2.5]]) {
        context.strokeStyle = style;
        context.lineWidth = width * unit;
        context.stroke();
      }
    }
    pencil.label([context.canvas.width / pencil.scale / 2, 40 / pencil.scale], `${result.class_name} ${percent(result.score)}`, stroke);
  },
  pose: (pencil, result, chosen) => {
    if (!result.camera_matrix || !result.poses) return;
    const K = result.camera_matrix.flat();
    [...result.poses.entries()].reverse().forEach(([index, item]) => {
      const [w, x, y, z] = item.quat_wxyz, box = { center: item.box_center, size: item.box_size };
      const outline = outlineOf(K, transformOf(item.position, [x, y, z, w]), box);
      const shown = { name: item.class_name, text: `${item.class_name} ${percent(item.score)}`, selected: index === chosen, faint: item.score < FAINT_SCORE && index !== chosen };
      if (outline) drawPose(pencil, outline, shown, { boxes: true, axes: true, labels: true });
    });
  },
};

/** Draw a task's JSON. @param {string} task @param {Pencil} pencil @param {any} result @param {number|null} chosen index that is highlighted */
export function drawResult(task, pencil, result, chosen) {
  DRAWN_AS[task]?.(pencil, result, chosen);
}
