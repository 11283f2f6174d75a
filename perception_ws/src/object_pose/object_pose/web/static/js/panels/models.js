// Models: list, upload, use, promote, roll back, delete.

import { getJson, may, post, request } from "../api.js";
import { bytes, dropZone, h, toast } from "../dom.js";
import { showFault } from "../forms.js";

let view = null;

/** @param {HTMLElement} host */
export async function showModels(host) {
  view ??= new ModelsView(host);
  await view.refresh();
}

class ModelsView {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.fault = h("p", { class: "message", role: "alert", hidden: true });
    this.body = h("tbody", {}, h("tr", {}, h("td", { colSpan: 9, class: "empty-row" }, "Loading …")));
    this.rollback = h("button", { type: "button", class: "small", onclick: () => this.send("/v1/models/rollback", "Rolled back.") }, "Roll back");
    this.drop = dropZone({ label: "Upload a model", hint: "ONNX, checked before it is loaded", accept: ".onnx", onfiles: ([file]) => this.upload(file) });
    host.append(
      h("header", {}, h("h1", { id: "title-models" }, "Models"), h("p", {}, "What the server predicts with, one model a task, and what the running pipeline detects with.")),
      this.fault,
      h("div", { class: "panel" },
        h("div", { class: "panel-head" }, h("h2", {}, "All models"), h("span", { class: "inline" }, this.rollback)),
        h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Models" }, h("table", {},
          h("thead", {}, h("tr", {}, ["Name", "Task", "Classes", "Metric", "Licence"].map((name) => h("th", { scope: "col" }, name)),
            h("th", { scope: "col", class: "num" }, "Size"), h("th", { scope: "col" }, "SHA-256"), h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, h("span", { class: "hidden" }, "Actions")))),
          this.body))),
      this.drop);
  }

  async refresh() {
    this.drop.hidden = this.rollback.hidden = !may("operate");
    try {
      this.show(await getJson("/v1/models"));
      showFault(this.fault, null);
    } catch (error) {
      showFault(this.fault, error);
    }
  }

  show(models) {
    const order = (model) => `${model.task} ${model.active ? 0 : 1} ${model.name}`;
    models.sort((a, b) => order(a).localeCompare(order(b)));
    this.body.replaceChildren(...models.map((model) => {
      const url = `/v1/models/${encodeURIComponent(model.name)}`, { classes = [] } = model;
      const act = (label, path, done) => h("button", { type: "button", class: "small", "aria-label": `${label} ${model.name}`, onclick: () => this.send(url + path, done) }, label);
      return h("tr", { dataset: { model: model.name } },
        h("td", {}, h("strong", {}, model.name)), h("td", {}, model.task || "–"),
        h("td", { title: classes.join(", ") }, classes.length > 3 ? `${classes.slice(0, 2).join(", ")} and ${classes.length - 2} more` : classes.join(", ") || "–"),
        h("td", {}, model.problem ? h("span", { class: "error" }, model.problem) : model.metric || "–"), h("td", {}, model.licence || "–"),
        h("td", { class: "num" }, bytes(model.bytes)), h("td", {}, h("code", { title: model.sha256 }, model.sha256.slice(0, 10))),
        h("td", {}, model.active ? h("span", { class: "badge", dataset: { tone: "good" } }, "in use") : h("span", { class: "badge" }, model.shipped ? "shipped" : "uploaded")),
        h("td", {}, may("operate") && h("span", { class: "actions" },
          !model.active && !model.problem && act("Use", "/activate", `${model.name} is in use.`),
          !model.active && !model.problem && h("button", { type: "button", class: "small", "aria-label": `Promote ${model.name}`, title: "Test it against the model in use, and use it where it is better", onclick: () => this.promote(url) }, "Promote"),
          !model.shipped && !model.active && h("button", { type: "button", class: "small", "aria-label": `Delete ${model.name}`, onclick: () => this.remove(model.name, url) }, "Delete"))));
    }));
  }

  async send(path, done) {
    try {
      await post(path);
      toast(done);
    } catch (error) {
      toast(error.message, "bad");
    }
    await this.refresh();
  }

  /** A job tests the model, and uses it where it passes. @param {string} url */
  async promote(url) {
    try {
      location.hash = `jobs/${encodeURIComponent((await post(`${url}/promote`)).id)}`;
    } catch (error) {
      toast(error.message, "bad");
    }
  }

  async upload(file) {
    const form = new FormData();
    form.append("model", file, file.name);
    try {
      const model = await post("/v1/models", form);
      toast(`${model.name} was uploaded.`);
      showFault(this.fault, null);
    } catch (error) {
      return showFault(this.fault, error);
    }
    await this.refresh();
  }

  async remove(name, url) {
    if (!window.confirm(`Delete the model ${name}?`)) return;
    try {
      await request(url, { method: "DELETE" });
    } catch (error) {
      toast(error.message, "bad");
    }
    await this.refresh();
  }
}
