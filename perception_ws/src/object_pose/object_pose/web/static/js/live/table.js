// The objects as a table, updated a few times a second so that its numbers can be read.

import { classColor } from "../colors.js";
import { announce, byId, fixed, h, setText } from "../dom.js";
import { compose, rollPitchYaw } from "../geometry.js";

const UPDATE_MS = 200;
const STATES = { tracked: "good", registered: "accent", lost: "bad" };

export class ObjectTable {
  /** @param {import("./state.js").LiveState} state */
  constructor(state) {
    this.state = state;
    this.body = byId("objects").tBodies[0];
    this.rows = new Map();
    this.due = 0;
    state.addEventListener("frame", () => this.#soon());
    state.addEventListener("availability", () => this.#soon());
    state.addEventListener("selection", () => {
      this.update();
      const item = state.objects.get(state.selected);
      announce(item ? `${item.pose.class_name} ${state.selected} selected` : "No object selected");
    });
    byId("frame").addEventListener("change", () => this.update());
  }

  #soon() {
    if (this.due) return;
    this.due = window.setTimeout(() => {
      this.due = 0;
      this.update();
    }, UPDATE_MS);
  }

  update() {
    const { objects, frame, selected } = this.state;
    const base = frame?.T_base_camera ?? null, choice = byId("frame");
    choice.options[1].disabled = !base;
    if (!base) choice.value = "camera";
    const toFrame = choice.value === "base" ? base : null;
    for (const [id, row] of this.rows) {
      if (objects.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    for (const id of [...objects.keys()].sort((a, b) => a - b)) {
      const pose = objects.get(id).pose;
      if (!this.rows.has(id)) this.#add(id, pose);
      this.#fill(this.rows.get(id), pose, toFrame, id === selected);
    }
    const present = [...objects.values()].filter((item) => item.pose.state !== "lost").length;
    setText(byId("object-count"), present ? String(present) : "");
    byId("objects-empty").hidden = objects.size > 0;
  }

  #add(id, pose) {
    const swatch = h("span", { class: "swatch" });
    swatch.style.background = classColor(pose.class_name);
    const button = h("button", { type: "button", "aria-pressed": "false" }, swatch, h("span", {}, pose.class_name));
    const numbers = Array.from({ length: 9 }, () => h("td", { class: "num" }));
    const bar = h("progress", { max: 1, "aria-label": "Confidence" }), share = h("span");
    const badge = h("span", { class: "badge" });
    const [number, x, y, z, roll, pitch, yaw, mm, deg] = numbers;
    const cells = [h("td", {}, button), number, x, y, z, roll, pitch, yaw, h("td", {}, h("span", { class: "meter" }, bar, share)), mm, deg, h("td", {}, badge)];
    const element = h("tr", { dataset: { id: String(id) }, onclick: () => this.state.select(this.state.selected === id ? null : id) }, ...cells);
    number.textContent = String(id);
    const after = [...this.rows.values()].find((row) => row.id > id);
    this.body.insertBefore(element, after?.element ?? null);
    this.rows.set(id, { id, element, button, swatch, numbers, bar, share, badge });
    this.rows = new Map([...this.rows].sort(([a], [b]) => a - b));
  }

  #fill(row, pose, toFrame, selected) {
    const t = toFrame ? compose(toFrame, pose.T_camera_object) : pose.T_camera_object;
    const texts = [String(pose.id), ...[3, 7, 11].map((k) => fixed(1000 * t[k], 1)), ...rollPitchYaw(t).map((angle) => fixed(angle, 1)),
      fixed(pose.sigma.mm, 2), pose.sigma.free ? `${fixed(pose.sigma.deg, 2)} ↻` : fixed(pose.sigma.deg, 2)];
    row.numbers.forEach((cell, k) => setText(cell, texts[k]));
    row.numbers[8].title = pose.sigma.free ? "Free about the axis of its symmetry" : "";
    row.bar.value = pose.score;
    setText(row.share, `${Math.round(100 * pose.score)} %`);
    setText(row.badge, pose.state);
    row.badge.dataset.tone = STATES[pose.state] ?? "";
    row.element.dataset.state = pose.state;
    row.swatch.style.background = classColor(pose.class_name);
    row.button.setAttribute("aria-pressed", String(selected));
    if (selected) row.element.dataset.selected = "";
    else delete row.element.dataset.selected;
  }
}
