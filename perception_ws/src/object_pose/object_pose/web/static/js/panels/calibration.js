// Calibration: images of a board taken one by one, with what they cover and which view to show next.

import { ApiError, may, post, request } from "../api.js";
import { dropZone, fixed, h, setText } from "../dom.js";
import { Pencil } from "../drawing.js";
import { showFault } from "../forms.js";
import { finished, jobFiles, JobProgress } from "../jobs.js";
import { live } from "../live/live.js";
import { figuresOf } from "./jobs.js";

const LOOK_PAUSE_MS = 250;
const SEEN = "#ffc440", WANTED = "#4d90ff", COVERED = "#35b779";

let view = null;

/** @param {HTMLElement} host */
export function showCalibration(host) {
  view ??= new CalibrationView(host);
  view.refresh();
}

class CalibrationView {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.host = host;
    this.session = null;
    this.capture = null;
    this.fault = h("p", { class: "message", role: "alert", hidden: true });
    this.form = h("form", { class: "panel", onsubmit: (event) => this.begin(event) },
      h("div", { class: "panel-head" }, h("h2", {}, "Session")),
      h("div", { class: "panel-body" },
        h("label", { class: "field" }, "What is calibrated", h("select", { name: "kind", onchange: () => this.updateForm() }, h("option", { value: "intrinsics" }, "Camera intrinsics"), h("option", { value: "hand-eye" }, "Hand-eye: camera and robot"))),
        h("label", { class: "field" }, "Board", h("input", { name: "board", value: "charuco:9x6:0.03:0.022:DICT_5X5_100", required: true, spellcheck: false }),
          h("span", { class: "note" }, "chessboard:9x6:0.025, charuco, apriltag or circles: inner corners or squares, then metres. object-pose calibrate board prints one.")),
        h("label", { class: "field" }, "Name of the camera", h("input", { name: "name", value: "camera", required: true, pattern: "[A-Za-z0-9_\\-]+" })),
        h("label", { class: "field", hidden: true }, "Camera mounted", h("select", { name: "mounting" }, h("option", { value: "eye_in_hand" }, "on the robot's hand"), h("option", { value: "eye_to_hand" }, "beside the robot"))),
        h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Start a session"))));
    this.pose = h("input", { spellcheck: false, placeholder: "x y z qx qy qz qw" });
    this.poseField = h("label", { class: "field", hidden: true }, "Gripper in the base, of this image", this.pose, h("span", { class: "note" }, "Metres and a quaternion."));
    this.keep = h("button", { type: "button", class: "primary", onclick: () => this.take(true) }, "Keep this image");
    this.auto = h("input", { type: "checkbox" });
    this.solve = h("button", { type: "button", onclick: () => this.run() }, "Calibrate");
    this.end = h("button", { type: "button", class: "quiet", onclick: () => this.finish() }, "End session");
    this.drop = dropZone({ label: "Or add images", hint: "photographs of the board by the same camera", accept: "image/*", multiple: true, onfiles: (files) => this.addFiles(files) });
    this.counts = h("dl", { class: "facts" });
    this.missing = h("ul", { class: "note" });
    this.controls = h("div", { class: "panel", hidden: true }, h("div", { class: "panel-head" }, h("h2", {}, "Images")),
      h("div", { class: "panel-body" }, this.counts, this.poseField, h("div", { class: "actions" }, this.keep, this.solve, this.end),
        h("label", { class: "check" }, this.auto, h("span", {}, "Keep useful images by itself")), this.missing, this.drop));
    this.canvas = h("canvas", { class: "layer", role: "img", "aria-label": "Picture with the board's corners, the regions covered and the view to show next" });
    this.hint = h("div", { class: "empty" });
    this.stage = h("figure", { class: "stage", id: "calibration-stage" }, this.canvas, this.hint);
    this.advice = h("p", { class: "message", role: "status", hidden: true });
    this.progress = new JobProgress();
    this.progress.element.hidden = true;
    this.result = h("div", { class: "stack" });
    host.append(
      h("header", {}, h("h1", { id: "title-calibration" }, "Calibration"), h("p", {}, "Show the board where the picture asks for it; each kept image fills the region that it covers.")),
      this.fault, h("div", { class: "columns" }, h("div", { class: "stack" }, this.form, this.controls), h("div", { class: "stack" }, this.advice, this.stage, this.progress.element, this.result)));
    new ResizeObserver(() => this.draw()).observe(this.stage);
    this.showHint();
  }

  refresh() {
    const allowed = may("operate");
    this.form.querySelector("[type=submit]").disabled = !allowed;
    showFault(this.fault, allowed ? null : new Error("Calibration needs a token with the scope operate."));
    this.showHint();
    if (this.session) this.watch();
  }

  updateForm() {
    this.form.mounting.closest("label").hidden = this.form.kind.value !== "hand-eye";
  }

  showHint() {
    const [title, text] = this.session ? ["No picture yet", live.available ? "" : "There is no pipeline: add images of the board."] : ["No session", "Start one to see the picture with what it covers."];
    this.hint.replaceChildren(h("strong", {}, title), h("p", {}, text));
    this.hint.hidden = Boolean(this.session && this.bitmap);
  }

  /** @param {SubmitEvent} event */
  async begin(event) {
    event.preventDefault();
    const { kind, board, name, mounting } = this.form;
    const asked = { kind: kind.value, board: board.value.trim(), name: name.value.trim(), ...(kind.value === "hand-eye" && { mounting: mounting.value }) };
    try {
      this.session = await post("/v1/calibration/session", asked);
      showFault(this.fault, null);
    } catch (error) {
      return showFault(this.fault, error);
    }
    this.capture = this.bitmap = null;
    this.result.replaceChildren();
    this.form.hidden = true;
    this.controls.hidden = false;
    this.keep.hidden = this.auto.parentElement.hidden = !live.available;
    this.poseField.hidden = this.session.kind !== "hand-eye";
    this.showCounts();
    this.showHint();
    this.watch();
  }

  /** Look at the live picture again and again while it is shown. */
  async watch() {
    if (this.watching || !live.available) return;
    this.watching = true;
    while (this.session && !this.host.hidden && !document.hidden) {
      const useful = this.capture?.found && this.capture.useful && this.session.kind === "intrinsics";
      await this.take(Boolean(this.auto.checked && useful));
      await new Promise((done) => setTimeout(done, LOOK_PAUSE_MS));
    }
    this.watching = false;
  }

  get url() {
    return `/v1/calibration/session/${encodeURIComponent(this.session.id)}`;
  }

  /** Look at the live picture, and keep it where asked. @param {boolean} keep */
  async take(keep) {
    if (this.busy) return;
    this.busy = true;
    try {
      const capture = await this.send(keep, null);
      const answer = await request(`${this.url}/picture.jpg`);
      this.bitmap = await createImageBitmap(await answer.blob());
      this.show(capture);
    } catch (error) {
      if (error instanceof ApiError && error.status) this.say(error.message);
    }
    this.busy = false;
  }

  /** @param {File[]} files */
  async addFiles(files) {
    showFault(this.fault, null);
    for (const file of files) {
      try {
        this.bitmap = await createImageBitmap(file);
        this.show(await this.send(true, file));
      } catch (error) {
        showFault(this.fault, new Error(`${file.name}: ${error.message}`));
      }
    }
  }

  /** @param {boolean} keep @param {File|null} file */
  send(keep, file) {
    const form = new FormData();
    if (file) form.append("image", file, file.name);
    if (!this.poseField.hidden && this.pose.value.trim()) form.append("robot_pose", this.pose.value.trim());
    return post(`${this.url}/capture?keep=${keep}`, form);
  }

  show(capture) {
    this.capture = capture;
    this.session.images = capture.images ?? this.session.images;
    const [next] = capture.next_poses ?? [];
    const advice = capture.advice || (capture.found ? "" : "the board is not seen");
    this.say([advice && `${advice[0].toUpperCase()}${advice.slice(1)}.`, next && `Next pose: ${next.text}`].filter(Boolean).join(" ") || "Nothing is missing.");
    this.showCounts();
    this.showHint();
    this.draw();
  }

  say(text) {
    this.advice.hidden = !text;
    setText(this.advice, text);
  }

  showCounts() {
    const { coverage } = this.capture ?? {};
    const facts = [["Images", String(this.session.images ?? 0)], ["Covered", coverage ? `${fixed(100 * coverage.share, 0)} %` : "–"], ["Board", this.capture ? (this.capture.found ? "seen" : "not seen") : "–"]];
    this.counts.replaceChildren(...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    this.missing.replaceChildren(...(coverage?.missing ?? []).slice(0, 4).map((text) => h("li", {}, text)));
    this.solve.disabled = !this.session.images;
  }

  draw() {
    if (!this.bitmap) return;
    const { width, height } = this.bitmap;
    this.stage.style.aspectRatio = `${width} / ${height}`;
    const scale = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height) * Math.max(devicePixelRatio, 1);
    this.canvas.width = Math.max(Math.round(width * scale), 1);
    this.canvas.height = Math.max(Math.round(height * scale), 1);
    const context = this.canvas.getContext("2d"), pencil = new Pencil(context, scale);
    context.drawImage(this.bitmap, 0, 0, this.canvas.width, this.canvas.height);
    const { coverage, corners = [], wanted } = this.capture ?? {};
    const rows = coverage?.covered.length ?? 0, columns = coverage?.covered[0].length ?? 0;
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      const w = this.canvas.width / columns, l = this.canvas.height / rows, covered = coverage.covered[row][column];
      context.fillStyle = covered ? COVERED : "#000000";
      context.globalAlpha = covered ? 0.22 : 0.28;
      context.fillRect(column * w + 1, row * l + 1, w - 2, l - 2);
    }
    context.globalAlpha = 1;
    context.fillStyle = SEEN;
    for (const corner of corners) {
      context.beginPath();
      context.arc(...pencil.at(corner), 3 * pencil.unit, 0, 2 * Math.PI);
      context.fill();
    }
    if (wanted) {
      context.setLineDash([8 * pencil.unit, 6 * pencil.unit]);
      pencil.polygon(wanted, WANTED, 3);
      context.setLineDash([]);
    }
  }

  async run() {
    this.solve.disabled = true;
    showFault(this.fault, null);
    try {
      const job = await post(`${this.url}/solve`);
      this.progress.element.hidden = false;
      const done = await finished(job.id, (found) => this.progress.show(found));
      this.result.replaceChildren(h("div", { class: "panel" }, h("div", { class: "panel-head" }, h("h2", {}, "Result")),
        h("div", { class: "panel-body" }, figuresOf(done.result ?? {}), jobFiles(done))));
    } catch (error) {
      showFault(this.fault, error);
    }
    this.solve.disabled = false;
  }

  async finish() {
    try {
      await request(this.url, { method: "DELETE" });
    } catch { /* it is left all the same */ }
    this.session = this.capture = this.bitmap = null;
    this.form.hidden = false;
    this.controls.hidden = true;
    this.progress.element.hidden = true;
    this.say("");
    this.showHint();
  }
}
