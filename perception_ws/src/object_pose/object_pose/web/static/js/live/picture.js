// The live picture with the objects drawn over it: each picture with the poses of its own stamp.

import * as THREE from "/static/vendor/three/three.module.js";
import { classColor, SELECTION } from "../colors.js";
import { drawPose, outlineOf, Pencil } from "../drawing.js";
import { matrixOf } from "../viewer.js";
import { readPictures } from "./mjpeg.js";

const NEAR_M = 0.02, FAR_M = 20;

export class LivePicture {
  /**
   * @param {HTMLElement} host @param {import("./state.js").LiveState} state
   * @param {() => Map<string, import("../meshes.js").Part>} parts
   */
  constructor(host, state, parts) {
    this.host = host;
    this.state = state;
    this.parts = parts;
    this.layers = { boxes: true, axes: true, masks: true, labels: true };
    [this.image, this.masks, this.drawing] = host.querySelectorAll("canvas");
    this.outlines = new Map();
    this.frame = null;
    this.stop = new AbortController();
    this.silhouettes = new Silhouettes(this.masks);
    state.addEventListener("selection", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(host);
    host.addEventListener("click", (event) => this.state.select(this.#objectAt(event)));
  }

  async run() {
    this.stop = new AbortController();
    const width = Math.min(1280, Math.ceil(this.host.clientWidth * Math.min(devicePixelRatio, 2)) || 1280);
    await readPictures(`/v1/live/stream.mjpeg?width=${width}`, (bitmap, stamp) => this.#show(bitmap, stamp), this.stop.signal);
  }

  pause() {
    this.stop.abort();
  }

  /** @param {ImageBitmap} bitmap @param {string|null} stamp */
  #show(bitmap, stamp) {
    const { image } = this;
    if (image.width !== bitmap.width || image.height !== bitmap.height) {
      image.width = bitmap.width;
      image.height = bitmap.height;
      this.host.style.aspectRatio = `${bitmap.width} / ${bitmap.height}`;
    }
    image.getContext("2d").drawImage(bitmap, 0, 0);
    image.dataset.stamp = stamp ?? "";
    this.frame = this.state.frameAt(stamp);
    this.draw();
  }

  draw() {
    const { frame, image, drawing, state } = this, { camera } = state;
    if (!frame || !camera) return;
    const [width, height] = camera.size_wh;
    const fit = Math.min(this.host.clientWidth / width, this.host.clientHeight / height) * Math.max(devicePixelRatio, 1);
    const size = [Math.max(Math.round(width * fit), 1), Math.max(Math.round(height * fit), 1)];
    if (drawing.width !== size[0] || drawing.height !== size[1]) [drawing.width, drawing.height] = size;
    const context = drawing.getContext("2d");
    context.clearRect(0, 0, ...size);
    const pencil = new Pencil(context, fit);
    this.outlines.clear();
    const poses = [...frame.poses].sort((a, b) => Number(a.id === state.selected) - Number(b.id === state.selected) || b.position[2] - a.position[2]);
    for (const pose of poses) {
      const part = this.parts().get(pose.class_name);
      const outline = part?.size[0] ? outlineOf(camera.K, pose.T_camera_object, part) : null;
      if (!outline) continue;
      this.outlines.set(pose.id, outline);
      const selected = pose.id === state.selected;
      drawPose(pencil, outline, { name: pose.class_name, text: `${pose.class_name} ${pose.id}`, selected, faint: state.selected !== null && !selected }, this.layers);
    }
    this.masks.hidden = !this.layers.masks;
    if (this.layers.masks) this.silhouettes.draw(camera, poses, this.parts(), state.selected);
  }

  /** The nearest object whose drawn box is below the pointer. @param {MouseEvent} event */
  #objectAt(event) {
    const box = this.host.getBoundingClientRect(), [width, height] = this.state.camera?.size_wh ?? [1, 1];
    const fit = Math.min(box.width / width, box.height / height);
    const x = (event.clientX - box.left - (box.width - width * fit) / 2) / fit;
    const y = (event.clientY - box.top - (box.height - height * fit) / 2) / fit;
    let best = null, bestDistance = Infinity;
    for (const [id, { corners, center }] of this.outlines) {
      const xs = corners.map((p) => p[0]), ys = corners.map((p) => p[1]);
      const inside = x >= Math.min(...xs) && x <= Math.max(...xs) && y >= Math.min(...ys) && y <= Math.max(...ys);
      const distance = Math.hypot(center[0] - x, center[1] - y);
      if (inside && distance < bestDistance) [best, bestDistance] = [id, distance];
    }
    return best;
  }
}

/** The parts' silhouettes as the camera sees them, each in its colour, nearer ones before farther ones. */
class Silhouettes {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.renderer = new THREE.WebGLRenderer({ canvas, alpha: true, antialias: false, powerPreference: "low-power" });
    this.scene = new THREE.Scene();
    this.camera = new THREE.Camera();
    this.meshes = new Map();
    this.size = [0, 0];
  }

  draw({ size_wh: [width, height], K }, poses, parts, selected) {
    if (this.size[0] !== width || this.size[1] !== height) {
      this.size = [width, height];
      this.renderer.setSize(width, height, false);
      const depth = FAR_M - NEAR_M;
      // OpenCV's camera (x right, y down, z forward, pixel centres at integers) in clip coordinates.
      this.camera.projectionMatrix.set(
        (2 * K[0]) / width, 0, (2 * (K[2] + 0.5)) / width - 1, 0,
        0, (-2 * K[4]) / height, 1 - (2 * (K[5] + 0.5)) / height, 0,
        0, 0, (FAR_M + NEAR_M) / depth, (-2 * FAR_M * NEAR_M) / depth,
        0, 0, 1, 0,
      );
      this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
    }
    for (const mesh of this.meshes.values()) mesh.visible = false;
    for (const pose of poses) {
      const geometry = parts.get(pose.class_name)?.geometry;
      if (!geometry) continue;
      let mesh = this.meshes.get(pose.id);
      if (!mesh) {
        mesh = new THREE.Mesh(geometry, new THREE.MeshBasicMaterial({ side: THREE.DoubleSide }));
        mesh.matrixAutoUpdate = mesh.frustumCulled = false;
        this.scene.add(mesh);
        this.meshes.set(pose.id, mesh);
      }
      mesh.geometry = geometry;
      mesh.visible = true;
      mesh.matrix.copy(matrixOf(pose.T_camera_object));
      mesh.material.color.set(pose.id === selected ? SELECTION : classColor(pose.class_name));
    }
    for (const [id, mesh] of this.meshes) {
      if (mesh.visible) continue;
      mesh.removeFromParent();
      this.meshes.delete(id);
    }
    this.renderer.render(this.scene, this.camera);
  }
}
