// Elements, and numbers as text.

/**
 * Make an element. Properties that the element has are set as such, others as attributes; functions of "on..." listen.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node|string|number|null|undefined|false|Array<any>)} children
 * @returns {any}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "class") element.className = value;
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** @param {string} name @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** Set an element's text only where it differs, so that screen readers hear changes alone. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {number|null|undefined} value @param {number} digits */
export function fixed(value, digits) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value.toFixed(digits).replace("-", "−");
}

/** @param {number|null|undefined} count */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const power = Math.min(Math.floor(Math.log10(Math.max(count, 1)) / 3), 3);
  return `${(count / 1000 ** power).toFixed(power ? 1 : 0)} ${["B", "kB", "MB", "GB"][power]}`;
}

/** A time of the API, seconds or ISO text, as a date. @param {number|string|null|undefined} value */
export function toDate(value) {
  return value === null || value === undefined ? null : new Date(typeof value === "number" ? value * 1000 : value);
}

/** @param {number|string|null|undefined} value */
export function timeText(value) {
  const date = toDate(value);
  return date ? date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "–";
}

/** @param {number} seconds */
export function durationText(seconds) {
  const whole = Math.max(Math.round(seconds), 0);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** Say something to screen readers alone. @param {string} text */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Show a message for a few seconds; a fault stays until it is closed. @param {string} text @param {"good"|"bad"} [tone] */
export function toast(text, tone = "good") {
  const close = () => item.remove();
  const item = h("div", { class: "toast", dataset: { tone } }, h("span", {}, text),
    h("button", { type: "button", class: "quiet small", onclick: close, "aria-label": "Close the message" }, "Close"));
  byId("toasts").append(item);
  if (tone === "good") setTimeout(close, 5000);
}

/** The value that a colour of the theme has now, for canvases. @param {string} name such as "--text" */
export function color(name) {
  const probe = h("span", { hidden: true });
  document.body.append(probe);
  probe.style.color = `var(${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** A reader of dropped, pasted and chosen files. @param {{label: string, hint?: string, accept?: string, multiple?: boolean, onfiles: (files: File[]) => void}} options */
export function dropZone({ label, hint = "", accept = "", multiple = false, onfiles }) {
  const title = h("strong", {}, label);
  const input = h("input", { type: "file", accept, multiple, "aria-label": label });
  const zone = h("div", { class: "drop" }, icon("upload"), title, hint && h("span", { class: "note" }, hint), input);
  const take = (list) => {
    const files = [...list];
    if (!files.length) return;
    title.textContent = files.map((file) => file.name).join(", ");
    onfiles(files);
  };
  input.addEventListener("change", () => take(input.files));
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, () => zone.classList.add("over"));
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  zone.take = take;
  return zone;
}
