// Parts: from CAD files to a model: upload, confirm the symmetries in 3-D, train, report.

import * as THREE from "/static/vendor/three/three.module.js";
import { getJson, may, post, upload } from "../api.js";
import { classColor } from "../colors.js";
import { dropZone, fixed, h, toast } from "../dom.js";
import { optionsForm, showFault } from "../forms.js";
import { figuresOf } from "./jobs.js";
import { fileUrl, finished, isOver, jobFiles, JobProgress, startJob, watchJob } from "../jobs.js";
import { readMesh } from "../meshes.js";
import { Viewer } from "../viewer.js";

const QUICK = { minutes: 10, test_frames: 20 };
const ASKED_ELSEWHERE = ["parts", "unit", "centred", "symmetries", "accept_symmetries", "output", "command"];

let view = null;

/** @param {HTMLElement} host */
export function showParts(host) {
  view ??= new PartsView(host);
  view.refresh();
}

class PartsView {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.uploads = [];
    this.plan = null;
    this.viewers = [];
    this.closeJob = () => {};
    this.fault = h("p", { class: "message", role: "alert", hidden: true });
    this.unit = h("select", {}, h("option", { value: "" }, "as the file says"));
    this.centred = h("input", { type: "checkbox" });
    this.drop = dropZone({ label: "Choose or drop CAD files", hint: "STL, PLY, OBJ, OFF, GLB or STEP, one part each", accept: ".stl,.ply,.obj,.off,.glb,.step,.stp", multiple: true, onfiles: (files) => this.takeFiles(files) });
    this.again = h("button", { type: "button", onclick: () => this.makePlan(), disabled: true }, "Read the files again");
    this.reading = h("p", { class: "note", role: "status" });
    this.planProgress = new JobProgress();
    this.planProgress.element.hidden = true;
    this.cards = h("div", { class: "cards" });
    this.notes = h("p", { class: "note" });
    this.symmetryStep = step("Confirm the symmetries", h("p", { class: "soft" }, "Turns after which a part looks the same. A wrong one costs accuracy for good."), this.cards, this.notes);
    this.formHost = h("div");
    this.quick = h("button", { type: "button", onclick: () => this.form?.set(QUICK) }, "Quick trial");
    this.start = h("button", { type: "button", class: "primary", onclick: () => this.begin() }, "Start onboarding");
    this.trainStep = step("Train", this.formHost, h("div", { class: "actions" }, this.start, this.quick));
    this.progress = new JobProgress();
    this.message = h("p", { class: "note" });
    this.outcome = h("div", { class: "stack" });
    this.cancel = h("button", { type: "button", onclick: () => this.cancelJob() }, "Cancel");
    this.runStep = step("Progress", this.progress.element, this.message, this.outcome, h("div", { class: "actions" }, this.cancel));
    host.append(
      h("header", {}, h("h1", { id: "title-parts" }, "Parts"), h("p", {}, "From the CAD files of your own parts to a model that finds their poses: rendered, trained and tested here.")),
      this.fault,
      h("div", { class: "steps" },
        step("CAD files", this.drop, h("div", { class: "form" },
          h("label", { class: "field" }, "Unit of the files", this.unit),
          h("label", { class: "check" }, this.centred, h("span", {}, "Move each part's origin to the middle of its box"))), h("div", { class: "actions" }, this.again, this.reading), this.planProgress.element),
        this.symmetryStep, this.trainStep, this.runStep));
    this.symmetryStep.hidden = this.trainStep.hidden = this.runStep.hidden = true;
    document.addEventListener("theme", () => this.viewers.forEach((viewer) => viewer.setTheme()));
  }

  async refresh() {
    this.drop.querySelector("input").disabled = !may("operate");
    if (!may("operate")) return showFault(this.fault, new Error("Onboarding needs a token with the scope operate."));
    showFault(this.fault, null);
    if (this.form) return;
    try {
      const { kinds } = await getJson("/v1/jobs/kinds");
      this.form = optionsForm(kinds.onboard.schema, ASKED_ELSEWHERE);
      this.formHost.replaceChildren(this.form.element);
      const units = kinds.onboard.schema.properties.unit.enum;
      this.unit.replaceChildren(...units.map((unit) => h("option", { value: unit }, unit || "as the file says")));
    } catch (error) {
      showFault(this.fault, error);
    }
  }

  /** @param {File[]} files */
  async takeFiles(files) {
    this.reading.textContent = "Uploading …";
    showFault(this.fault, null);
    try {
      this.uploads = [];
      for (const file of files) this.uploads.push(await upload(file));
    } catch (error) {
      this.reading.textContent = "";
      return showFault(this.fault, error);
    }
    await this.makePlan();
  }

  async makePlan() {
    this.symmetryStep.hidden = this.trainStep.hidden = true;
    this.reading.textContent = "Reading the files and looking for symmetries …";
    this.planProgress.element.hidden = false;
    this.again.disabled = true;
    showFault(this.fault, null);
    try {
      const job = await startJob("onboard-plan", this.source());
      const done = await finished(job.id, (found) => this.planProgress.show(found));
      this.planId = job.id;
      this.showPlan(done.result);
    } catch (error) {
      showFault(this.fault, error);
    }
    this.reading.textContent = "";
    this.planProgress.element.hidden = true;
    this.again.disabled = false;
  }

  source() {
    const parts = this.uploads.map((item) => `upload:${item.id}`);
    return { parts, ...(this.unit.value && { unit: this.unit.value }), ...(this.centred.checked && { centred: true }) };
  }

  showPlan(plan) {
    for (const viewer of this.viewers) viewer.dispose();
    this.plan = plan;
    this.choices = new Map();
    this.symmetryStep.hidden = this.trainStep.hidden = false;
    const cards = plan.parts.map((part) => this.card(part));
    this.cards.replaceChildren(...cards.map((card) => card.element));
    this.viewers = cards.map((card) => card.show()).filter(Boolean);
    this.notes.textContent = (plan.notes ?? []).join(" ");
    this.symmetryStep.scrollIntoView({ block: "nearest" });
  }

  card(part) {
    const { symmetry } = part, stage = h("figure", { class: "stage" });
    const found = { text: "", label: part.needs_confirmation ? `As found: ${symmetry.description} (moves the surface by ${fixed(1000 * symmetry.residual_m, 2)} mm)` : "None, as found" };
    const group = `symmetry-${part.name}`;
    const own = h("input", { type: "text", placeholder: "such as z6,x2", "aria-label": `Symmetry of ${part.name}`, oninput: () => choose("own") });
    const choose = (value) => {
      this.choices.set(part.name, value === "found" ? null : value === "none" ? "none" : own.value.trim() || null);
      options.querySelector(`[value="${value}"]`).checked = true;
    };
    const radio = (value, ...label) => h("label", { class: "check" }, h("input", { type: "radio", name: group, value, onchange: () => choose(value) }), h("span", {}, ...label));
    const options = h("fieldset", { class: "stack" }, h("legend", { class: "hidden" }, `Symmetry of ${part.name}`),
      radio("found", found.label), part.needs_confirmation && radio("none", "None"), radio("own", "Another "), own);
    const element = h("article", { class: "card", dataset: { part: part.name } }, stage, h("div", { class: "card-body" }, h("h3", {}, part.name),
      h("p", { class: "note" }, [`${part.size_m.map((value) => fixed(1000 * value, 1)).join(" × ")} mm · ${part.triangles} triangles`, ...(part.notes ?? [])].join(" · ")), options));
    choose("found");
    return { element, show: () => showPart(stage, part, fileUrl(this.planId, part.file)) };
  }

  async begin() {
    const symmetries = Object.fromEntries([...this.choices].filter(([, text]) => text));
    const options = { ...this.source(), ...this.form.values(), accept_symmetries: true, ...(Object.keys(symmetries).length && { symmetries }) };
    this.start.disabled = true;
    showFault(this.fault, null);
    try {
      this.follow(await startJob("onboard", options));
    } catch (error) {
      showFault(this.fault, error);
      this.fault.scrollIntoView({ block: "center" });
    }
    this.start.disabled = false;
  }

  follow(job) {
    this.closeJob();
    this.job = job;
    this.runStep.hidden = false;
    this.runStep.scrollIntoView({ block: "nearest" });
    this.outcome.replaceChildren();
    this.progress.show(job);
    this.closeJob = watchJob(job.id, {
      job: (found) => {
        this.progress.show(found);
        this.cancel.hidden = isOver(found);
        if (isOver(found)) this.showOutcome(found);
      },
      message: (text) => (this.message.textContent = text),
    });
  }

  showOutcome(job) {
    this.message.textContent = "";
    this.outcome.replaceChildren(...[
      job.error && h("p", { class: "message", dataset: { tone: "bad" }, role: "alert" }, job.error),
      job.result && figuresOf(job.result),
      ...jobFiles(job),
      h("div", { class: "links" }, h("a", { href: `#jobs/${encodeURIComponent(job.id)}` }, "Log of the job"), h("a", { href: "#models" }, "Models")),
    ].filter(Boolean));
  }

  async cancelJob() {
    try {
      await post(`/v1/jobs/${encodeURIComponent(this.job.id)}/cancel`);
    } catch (error) {
      toast(error.message, "bad");
    }
  }
}

function step(title, ...children) {
  return h("section", { class: "panel" }, h("div", { class: "panel-head" }, h("h2", {}, title)), h("div", { class: "panel-body" }, ...children));
}

/** A part with its axes of symmetry. @param {HTMLElement} host */
function showPart(host, part, url) {
  let viewer;
  try {
    viewer = new Viewer(host, `${part.name} with its axes of symmetry`);
  } catch (error) {
    host.append(h("p", { class: "empty" }, `No 3-D view: ${error.message}`));
    return null;
  }
  const offset = new THREE.Vector3(...(part.symmetry.offset ?? [0, 0, 0])), size = part.diameter_m;
  viewer.look(offset, new THREE.Vector3(1, -1.4, 0.9), 1.9 * size);
  readMesh(url).then((geometry) => {
    geometry.computeBoundingBox();
    const center = geometry.boundingBox.getCenter(new THREE.Vector3());
    viewer.scene.add(new THREE.Mesh(geometry, new THREE.MeshStandardMaterial({ color: classColor(part.name), roughness: 0.6, side: THREE.DoubleSide })));
    for (const { axis, point, color } of axesOf(part.symmetry, center)) viewer.scene.add(axisLine(axis, point, size, color));
    viewer.setGrid(Math.max(0.1, 2 * size), new THREE.Vector3(center.x, center.y, geometry.boundingBox.min.z));
    viewer.look(center, new THREE.Vector3(1, -1.4, 0.9), 1.9 * size);
    host.dataset.loaded = "";
  }).catch((error) => host.append(h("p", { class: "empty" }, error.message)));
  return viewer;
}

/** The axis of revolution, and those of the single turns. @returns {{axis: THREE.Vector3, point: THREE.Vector3, color: string}[]} */
function axesOf(symmetry, center) {
  const axes = [];
  const add = (axis, point, color) => {
    if (axes.length < 8 && !axes.some((known) => Math.abs(known.axis.dot(axis)) > 0.999)) axes.push({ axis, point, color });
  };
  if (symmetry.axis) add(new THREE.Vector3(...symmetry.axis).normalize(), new THREE.Vector3(...(symmetry.offset ?? [0, 0, 0])), "#ffb020");
  for (const rows of symmetry.discrete ?? []) {
    const turn = new THREE.Matrix4().fromArray(rows.flat()).transpose();
    const q = new THREE.Quaternion().setFromRotationMatrix(turn), axis = new THREE.Vector3(q.x, q.y, q.z);
    if (axis.length() > 1e-3) add(axis.normalize(), center, "#f2564a");
  }
  return axes;
}

function axisLine(axis, point, size, color) {
  const bar = new THREE.Mesh(new THREE.CylinderGeometry(0.006 * size, 0.006 * size, 1.5 * size, 8), new THREE.MeshBasicMaterial({ color }));
  bar.quaternion.setFromUnitVectors(new THREE.Vector3(0, 1, 0), axis);
  bar.position.copy(point);
  return bar;
}
