// Try it: an image of one's own through each task.

import { getJson, may, post, request } from "../api.js";
import { classColor } from "../colors.js";
import { bytes, dropZone, fixed, h, toast } from "../dom.js";
import { drawResult, Pencil } from "../drawing.js";
import { showFault } from "../forms.js";
import { rollPitchYaw, transformOf, uncertainty } from "../geometry.js";
import { live } from "../live/live.js";

const NAMES = { pose: "Pose", detect: "Detect", oriented: "Oriented boxes", classify: "Classify", segment: "Segment" };

let view = null;

/** @param {HTMLElement} host */
export async function showTry(host) {
  if (view) return view.refresh();
  view = new TryView(host);
  await view.refresh();
}

class TryView {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.tasks = [];
    this.task = "";
    this.files = { image: null, depth: null, camera: null };
    this.result = null;
    this.bitmap = null;
    this.chosen = null;
    this.abort = new AbortController();
    this.choices = h("div", { class: "segmented", role: "radiogroup", "aria-label": "Task" });
    this.about = h("p", { class: "note" });
    this.drop = dropZone({ label: "Choose, drop or paste an image", hint: "JPEG, PNG, TIFF, BMP or WebP", accept: "image/*", onfiles: ([file]) => this.take(file) });
    this.liveButton = h("button", { type: "button", onclick: () => this.takeLive() }, "Use the live picture");
    const file = (key, accept) => h("input", { type: "file", accept, onchange: ({ target }) => { this.files[key] = target.files[0] ?? null; this.run(); } });
    this.depthScale = h("input", { type: "number", step: "any", min: 0, placeholder: "1", onchange: () => this.run() });
    this.extra = h("div", { class: "stack" },
      h("label", { class: "field" }, "Depth image", file("depth", ".png,.tif,.tiff,.exr,.npy"), h("span", { class: "note" }, "Aligned to colour, 16 bits in mm or float in m; may be left out.")),
      h("label", { class: "field" }, "Camera", file("camera", ".yaml,.yml,.json,.xml,.txt,.ini"), h("span", { class: "note" }, "camera_info YAML, OpenCV, Kalibr, BOP …")),
      h("label", { class: "field" }, "Millimetres in one count of depth", this.depthScale));
    this.runButton = h("button", { type: "button", class: "primary", onclick: () => this.run(), disabled: true }, "Run");
    this.canvas = h("canvas", { role: "img", "aria-label": "The image with the result drawn on it" });
    this.hint = h("div", { class: "empty" }, h("strong", {}, "No image yet"), h("p", {}, "Results are drawn here, and given as a table and as JSON."));
    this.stage = h("figure", { class: "stage result-stage", id: "try-stage" }, this.canvas, this.hint);
    this.fault = h("p", { class: "message", role: "alert", hidden: true });
    this.facts = h("dl", { class: "facts" });
    this.table = h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Results" });
    this.json = h("pre", { class: "code", tabIndex: 0 });
    this.output = h("div", { class: "panel", hidden: true },
      h("div", { class: "panel-head" }, h("h2", {}, "Result"), h("span", { class: "inline actions" },
        h("button", { type: "button", class: "small", onclick: () => this.copy() }, "Copy JSON"),
        h("button", { type: "button", class: "small", onclick: () => this.savePicture() }, "Save picture"))),
      h("div", { class: "panel-body" }, this.facts), this.table,
      h("div", { class: "panel-body" }, h("details", {}, h("summary", {}, "JSON"), this.json)));
    host.append(
      h("header", {}, h("h1", { id: "title-try" }, "Try it"), h("p", {}, "Run an image of your own through a model, as a program would with POST /v1/predict.")),
      this.choices,
      h("div", { class: "columns" },
        h("div", { class: "stack" }, this.drop, h("div", { class: "actions" }, this.runButton, this.liveButton), this.about, this.extra),
        h("div", { class: "stack" }, this.fault, this.stage, this.output)));
    document.addEventListener("paste", (event) => {
      if (!host.hidden && event.clipboardData.files.length) this.drop.take(event.clipboardData.files);
    });
    host.addEventListener("dragover", (event) => event.preventDefault());
    host.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) this.drop.take(event.dataTransfer.files);
    });
    new ResizeObserver(() => this.draw()).observe(this.stage);
  }

  async refresh() {
    this.liveButton.hidden = !live.available;
    try {
      this.tasks = await getJson("/v1/tasks");
    } catch (error) {
      return showFault(this.fault, error);
    }
    showFault(this.fault, null);
    if (this.choices.childElementCount) return;
    this.choices.append(...this.tasks.map((task) => h("label", {},
      h("input", { type: "radio", name: "task", value: task.name, onchange: () => this.setTask(task.name) }), NAMES[task.name] ?? task.name)));
    const first = this.tasks.find((task) => task.name === "detect") ?? this.tasks[0];
    this.choices.querySelector(`[value="${first.name}"]`).checked = true;
    this.setTask(first.name);
  }

  setTask(name) {
    this.task = name;
    const task = this.tasks.find((item) => item.name === name);
    this.about.textContent = `${sentence(task.description)} Model: ${task.model ?? "none"}.`;
    this.extra.hidden = !task.inputs.includes("camera");
    this.result = null;
    this.output.hidden = true;
    this.draw();
    if (this.files.image) this.run();
  }

  async takeLive() {
    try {
      const blob = await (await request("/v1/live/snapshot.jpg?annotated=false")).blob();
      this.drop.take([new File([blob], "live.jpg", { type: "image/jpeg" })]);
    } catch (error) {
      showFault(this.fault, error);
    }
  }

  /** @param {File} file */
  async take(file) {
    this.files.image = file;
    this.runButton.disabled = !may("predict");
    this.result = this.bitmap = null;
    this.output.hidden = true;
    try {
      this.bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
    } catch { /* the browser cannot show it; the server may read it all the same */ }
    this.draw();
    await this.run();
  }

  async run() {
    const { files } = this;
    if (!files.image || !this.task) return;
    this.abort.abort();
    const abort = (this.abort = new AbortController());
    const form = new FormData();
    form.append("image", files.image, files.image.name);
    if (!this.extra.hidden) {
      for (const key of ["depth", "camera"]) if (files[key]) form.append(key, files[key], files[key].name);
      if (this.depthScale.value) form.append("depth_scale", this.depthScale.value);
    }
    this.stage.classList.add("busy");
    this.stage.setAttribute("aria-busy", "true");
    this.runButton.textContent = "Running …";
    showFault(this.fault, null);
    try {
      this.result = sorted(await post(`/v1/predict/${this.task}`, form, { signal: abort.signal }));
      this.chosen = null;
      await this.show();
    } catch (error) {
      if (abort.signal.aborted) return;
      this.output.hidden = true;
      showFault(this.fault, error);
    }
    if (abort !== this.abort) return;
    this.stage.classList.remove("busy");
    this.stage.removeAttribute("aria-busy");
    this.runButton.textContent = "Run";
  }

  async show() {
    const { result, task } = this;
    const facts = [["Model", result.model], ["Inference", `${fixed(result.inference_ms, 0)} ms`], ["Image", result.size_wh?.join(" × ")], ["File", bytes(this.files.image.size)], ...(FACTS[task]?.(result) ?? [])];
    this.facts.replaceChildren(...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value ?? "–"))));
    const { head, rows } = TABLES[task]?.(result) ?? { head: [], rows: [] };
    this.table.replaceChildren(rows.length ? h("table", {},
      h("thead", {}, h("tr", {}, head.map((name, k) => h("th", { scope: "col", class: k ? "num" : "" }, name)))),
      h("tbody", {}, rows.map((cells, index) => h("tr", { onmouseenter: () => this.highlight(index), onmouseleave: () => this.highlight(null) },
        cells.map((cell, k) => h("td", { class: k ? "num" : "" }, cell)))))) : h("p", { class: "empty-row" }, EMPTY[task] ?? "Nothing found."));
    this.json.textContent = JSON.stringify(result, null, 2);
    this.output.hidden = false;
    this.draw();
  }

  highlight(index) {
    this.chosen = index;
    this.draw();
  }

  draw() {
    this.hint.hidden = Boolean(this.bitmap);
    this.canvas.hidden = !this.bitmap;
    if (!this.bitmap) return;
    const { width, height } = this.bitmap;
    const limit = Math.min(this.stage.clientWidth / width, (0.68 * innerHeight) / height, 4);
    const unit = Math.max(devicePixelRatio, 1), scale = limit * unit;
    this.canvas.width = Math.max(Math.round(width * scale), 1);
    this.canvas.height = Math.max(Math.round(height * scale), 1);
    this.canvas.style.width = `${this.canvas.width / unit}px`;
    const context = this.canvas.getContext("2d");
    context.imageSmoothingEnabled = scale < 2;
    context.drawImage(this.bitmap, 0, 0, this.canvas.width, this.canvas.height);
    if (this.result) drawResult(this.task, new Pencil(context, scale), this.result, this.chosen);
  }

  async copy() {
    await navigator.clipboard.writeText(this.json.textContent);
    toast("JSON copied.");
  }

  savePicture() {
    this.canvas.toBlob((blob) => {
      const link = h("a", { href: URL.createObjectURL(blob), download: `${this.task}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
}

/** @param {string} text */
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

/** Best first. @param {any} result */
function sorted(result) {
  result.poses?.sort((a, b) => b.score - a.score);
  return result;
}

const percent = (score) => `${fixed(100 * score, 1)} %`;
const named = (name) => {
  const swatch = h("span", { class: "swatch" });
  swatch.style.background = classColor(name);
  return h("span", { class: "meter" }, swatch, name);
};

const EMPTY = { detect: "Nothing found.", oriented: "Nothing found.", pose: "No pose found.", segment: "No region found." };
const FACTS = {
  segment: (result) => [["Covered", percent(result.cover)], ["Regions", String(result.regions.length)]],
  classify: (result) => [["Class", result.class_name], ["Score", percent(result.score)]],
  pose: (result) => [["Poses", String(result.poses?.length ?? 0)], ["Rejected", String(result.rejections?.length ?? 0)]],
};

const TABLES = {
  detect: (result) => ({
    head: ["Class", "Score", "x1", "y1", "x2", "y2"],
    rows: result.detections.map((item) => [named(item.class_name), percent(item.score), ...item.box_xyxy.map((value) => fixed(value, 1))]),
  }),
  oriented: (result) => ({
    head: ["Class", "Score", "x", "y", "Width", "Length", "Yaw °"],
    rows: result.boxes.map((item) => [named(item.class_name), percent(item.score), ...item.center_px.map((value) => fixed(value, 1)),
      ...item.size_px.map((value) => fixed(value, 1)), fixed((item.yaw * 180) / Math.PI, 1)]),
  }),
  classify: (result) => ({
    head: ["Class", "Probability"],
    rows: Object.entries(result.probabilities).sort((a, b) => b[1] - a[1]).map(([name, value]) => [named(name), percent(value)]),
  }),
  segment: (result) => ({
    head: ["Region", "Corners", "Holes"],
    rows: result.regions.map((region, index) => [String(index + 1), String(region.contour_px.length), String(region.holes_px.length)]),
  }),
  pose: (result) => ({
    head: ["Class", "Score", "x mm", "y mm", "z mm", "Roll °", "Pitch °", "Yaw °", "σ mm", "σ °", "Depth"],
    rows: (result.poses ?? []).map((item) => {
      const [w, x, y, z] = item.quat_wxyz, sigma = uncertainty(item.covariance?.flat() ?? null);
      return [named(item.class_name), percent(item.score), ...item.position.map((value) => fixed(1000 * value, 1)),
        ...rollPitchYaw(transformOf(item.position, [x, y, z, w])).map((angle) => fixed(angle, 1)),
        fixed(sigma.mm, 2), sigma.free ? `${fixed(sigma.deg, 2)} ↻` : fixed(sigma.deg, 2), item.depth_used ? "yes" : "no"];
    }),
  }),
};
