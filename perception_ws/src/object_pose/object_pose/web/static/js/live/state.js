// What the pipeline says: camera, objects of each frame, figures, and which object is selected.

import { backOff, getJson, openEvents } from "../api.js";
import { transformOf, uncertainty } from "../geometry.js";

const KEPT_FRAMES = 64;
const LOST_SHOWN_MS = 3000;
const POLL_MS = 3000;

/**
 * @typedef {{id: number, class_name: string, score: number, position: number[], quat_xyzw: number[], covariance: number[]|null,
 *   state: string, box_2d: number[]|null, T_camera_object: number[], sigma: {mm: number, deg: number, free: number}}} Pose
 * @typedef {{stamp: string, poses: Pose[], T_base_camera: number[]|null, latency_ms: number|null}} LiveFrame
 */

/** Events: "availability", "frame", "status", "selection". */
export class LiveState extends EventTarget {
  /** @type {boolean|null} null until the server has said so */
  available = null;
  paused = false;
  /** The name of the bag that is being recorded. @type {string|null} */
  recording = null;
  /** @type {string|null} the model that the pipeline runs */
  model = null;
  /** @type {{size_wh: number[], K: number[], frame_id: string}|null} */
  camera = null;
  /** @type {LiveFrame|null} */
  frame = null;
  /** @type {any} */
  status = null;
  /** @type {number|null} */
  selected = null;
  /** @type {Map<number, {pose: Pose, seen: number}>} objects by id, those that were lost for a while, too */
  objects = new Map();

  #frames = /** @type {Map<string, LiveFrame>} */ (new Map());
  #close = () => {};
  #run = 0;

  /** Listen, anew where it does already, until `stop`. */
  async start() {
    this.stop();
    const run = this.#run;
    for (let failures = 0; run === this.#run; ) {
      try {
        await this.refresh();
        failures = 0;
        if (run !== this.#run) return;
        if (this.available) return this.#listen();
        await new Promise((done) => setTimeout(done, POLL_MS));
      } catch {
        await backOff(failures++);
      }
    }
  }

  stop() {
    this.#run++;
    this.#close();
    this.#close = () => {};
  }

  /** Ask for everything once. */
  async refresh() {
    const live = await getJson("/v1/live");
    this.available = live.available;
    if (!live.available) this.model = null;
    if (live.frame) this.camera = { ...live.frame, K: live.frame.K.flat() };
    this.#setControls(live.paused, live.recording);
    if (live.frame) this.#take({ stamp_ns: live.frame.stamp_ns, poses: live.poses, T_base_camera: live.frame.T_base_camera });
    if (live.status) this.#takeStatus(live.status);
  }

  #listen() {
    this.#close = openEvents("/v1/live/events", {
      frame: (data) => {
        if (!this.camera) this.refresh().catch(() => {});
        this.#take(data);
      },
      status: (data) => this.#takeStatus(data),
    }, {
      // A server that came back may run without a pipeline, or with another one.
      again: () => {
        this.start();
        return false;
      },
    });
  }

  #takeStatus(status) {
    this.status = status;
    // It is null while the pipeline starts or is busy; another client may have switched it.
    this.model = status.model ?? this.model;
    // Another client may have paused it.
    if (status.paused !== undefined && status.paused !== this.paused) this.#setControls(status.paused, this.recording);
    this.#say("status");
  }

  /** @param {boolean} paused @param {string|null} recording */
  #setControls(paused, recording) {
    this.paused = Boolean(paused);
    this.recording = recording || null;
    this.#say("availability");
  }

  #take(data) {
    const poses = (data.poses ?? []).map((pose) => ({
      ...pose,
      T_camera_object: transformOf(pose.position, pose.quat_xyzw),
      sigma: uncertainty(pose.covariance),
    }));
    const frame = { stamp: String(data.stamp_ns), poses, T_base_camera: data.T_base_camera?.flat() ?? null, latency_ms: data.latency_ms ?? null };
    this.frame = frame;
    this.#frames.set(frame.stamp, frame);
    if (this.#frames.size > KEPT_FRAMES) this.#frames.delete(this.#frames.keys().next().value);
    this.#updateObjects(poses);
    this.#say("frame");
  }

  #updateObjects(poses) {
    const now = performance.now();
    const present = new Set(poses.map((pose) => pose.id));
    for (const pose of poses) this.objects.set(pose.id, { pose, seen: now });
    for (const [id, item] of this.objects) {
      if (present.has(id)) continue;
      item.pose = { ...item.pose, state: "lost" };
      if (now - item.seen > LOST_SHOWN_MS) this.objects.delete(id);
    }
    if (this.selected !== null && !this.objects.has(this.selected)) this.select(null);
  }

  /** The frame of a stamp; the newest where it has not come, or has gone. @param {string|null} stamp */
  frameAt(stamp) {
    return (stamp && this.#frames.get(stamp)) || this.frame;
  }

  /** @param {number|null} id */
  select(id) {
    if (id === this.selected) return;
    this.selected = id;
    this.#say("selection");
  }

  /** Select the next object of the list, or the one before it. @param {1|-1} step */
  selectNext(step) {
    const ids = [...this.objects.keys()].sort((a, b) => a - b);
    if (!ids.length) return;
    const at = this.selected === null ? (step > 0 ? -1 : 0) : ids.indexOf(this.selected);
    this.select(ids[(at + step + ids.length) % ids.length]);
  }

  /** @param {string} name */
  #say(name) {
    this.dispatchEvent(new Event(name));
  }
}
