// Jobs: the list, and one of them with its progress, log, files and result.

import { getJson, may, post, request } from "../api.js";
import { h, setText, timeText, toast } from "../dom.js";
import { optionsForm, showFault } from "../forms.js";
import { isOver, jobFiles, JobProgress, startJob, TONES, watchJob } from "../jobs.js";

const REFRESH_MS = 3000;
const LOG_CHARACTERS = 200_000;

let view = null;

/** @param {HTMLElement} host @param {string} [id] */
export async function showJobs(host, id = "") {
  view ??= new JobsView(host);
  await view.open(decodeURIComponent(id));
}

class JobsView {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.host = host;
    this.close = () => {};
    this.list = h("div", { class: "list" });
    this.detail = h("div", { class: "panel" }, h("p", { class: "empty-row" }, "Choose a job to see its progress, log and files."));
    this.fault = h("p", { class: "message", role: "alert", hidden: true });
    this.kind = h("select", { "aria-label": "Kind of job", onchange: () => this.chooseKind() });
    this.formHost = h("div", { class: "panel-body" });
    this.starter = h("details", { class: "panel", id: "new-job" }, h("summary", { class: "panel-head" }, h("h2", {}, "New job")), this.formHost);
    this.reports = h("ul", { class: "plain" });
    this.shelf = h("details", { class: "panel", id: "shelf" }, h("summary", { class: "panel-head" }, h("h2", {}, "Reports and data sets")), h("div", { class: "panel-body" }, this.reports));
    this.shelf.addEventListener("toggle", () => this.shelf.open && this.loadShelf());
    host.append(
      h("header", {}, h("h1", { id: "title-jobs" }, "Jobs"), h("p", {}, "Training, onboarding, evaluation and calibration in the background. They survive a restart of the server.")),
      this.fault,
      h("div", { class: "columns" }, h("div", { class: "stack" }, h("div", { class: "panel" }, this.list), this.starter, this.shelf), this.detail));
    setInterval(() => !host.hidden && !document.hidden && this.refresh(), REFRESH_MS);
  }

  /** @param {string} id */
  async open(id) {
    this.id = id;
    this.showDetail();
    const known = Boolean(this.kinds);
    await Promise.all([this.refresh(), this.loadKinds()]);
    // What kinds can be gone on with is known only now.
    if (!known && this.kinds) this.showDetail();
  }

  async refresh() {
    try {
      const jobs = await getJson("/v1/jobs");
      showFault(this.fault, null);
      this.showList(jobs);
    } catch (error) {
      if (error.status) showFault(this.fault, error);
    }
  }

  showList(jobs) {
    const focused = document.activeElement?.id;
    this.list.replaceChildren(...jobs.map((job) => {
      const badge = h("span", { class: "badge", dataset: { tone: TONES[job.state] ?? "" } }, job.state === "running" && job.stage ? job.stage : job.state);
      return h("button", { type: "button", id: `job-${job.id}`, "aria-current": String(job.id === this.id), onclick: () => (location.hash = `jobs/${encodeURIComponent(job.id)}`) },
        h("span", { class: "row" }, h("span", {}, job.kind), h("small", {}, [subjectOf(job), timeText(job.created_at)].filter(Boolean).join(" · "))), badge);
    }));
    if (!jobs.length) this.list.append(h("p", { class: "empty-row" }, "No jobs yet. Parts starts one, or New job below."));
    if (focused?.startsWith("job-")) document.getElementById(focused)?.focus();
  }

  async loadKinds() {
    this.starter.hidden = !may("operate");
    if (this.kinds || !may("operate")) return;
    try {
      this.kinds = (await getJson("/v1/jobs/kinds")).kinds;
    } catch {
      return;
    }
    this.kind.replaceChildren(...Object.entries(this.kinds).map(([name, kind]) => h("option", { value: name }, kind.title ?? name)));
    this.chooseKind();
  }

  async loadShelf() {
    try {
      const [reports, sets] = await Promise.all([getJson("/v1/reports"), getJson("/v1/datasets")]);
      const shown = [
        ...reports.map((report) => h("li", {}, h("a", { href: `/v1/reports/${encodeURIComponent(report.id)}/${encodeURIComponent(report.page)}`, target: "_blank", rel: "noopener" }, report.id.replaceAll(":", "/")),
          h("small", { class: "note" }, ` ${timeText(report.modified_at)}`))),
        ...sets.map((set) => h("li", {}, h("code", {}, `dataset:${set.id}`), h("small", { class: "note" }, ` ${[set.format, ...set.splits].join(", ")}`))),
      ];
      this.reports.replaceChildren(...(shown.length ? shown : [h("li", { class: "note" }, "None in the server's folders.")]));
    } catch (error) {
      this.reports.replaceChildren(h("li", { class: "error" }, error.message));
    }
  }

  chooseKind() {
    const kind = this.kinds[this.kind.value];
    if (!kind) return;
    const form = optionsForm(kind.schema ?? {});
    const fault = h("p", { class: "message", role: "alert", hidden: true });
    const start = h("button", { type: "submit", class: "primary" }, "Start");
    this.formHost.replaceChildren(h("label", { class: "field" }, "Kind", this.kind), h("p", { class: "note" }, kind.description), h("form", {
      class: "stack",
      onsubmit: async (event) => {
        event.preventDefault();
        start.disabled = true;
        try {
          const job = await startJob(this.kind.value, form.values());
          showFault(fault, null);
          location.hash = `jobs/${encodeURIComponent(job.id)}`;
        } catch (error) {
          showFault(fault, error);
        }
        start.disabled = false;
      },
    }, form.element, fault, h("div", { class: "actions" }, start)));
  }

  async showDetail() {
    this.close();
    if (!this.id) return;
    const id = this.id, progress = new JobProgress();
    const title = h("h2"), badge = h("span", { class: "badge" }), actions = h("span", { class: "inline actions" });
    const log = h("pre", { class: "code wrap", tabIndex: 0, "aria-label": "Log" }), fault = h("p", { class: "message", role: "alert", hidden: true });
    const files = h("div", { class: "stack" }), result = h("div"), options = h("pre", { class: "code" });
    this.detail.replaceChildren(h("div", { class: "panel-head" }, title, badge, actions), h("div", { class: "panel-body" }, progress.element, fault, result, files,
      h("section", { class: "stack" }, h("h3", {}, "Log"), log), h("details", {}, h("summary", {}, "Options"), options)));
    const append = (text) => {
      const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      log.textContent = (log.textContent + text).slice(-LOG_CHARACTERS);
      if (atEnd) log.scrollTop = log.scrollHeight;
    };
    const send = (verb) => post(`/v1/jobs/${encodeURIComponent(id)}/${verb}`).then(() => this.open(id), (error) => toast(error.message, "bad"));
    let lastState = "";
    const show = (job, message = "") => {
      setText(title, job.kind);
      setText(badge, job.state);
      badge.dataset.tone = TONES[job.state] ?? "";
      progress.show(job, message);
      if (job.state === lastState) return;
      lastState = job.state;
      options.textContent = JSON.stringify(job.options, null, 2);
      showFault(fault, job.error ? new Error(job.error) : null);
      const resumable = ["interrupted", "cancelled", "failed"].includes(job.state) && this.kinds?.[job.kind]?.resumes;
      actions.replaceChildren(...[
        !isOver(job) && h("button", { type: "button", class: "small", onclick: () => send("cancel") }, "Cancel"),
        resumable && h("button", { type: "button", class: "small", onclick: () => send("resume") }, "Go on"),
      ].filter((item) => item && may("operate")));
      files.replaceChildren(...jobFiles(job).filter(Boolean));
      result.replaceChildren(job.result && Object.keys(job.result).length ? figuresOf(job.result) : "");
      if (isOver(job)) this.refresh();
    };
    try {
      append(await (await request(`/v1/jobs/${encodeURIComponent(id)}/log`)).text());
    } catch (error) {
      return showFault(fault, error);
    }
    if (id !== this.id) return;
    let shown = /** @type {any} */ (null);
    this.close = watchJob(id, {
      job: (job) => show((shown = job)),
      message: (text) => shown && show(shown, text),
      log: append,
    });
  }
}

/** @param {import("../jobs.js").Job} job */
function subjectOf(job) {
  const { options = {} } = job, known = options.name ?? options.task ?? options.model ?? options.recipe ?? options.output;
  return typeof known === "string" ? known : "";
}

/** Numbers of a result as facts, the rest as JSON. @param {any} result */
export function figuresOf(result) {
  const flat = Object.entries({ ...result, ...result.figures }).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value));
  const text = (value) => (typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(4) : String(value));
  return h("dl", { class: "facts" }, flat.map(([name, value]) => h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", { class: "wrap-anywhere" }, text(value)))));
}
