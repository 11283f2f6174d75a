// Jobs of the server: start, follow, cancel.

import { getJson, may, openEvents, post, request } from "./api.js";
import { durationText, h, setText, toast, toDate } from "./dom.js";

/**
 * @typedef {{id: string, kind: string, options: Record<string, any>, state: string, fraction: number|null, stage: string|null,
 *   created_at: any, started_at: any, ended_at: any, error: string|null, result: any, files: string[]}} Job
 */

export const TONES = { running: "accent", done: "good", failed: "bad", interrupted: "warn", cancelled: "", queued: "" };

/** @param {Job} job */
export const isOver = (job) => !["queued", "running"].includes(job.state);

/** @param {string} id @param {string} path */
export const fileUrl = (id, path) => `/v1/jobs/${encodeURIComponent(id)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;

/** @param {string} kind @param {Record<string, any>} options @returns {Promise<Job>} */
export const startJob = (kind, options) => post("/v1/jobs", { kind, options });

/**
 * Follow a job until it is over, or `close` is called.
 * @param {string} id @param {{job?: (job: Job) => void, message?: (text: string) => void, log?: (text: string) => void}} handlers
 * @returns {() => void} close
 */
export function watchJob(id, { job: onJob = () => {}, message = () => {}, log = () => {} }) {
  let closed = false, job = /** @type {Job|null} */ (null);
  const read = async () => {
    const found = await getJson(`/v1/jobs/${encodeURIComponent(id)}`);
    if (closed) return;
    job = found;
    onJob(job);
    if (isOver(job)) close();
  };
  const closeEvents = openEvents(`/v1/jobs/${encodeURIComponent(id)}/events`, {
    progress: (data) => {
      if (!job) return;
      if (job.state === "queued") read().catch(() => {});
      Object.assign(job, { fraction: data.fraction, stage: data.stage });
      onJob(job);
      if (data.message) message(data.message);
    },
    log: (data) => log(data.text),
    end: () => read().catch(() => {}),
  }, { again: () => !closed });
  function close() {
    closed = true;
    closeEvents();
  }
  read().catch(() => {});
  return close;
}

/** Wait for a job's end; raises its error. @param {string} id @param {(job: Job) => void} [onJob] @returns {Promise<Job>} */
export function finished(id, onJob = () => {}) {
  return new Promise((resolve, reject) => {
    watchJob(id, {
      job: (job) => {
        onJob(job);
        if (job.state === "done") resolve(job);
        else if (isOver(job)) reject(new Error(job.error || `The job was ${job.state}.`));
      },
    });
  });
}

/** A bar with the stage of a job. */
export class JobProgress {
  constructor() {
    this.bar = h("progress", { max: 1, "aria-label": "Progress of the job" });
    this.stage = h("span");
    this.time = h("span", { class: "soft" });
    this.stageName = /** @type {string|null|undefined} */ (undefined);
    this.stageStart = this.stageFraction = 0;
    this.element = h("div", { class: "progress" }, this.bar, h("p", { "aria-live": "polite" }, this.stage, this.time));
  }

  /** The fraction is that of the stage. @param {Job} job @param {string} [message] */
  show(job, message = "") {
    const now = Date.now() / 1000, over = isOver(job), fraction = job.fraction ?? 0;
    if (job.stage !== this.stageName || fraction < this.stageFraction) [this.stageName, this.stageStart, this.stageFraction] = [job.stage, now, fraction];
    if (!over && !job.stage) this.bar.removeAttribute("value");
    else this.bar.value = job.state === "done" ? 1 : fraction;
    setText(this.stage, [over ? job.state : job.stage || job.state, !over && job.stage && `${Math.round(100 * fraction)} %`, message].filter(Boolean).join(" · "));
    const start = toDate(job.started_at), end = toDate(job.ended_at) ?? new Date();
    const gained = fraction - this.stageFraction, inStage = now - this.stageStart;
    const left = !over && gained > 0.02 && inStage > 3 ? ((1 - fraction) / gained) * inStage : null;
    setText(this.time, start ? `${durationText((end.getTime() - start.getTime()) / 1000)}${left === null ? "" : ` · this stage about ${durationText(left)} more`}` : "");
  }
}

/** The files of a job; a model among them can be taken into the server's own. @param {Job} job */
export function jobFiles(job) {
  const links = (job.files ?? []).map((path) => h("a", { href: fileUrl(job.id, path), target: "_blank", rel: "noopener" }, path));
  const models = (job.files ?? []).filter((path) => path.endsWith(".onnx") && may("operate"));
  const buttons = models.map((path) => h("button", { type: "button", class: "small", onclick: () => addModel(job.id, path) }, `Add ${path.split("/").at(-1)} to the models`));
  return [links.length > 0 && h("div", { class: "links" }, links), buttons.length > 0 && h("div", { class: "actions" }, buttons)];
}

async function addModel(id, path) {
  try {
    const form = new FormData();
    form.append("model", await (await request(fileUrl(id, path))).blob(), path.split("/").at(-1));
    toast(`${(await post("/v1/models", form)).name} is among the models.`);
  } catch (error) {
    toast(error.message, "bad");
  }
}
