// The 3-D view of the live pipeline: point cloud, parts in their poses, covariance ellipsoids, camera and robot base.

import * as THREE from "/static/vendor/three/three.module.js";
import { backOff, request } from "../api.js";
import { classColor, SELECTION } from "../colors.js";
import { block, eigen } from "../geometry.js";
import { matrixOf, Viewer } from "../viewer.js";

const CLOUD_POINTS = 20000;
const CLOUD_PAUSE_MS = 300;
const ELLIPSOID_SIGMAS = 3, ELLIPSOID_MAGNIFIED = 5;
const FRUSTUM_M = 0.12;
// Measured points lie on the surfaces; some millimetres keep these in front.
const AHEAD_OF_POINTS = { polygonOffset: true, polygonOffsetFactor: -1, polygonOffsetUnits: -1200 };

export class LiveScene {
  /**
   * @param {HTMLElement} host @param {import("./state.js").LiveState} state
   * @param {() => Map<string, import("../meshes.js").Part>} parts
   */
  constructor(host, state, parts) {
    this.state = state;
    this.parts = parts;
    this.viewer = new Viewer(host, "3-D view of the parts and the point cloud");
    this.world = new THREE.Group();
    this.cameraGroup = new THREE.Group();
    this.cameraGroup.matrixAutoUpdate = false;
    this.world.add(this.cameraGroup);
    this.viewer.scene.add(this.world);
    this.base = frameAxes(0.1);
    this.world.add(this.base);
    this.frustum = new THREE.Group();
    this.cameraGroup.add(this.frustum);
    this.objects = new Map();
    this.objectGroup = new THREE.Group();
    this.ellipsoidGroup = new THREE.Group();
    this.cameraGroup.add(this.objectGroup, this.ellipsoidGroup);
    this.ball = new THREE.SphereGeometry(1, 24, 16);
    this.cloud = new THREE.Points(new THREE.BufferGeometry(), new THREE.PointsMaterial({ size: 2, sizeAttenuation: false, vertexColors: true }));
    this.cloud.frustumCulled = false;
    this.cameraGroup.add(this.cloud);
    this.isFramed = false;
    this.stop = new AbortController();
    state.addEventListener("frame", () => this.update());
    state.addEventListener("selection", () => this.update());
    this.#watchPicks();
  }

  /** Fetch the cloud again and again until `pause`. */
  async run() {
    this.stop = new AbortController();
    const { signal } = this.stop;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const shown = this.cloud.visible && this.state.available && !document.hidden;
        if (shown) this.#setCloud(await (await request(`/v1/live/cloud?points=${CLOUD_POINTS}`, { signal })).arrayBuffer());
        failures = 0;
        await new Promise((done) => setTimeout(done, CLOUD_PAUSE_MS));
      } catch {
        if (!signal.aborted) await backOff(failures++);
      }
    }
  }

  pause() {
    this.stop.abort();
  }

  /** @param {"cloud"|"meshes"|"ellipsoids"|"frames"} layer @param {boolean} visible */
  setVisible(layer, visible) {
    const items = { cloud: [this.cloud], meshes: [this.objectGroup], ellipsoids: [this.ellipsoidGroup], frames: [this.base, this.frustum] };
    for (const item of items[layer]) item.visible = visible;
    this.viewer.redraw();
  }

  /** Look at the objects from beside the camera. */
  home() {
    this.isFramed = false;
    this.#frameView();
  }

  /** Place what the newest frame shows. */
  update() {
    const { frame, camera } = this.state;
    if (!frame) return;
    this.cameraGroup.matrix.copy(frame.T_base_camera ? matrixOf(frame.T_base_camera) : this.#levelled());
    this.base.userData.known = Boolean(frame.T_base_camera);
    if (frame.T_base_camera && !this.hasBase) {
      this.hasBase = true;  // what was looked at before is elsewhere in the base's frame
      this.isFramed = false;
    }
    this.base.scale.setScalar(frame.T_base_camera ? 1 : 1e-6);
    if (camera && !this.frustum.children.length) this.frustum.add(...cameraLines(camera, this.viewer.lineColor));
    const present = new Set();
    for (const pose of frame.poses) {
      present.add(pose.id);
      this.#place(pose);
    }
    for (const [id, item] of this.objects) {
      if (present.has(id)) continue;
      item.body.removeFromParent();
      item.ellipsoid.removeFromParent();
      this.objects.delete(id);
    }
    this.#frameView();
    this.viewer.redraw();
  }

  /** Without a base the camera stands level: x right, z forward, y down. */
  #levelled() {
    return this.level ?? new THREE.Matrix4().set(1, 0, 0, 0, 0, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 1);
  }

  #place(pose) {
    let item = this.objects.get(pose.id);
    const part = this.parts().get(pose.class_name);
    if (!item || item.part !== part || item.geometry !== (part?.geometry ?? null) || item.name !== pose.class_name) {
      item?.body.removeFromParent();
      item?.ellipsoid.removeFromParent();
      item = this.#make(pose, part);
      this.objects.set(pose.id, item);
    }
    const selected = pose.id === this.state.selected;
    item.body.matrix.copy(matrixOf(pose.T_camera_object));
    item.material.color.set(selected ? SELECTION : classColor(pose.class_name));
    item.material.emissive.set(selected ? SELECTION : "#000000");
    item.material.emissiveIntensity = selected ? 0.45 : 0;
    item.edge.visible = selected;
    item.ellipsoid.visible = Boolean(pose.covariance);
    if (pose.covariance) item.ellipsoid.matrix.copy(ellipsoidOf(pose));
  }

  #make(pose, part) {
    const size = part?.size ?? [0.04, 0.04, 0.04], center = part?.center ?? [0, 0, 0];
    const boxGeometry = new THREE.BoxGeometry(...size).translate(center[0], center[1], center[2]);
    const material = new THREE.MeshStandardMaterial({ roughness: 0.62, metalness: 0.05, ...AHEAD_OF_POINTS, transparent: !part?.geometry, opacity: part?.geometry ? 1 : 0.5 });
    const body = new THREE.Mesh(part?.geometry ?? boxGeometry, material);
    const edge = new THREE.LineSegments(new THREE.EdgesGeometry(boxGeometry), new THREE.LineBasicMaterial({ color: SELECTION }));
    body.add(edge);
    const ellipsoid = new THREE.Mesh(this.ball, new THREE.MeshBasicMaterial({ color: classColor(pose.class_name), transparent: true, opacity: 0.3, depthWrite: false }));
    body.matrixAutoUpdate = ellipsoid.matrixAutoUpdate = false;
    body.userData.id = ellipsoid.userData.id = edge.userData.id = pose.id;
    this.objectGroup.add(body);
    this.ellipsoidGroup.add(ellipsoid);
    return { body, ellipsoid, edge, material, part, geometry: part?.geometry ?? null, name: pose.class_name };
  }

  /** @param {ArrayBuffer} data */
  #setCloud(data) {
    const count = new DataView(data).getUint32(0, true);
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(data, 4, 3 * count), 3));
    const colors = new Float32Array(3 * count), bytes = new Uint8Array(data, 4 + 12 * count, 3 * count);
    for (let k = 0; k < colors.length; k++) colors[k] = (bytes[k] / 255) ** 2.2;
    geometry.setAttribute("color", new THREE.BufferAttribute(colors, 3));
    this.cloud.geometry.dispose();
    this.cloud.geometry = geometry;
    this.cloud.userData.count = count;
    if (!this.level && count > 300) {
      this.level = levelOf(geometry.getAttribute("position").array, count);
      if (!this.state.frame?.T_base_camera) this.isFramed = false;
      this.update();
    }
    this.#frameView();
    this.viewer.redraw();
  }

  /** Once there is something to see, look at it; from then on the view is the user's. */
  #frameView() {
    const { frame } = this.state;
    if (this.isFramed || !frame || !this.cloud.userData.count) return;
    this.isFramed = true;
    const toWorld = this.cameraGroup.matrix;
    const target = middleOf(this.cloud.geometry.getAttribute("position")).applyMatrix4(toWorld);
    const eye = new THREE.Vector3().setFromMatrixPosition(toWorld);
    const away = eye.clone().sub(target);
    const distance = Math.max(away.length(), 0.2);
    away.setZ(Math.max(away.z, 0.5 * distance)).applyAxisAngle(new THREE.Vector3(0, 0, 1), 0.55);
    this.viewer.look(target, away, 1.25 * distance);
    this.viewer.setGrid(2, new THREE.Vector3(Math.round(10 * target.x) / 10, Math.round(10 * target.y) / 10, frame.T_base_camera ? 0 : target.z));
  }

  #watchPicks() {
    let down = null;
    this.viewer.canvas.addEventListener("pointerdown", (event) => (down = [event.clientX, event.clientY]));
    this.viewer.canvas.addEventListener("pointerup", (event) => {
      if (!down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4) return;
      const found = this.viewer.pick(event, [...this.objects.values()].map((item) => item.body));
      this.state.select(found?.userData.id ?? null);
    });
  }
}

/** The median of a cloud, by axis. @param {THREE.BufferAttribute|THREE.InterleavedBufferAttribute} points */
function middleOf(points) {
  const step = Math.max(Math.floor(points.count / 500), 1);
  const median = (axis) => {
    const values = [];
    for (let k = 0; k < points.count; k += step) values.push(points.getComponent(k, axis));
    return values.sort((a, b) => a - b)[values.length >> 1];
  };
  return new THREE.Vector3(median(0), median(1), median(2));
}

/** @param {number} length @returns {THREE.Group} */
export function frameAxes(length) {
  const group = new THREE.Group();
  const colors = ["#f2564a", "#35b779", "#4d90ff"];
  [[1, 0, 0], [0, 1, 0], [0, 0, 1]].forEach((axis, k) => {
    const bar = new THREE.Mesh(new THREE.CylinderGeometry(0.02 * length, 0.02 * length, length, 10), new THREE.MeshBasicMaterial({ color: colors[k] }));
    bar.position.set(...axis.map((value) => (value * length) / 2));
    bar.quaternion.setFromUnitVectors(new THREE.Vector3(0, 1, 0), new THREE.Vector3(...axis));
    group.add(bar);
  });
  return group;
}

function cameraLines({ size_wh: [width, height], K }, lineColor) {
  const corner = (u, v) => new THREE.Vector3(((u - K[2]) / K[0]) * FRUSTUM_M, ((v - K[5]) / K[4]) * FRUSTUM_M, FRUSTUM_M);
  const corners = [corner(0, 0), corner(width, 0), corner(width, height), corner(0, height)];
  const points = corners.flatMap((point, k) => [new THREE.Vector3(), point, point, corners[(k + 1) % 4]]);
  const lines = new THREE.LineSegments(new THREE.BufferGeometry().setFromPoints(points), new THREE.LineBasicMaterial({ color: lineColor }));
  return [lines, frameAxes(0.03)];
}

/** @param {import("./state.js").Pose} pose @returns {THREE.Matrix4} */
function ellipsoidOf(pose) {
  const { values, vectors } = eigen(block(pose.covariance, 0));
  const [x, y, z] = vectors.map((vector) => new THREE.Vector3(...vector));
  const basis = new THREE.Matrix4().makeBasis(x, y, z);
  const lengths = values.map((value) => ELLIPSOID_SIGMAS * ELLIPSOID_MAGNIFIED * Math.sqrt(value) || 1e-6);
  return new THREE.Matrix4().makeTranslation(...pose.position).multiply(basis).scale(new THREE.Vector3(...lengths));
}

/** The turn that lays a cloud's largest plane level, below the camera: RANSAC on points of the camera. */
function levelOf(points, count) {
  const at = (k) => new THREE.Vector3(points[3 * k], points[3 * k + 1], points[3 * k + 2]);
  // A generator with a seed, so that the view is the same each time.
  let seed = 1;
  const pick = () => at((seed = (seed * 48271) % 2147483647) % count);
  let best = new THREE.Plane(new THREE.Vector3(0, -1, 0), 0), bestCount = 0;
  const plane = new THREE.Plane(), step = Math.max(Math.floor(count / 1000), 1);
  for (let trial = 0; trial < 80; trial++) {
    plane.setFromCoplanarPoints(pick(), pick(), pick());
    let inliers = 0;
    for (let k = 0; k < count; k += step) if (Math.abs(plane.distanceToPoint(at(k))) < 0.006) inliers++;
    if (inliers > bestCount) [best, bestCount] = [plane.clone(), inliers];
  }
  const up = best.normal.clone().multiplyScalar(best.constant < 0 ? -1 : 1);
  return new THREE.Matrix4().makeRotationFromQuaternion(new THREE.Quaternion().setFromUnitVectors(up, new THREE.Vector3(0, 0, 1)));
}
