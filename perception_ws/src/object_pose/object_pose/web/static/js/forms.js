// Forms from the JSON schema of a job's options, with the server's own descriptions, defaults and bounds.

import { upload } from "./api.js";
import { h } from "./dom.js";

/**
 * @typedef {{type?: string|string[], enum?: any[], default?: any, description?: string, title?: string, minimum?: number, maximum?: number,
 *   format?: string, accept?: string, items?: any, anyOf?: any[], properties?: Record<string, Property>, "x-advanced"?: boolean}} Property
 */

/**
 * A form of the options; `values` gives those that differ from their defaults.
 * @param {{properties?: Record<string, Property>, required?: string[]}} schema @param {string[]} [skip] options asked for elsewhere
 */
export function optionsForm(schema, skip = []) {
  const fields = /** @type {{name: string, property: Property, read: () => any, element: HTMLElement}[]} */ ([]);
  const collect = (properties, prefix) => {
    for (const [key, property] of Object.entries(properties ?? {})) {
      const name = prefix + key;
      if (skip.includes(name)) continue;
      if (property.properties) collect(property.properties, `${name}.`);
      else fields.push(field(name, property, (schema.required ?? []).includes(name)));
    }
  };
  collect(schema.properties, "");
  const plain = fields.filter((item) => !item.property["x-advanced"]), advanced = fields.filter((item) => item.property["x-advanced"]);
  const element = h("div", { class: "form" }, plain.map((item) => item.element),
    advanced.length > 0 && h("details", {}, h("summary", {}, `${advanced.length} more options`), h("div", { class: "form" }, advanced.map((item) => item.element))));
  return {
    element,
    isEmpty: fields.length === 0,
    values: () => Object.fromEntries(fields.map((item) => [item.name, item.read()]).filter(([, value]) => value !== undefined)),
    set: (values) => {
      for (const item of fields) if (item.name in values) /** @type {any} */ (item).write(values[item.name]);
    },
  };
}

const words = (name) => {
  const text = name.replaceAll("_", " ").replaceAll(".", ": ").replace("roi head", "RoI head");
  return text[0].toUpperCase() + text.slice(1);
};

/** @param {Property} property */
function typeOf(property) {
  const types = [property.type ?? [], ...(property.anyOf ?? []).map((item) => item.type)].flat().filter((type) => type !== "null");
  return types[0] ?? "string";
}

/** @param {string} name @param {Property} property @param {boolean} required */
function field(name, property, required) {
  const type = typeOf(property), { default: usual, description } = property;
  const note = description && h("span", { class: "note" }, description);
  if (type === "boolean") {
    const input = h("input", { type: "checkbox", name, checked: Boolean(usual) });
    const element = h("label", { class: "check" }, input, h("span", {}, words(name), note && h("span", { class: "note" }, ` – ${description}`)));
    return { name, property, element, read: () => (input.checked === Boolean(usual) ? undefined : input.checked), write: (value) => (input.checked = value) };
  }
  let input, parse = (text) => text;
  if (property.enum) {
    input = h("select", { name }, property.enum.map((value) => h("option", { value: String(value), selected: value === usual }, value === "" ? "–" : String(value))));
  } else if (type === "integer" || type === "number") {
    input = h("input", { name, type: "number", step: type === "integer" ? 1 : "any", min: property.minimum, max: property.maximum, value: usual ?? "", required });
    parse = Number;
  } else if (type === "array") {
    input = h("input", { name, type: "text", value: (usual ?? []).join(", "), placeholder: "a, b, c", required });
    parse = (text) => text.split(",").map((item) => item.trim()).filter(Boolean);
  } else if (type === "object") {
    input = h("input", { name, type: "text", value: "", placeholder: '{"name": "value"}', required });
    parse = (text) => JSON.parse(text);
  } else {
    input = h("input", { name, type: "text", value: usual ?? "", required });
  }
  const chooser = property.format === "upload" && fileChooser(input, property, type === "array");
  const shown = String(Array.isArray(usual) ? usual.join(", ") : usual ?? "");
  const element = h("div", { class: "stack tight" }, h("label", { class: "field" }, words(name), input, note), chooser);
  return {
    name, property, element,
    read: () => (input.value === shown || (input.value === "" && !required) ? undefined : parse(input.value)),
    write: (value) => (input.value = String(value)),
  };
}

/** Sends files and names them in a field. @param {HTMLInputElement} input @param {Property} property @param {boolean} many */
function fileChooser(input, property, many) {
  const label = `Files for ${words(input.name).toLowerCase()}`, said = h("span", { class: "note", role: "status" });
  input.placeholder = many ? "upload:ID, upload:ID" : "upload:ID";
  const send = async ({ target }) => {
    try {
      const names = many && input.value ? [input.value] : [];
      for (const file of target.files) {
        said.textContent = `Uploading ${file.name} …`;
        names.push(`upload:${(await upload(file)).id}`);
      }
      input.value = names.join(", ");
      said.textContent = "";
    } catch (error) {
      said.textContent = error.message;
    }
    target.value = "";
  };
  return [h("input", { type: "file", accept: property.accept, multiple: many, "aria-label": label, onchange: send }), said];
}

/** Say what went wrong, in the place of `host`; nothing where `error` is null. @param {HTMLElement} host @param {Error|null} error */
export function showFault(host, error) {
  host.hidden = !error;
  host.dataset.tone = "bad";
  host.textContent = error ? error.message : "";
}
