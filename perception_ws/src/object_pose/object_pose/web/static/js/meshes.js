// CAD meshes of a model's classes, as the server exports them, each fetched once.

import { GLTFLoader } from "/static/vendor/three/GLTFLoader.js";
import * as THREE from "/static/vendor/three/three.module.js";
import { getJson, request } from "./api.js";
import { assignColors } from "./colors.js";

/**
 * @typedef {{name: string, center: number[], size: number[], diameter: number, geometry: THREE.BufferGeometry|null}} Part
 */

/** @type {Map<string, Promise<Map<string, Part>>>} */
const models = new Map();

/** The parts of a model, by class; the meshes follow as they come, `onMesh` says so. @param {string} model @param {() => void} onMesh */
export function partsOf(model, onMesh) {
  if (!models.has(model)) {
    const found = load(model, onMesh);
    models.set(model, found);
    found.catch(() => models.delete(model));
  }
  return models.get(model);
}

/** @param {string} model @param {() => void} onMesh @returns {Promise<Map<string, Part>>} */
async function load(model, onMesh) {
  const base = `/v1/models/${encodeURIComponent(model)}/parts`;
  const parts = await getJson(base);
  assignColors(parts.map((part) => part.class));
  const found = new Map(parts.map((part) => [part.class, {
    name: part.class, center: part.box_center_m, size: part.box_size_m, diameter: part.diameter_m, geometry: null,
  }]));
  for (const part of parts) {
    readMesh(`${base}/${encodeURIComponent(part.class)}.glb`).then((geometry) => {
      found.get(part.class).geometry = geometry;
      onMesh();
    }).catch(() => { /* drawn as a box */ });
  }
  return found;
}

/** Read a binary glTF as one geometry in metres. @param {string} url @returns {Promise<THREE.BufferGeometry>} */
export async function readMesh(url) {
  const data = await (await request(url)).arrayBuffer();
  const { scene } = await new GLTFLoader().parseAsync(data, "");
  scene.updateMatrixWorld(true);
  const positions = [];
  const point = new THREE.Vector3();
  scene.traverse((node) => {
    if (!(node instanceof THREE.Mesh)) return;
    const flat = node.geometry.index ? node.geometry.toNonIndexed() : node.geometry;
    const attribute = flat.getAttribute("position");
    for (let k = 0; k < attribute.count; k++) positions.push(...point.fromBufferAttribute(attribute, k).applyMatrix4(node.matrixWorld).toArray());
  });
  if (!positions.length) throw new Error("the part has points alone");
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.Float32BufferAttribute(positions, 3));
  geometry.computeVertexNormals();
  return geometry;
}
