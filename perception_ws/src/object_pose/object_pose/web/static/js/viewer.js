// A 3-D view with z up: drawn only when something changed, turned by mouse, touch and keyboard, in the theme's colours.

import { OrbitControls } from "/static/vendor/three/OrbitControls.js";
import * as THREE from "/static/vendor/three/three.module.js";
import { color, h } from "./dom.js";

const TURN = Math.PI / 24, ZOOM = 1.15;

export class Viewer {
  /** @param {HTMLElement} host @param {string} label for screen readers */
  constructor(host, label) {
    this.canvas = h("canvas", { class: "view", tabIndex: 0, role: "img", "aria-label": label });
    host.prepend(this.canvas);
    this.renderer = new THREE.WebGLRenderer({ canvas: this.canvas, antialias: true, powerPreference: "low-power" });
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(45, 1, 0.005, 50);
    this.camera.up.set(0, 0, 1);
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x8a919c, 1.6));
    const sun = new THREE.DirectionalLight(0xffffff, 1.9);
    sun.position.set(0.6, -0.8, 1.4);
    this.scene.add(sun);
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", () => this.redraw());
    this.canvas.addEventListener("keydown", (event) => this.#onKey(event));
    this.size = new ResizeObserver(() => this.#resize());
    this.size.observe(host);
    this.host = host;
    this.grid = null;
    this.waiting = 0;
    this.#resize();
    this.setTheme();
  }

  /** Take the theme's colours. */
  setTheme() {
    this.scene.background = new THREE.Color(color("--stage"));
    this.lineColor = new THREE.Color(color("--edge"));
    if (this.grid) this.grid.material.color = this.lineColor;
    this.redraw();
  }

  /** Put a grid of 0.1 m at a height. @param {number} size metres @param {THREE.Vector3} center */
  setGrid(size, center) {
    this.grid?.removeFromParent();
    const step = size <= 0.5 ? 0.01 : 0.1, count = Math.round(size / step);
    const grid = new THREE.GridHelper(count * step, count);
    const geometry = grid.geometry.clone();
    geometry.deleteAttribute("color");
    this.grid = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: this.lineColor, transparent: true, opacity: 0.35 }));
    this.grid.rotation.x = Math.PI / 2;
    this.grid.position.copy(center);
    this.scene.add(this.grid);
    this.redraw();
  }

  /** Look at a point from a direction. @param {THREE.Vector3} target @param {THREE.Vector3} direction @param {number} distance */
  look(target, direction, distance) {
    this.controls.target.copy(target);
    this.camera.position.copy(direction).normalize().multiplyScalar(distance).add(target);
    this.controls.update();
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.renderer.render(this.scene, this.camera);
    });
  }

  /** The first object below a pointer. @param {PointerEvent} event @param {THREE.Object3D[]} objects @returns {THREE.Object3D|null} */
  pick(event, objects) {
    const box = this.canvas.getBoundingClientRect();
    const pointer = new THREE.Vector2(((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2);
    const ray = new THREE.Raycaster();
    ray.setFromCamera(pointer, this.camera);
    return ray.intersectObjects(objects, true)[0]?.object ?? null;
  }

  dispose() {
    this.size.disconnect();
    this.controls.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
    cancelAnimationFrame(this.waiting);
    this.canvas.remove();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.redraw();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const offset = this.camera.position.clone().sub(this.controls.target);
    const sphere = new THREE.Spherical().setFromVector3(new THREE.Vector3(offset.x, offset.z, -offset.y));
    const turns = { ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, -TURN], ArrowDown: [0, TURN] };
    if (event.key in turns) {
      sphere.theta += turns[event.key][0];
      sphere.phi = Math.max(0.05, Math.min(Math.PI - 0.05, sphere.phi + turns[event.key][1]));
    } else if (event.key === "+" || event.key === "=") sphere.radius /= ZOOM;
    else if (event.key === "-") sphere.radius *= ZOOM;
    else return;
    event.preventDefault();
    const moved = new THREE.Vector3().setFromSpherical(sphere);
    this.camera.position.set(moved.x, -moved.z, moved.y).add(this.controls.target);
    this.controls.update();
    this.redraw();
  }
}

/** @param {number[]} t 16 numbers in rows @returns {THREE.Matrix4} */
export const matrixOf = (t) => new THREE.Matrix4().fromArray(t).transpose();
