// Starts the page: views, session, theme, shortcuts, and what happens when the server goes away.

import { backOff, events, logIn, logOut, refreshSession, session } from "./api.js";
import { byId, fixed, setText } from "./dom.js";
import { live, resetView, restartLive, setLiveTheme, setUpLive, showLive, step, togglePause, toggleRecording } from "./live/live.js";
import { showCalibration } from "./panels/calibration.js";
import { showJobs } from "./panels/jobs.js";
import { showModels } from "./panels/models.js";
import { showParts } from "./panels/parts.js";
import { showTry } from "./panels/try.js";

const VIEWS = ["live", "try", "parts", "calibration", "models", "jobs"];
const TITLES = { live: "Live", try: "Try it", parts: "Parts", calibration: "Calibration", models: "Models", jobs: "Jobs" };
const PANELS = { try: showTry, parts: showParts, calibration: showCalibration, models: showModels, jobs: showJobs };
const THEMES = ["", "light", "dark"];
const THEME_NAMES = { "": "as the system", light: "light", dark: "dark" };

let current = "";

function viewOfHash() {
  const [view] = location.hash.slice(1).split("/");
  return VIEWS.includes(view) ? view : "live";
}

/** Let the view that is shown read its data; what follows the slash is its own. */
function showPanel() {
  const name = viewOfHash();
  PANELS[name]?.(byId(`view-${name}`), location.hash.split("/").slice(1).join("/"));
}

function showView() {
  const name = viewOfHash();
  for (const item of VIEWS) byId(`view-${item}`).hidden = item !== name;
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name]} · object_pose`;
  showLive(name === "live" && !document.hidden);
  showPanel();
  if (current && current !== name) {
    byId("main").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
  current = name;
}

function updateStatus(gone = false) {
  const status = byId("status");
  const state = gone ? "gone" : live.available === null ? "wait" : !live.available ? "alone" : live.paused ? "paused" : "live";
  const rate = live.status?.rate_hz ? `${fixed(live.status.rate_hz, 0)} Hz` : "";
  status.dataset.state = state;
  const narrow = matchMedia("(max-width: 48rem)").matches;
  setText(byId("status-text"), { gone: "Server gone", wait: "Connecting", alone: narrow ? "No pipeline" : "Serving, no pipeline", paused: "Paused", live: `Live ${rate}`.trim() }[state]);
}

let isGone = false;

/** Ask until the server answers again; then everything that shows data reads it anew. */
async function waitForServer() {
  isGone = true;
  updateStatus(true);
  const banner = byId("banner");
  banner.textContent = "The server does not answer. Trying again …";
  banner.hidden = false;
  for (let failures = 0; isGone; failures++) {
    await backOff(failures);
    try { await refreshSession(); } catch { /* still gone */ }
  }
}

function onBack() {
  isGone = false;
  byId("banner").hidden = true;
  updateStatus();
  showPanel();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("object_pose.theme", theme);
  byId("theme").title = `Colour theme: ${THEME_NAMES[theme]} (T)`;
  setLiveTheme();
  document.dispatchEvent(new Event("theme"));
}

const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);

const KEYS = {
  p: togglePause, ".": step, r: toggleRecording, 0: resetView, t: nextTheme,
  j: () => live.selectNext(1), k: () => live.selectNext(-1), Escape: () => live.select(null), "?": () => byId("shortcuts").showModal(),
};

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.closest("textarea, select, input:not([type='checkbox'], [type='radio'], [type='file'])")) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view && event.key !== "0") location.hash = view;
  else KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]?.();
}

function setUpLogin() {
  let scope = session.scope;
  const dialog = byId("login"), form = dialog.querySelector("form"), fault = form.querySelector(".error");
  events.addEventListener("login", () => {
    if (!dialog.open) dialog.showModal();
  });
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fault.hidden = true;
    try {
      await logIn(form.token.value.trim());
      form.reset();
      dialog.close();
      showView();
    } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
      form.token.select();
    }
  });
  byId("user").addEventListener("click", () => logOut().catch(() => {}));
  events.addEventListener("session", () => {
    byId("user").hidden = !session.authentication || !session.scope;
    byId("user").title = `Log out (scope ${session.scope})`;
    if (session.scope === scope) return;
    scope = session.scope;
    restartLive();
    showPanel();
  });
}

setUpLogin();
events.addEventListener("gone", waitForServer);
events.addEventListener("back", onBack);
setUpLive();
live.start();
for (const name of ["availability", "status"]) live.addEventListener(name, () => updateStatus(isGone));
byId("theme").addEventListener("click", nextTheme);
byId("theme").title = `Colour theme: ${THEME_NAMES[document.documentElement.dataset.theme] ?? ""} (T)`;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(document.documentElement.dataset.theme));
byId("keys").addEventListener("click", () => byId("shortcuts").showModal());
document.addEventListener("keydown", onKey);
window.addEventListener("hashchange", showView);
document.addEventListener("visibilitychange", () => showLive(current === "live" && !document.hidden));
refreshSession().catch(() => {});
showView();
