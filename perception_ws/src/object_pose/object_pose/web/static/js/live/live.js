// The live view: picture, 3-D, table, plots, and the commands to the pipeline.

import { ApiError, may, post } from "../api.js";
import { byId, fixed, h, setText, toast } from "../dom.js";
import { partsOf } from "../meshes.js";
import { LivePicture } from "./picture.js";
import { Plots } from "./plots.js";
import { LiveScene } from "./scene.js";
import { LiveState } from "./state.js";
import { ObjectTable } from "./table.js";

export const live = new LiveState();

const PARTS_AGAIN_MS = 5000;

/** @type {Map<string, import("../meshes.js").Part>} */
let parts = new Map();
let partsModel = null;
let picture, scene, plots, isShown = false, isStreaming = false;

/** Build the view; called once. */
export function setUpLive() {
  picture = new LivePicture(byId("picture"), live, () => parts);
  scene = make3d();
  new ObjectTable(live);
  plots = new Plots(live);
  live.addEventListener("availability", updateControls);
  live.addEventListener("availability", updateStreams);
  live.addEventListener("status", () => {
    updateText();
    loadParts();
  });
  live.addEventListener("frame", () => {
    if (!byId("picture").querySelector(".empty").hidden) updateControls();
  });
  byId("pause").addEventListener("click", togglePause);
  byId("step").addEventListener("click", step);
  byId("record").addEventListener("click", toggleRecording);
  byId("home").addEventListener("click", () => scene?.home());
  byId("layers").addEventListener("change", ({ target }) => {
    picture.layers[target.name] = target.checked;
    picture.draw();
  });
  updateControls();
  byId("scene").querySelector("fieldset").addEventListener("change", ({ target }) => scene?.setVisible(target.name, target.checked));
}

/** Without WebGL the page is of use all the same. */
function make3d() {
  try {
    return new LiveScene(byId("scene"), live, () => parts);
  } catch (error) {
    showEmpty("scene", "No 3-D view", `This browser gives no WebGL: ${error.message}`);
    return null;
  }
}

/** Start what only runs while it is seen. @param {boolean} shown */
export function showLive(shown) {
  if (shown && !isShown) plots.setTheme();
  isShown = shown;
  updateStreams();
}

/** Read picture and cloud while they are seen and there is a pipeline. */
function updateStreams() {
  const wanted = isShown && Boolean(live.available);
  if (wanted === isStreaming) return;
  isStreaming = wanted;
  if (wanted) {
    picture.run();
    scene?.run();
  } else {
    picture.pause();
    scene?.pause();
  }
}

/** Ask for everything anew, as after a login. */
export function restartLive() {
  live.available = null;
  updateStreams();
  live.start();
}

/** Take the theme's colours. */
export function setLiveTheme() {
  scene?.viewer.setTheme();
  plots.setTheme();
}

/** Fetch what the model's objects look like, once it is known and whenever it is another one. */
async function loadParts() {
  const model = live.model;
  if (model === partsModel) return;
  partsModel = model;
  parts = new Map();
  drawAgain();
  if (!model) return;
  try {
    const found = await partsOf(model, drawAgain);
    if (model !== partsModel) return;
    parts = found;
    drawAgain();
  } catch {
    if (model === partsModel) setTimeout(() => (partsModel = null), PARTS_AGAIN_MS);
  }
}

/** Draw the frame that is shown with what has come since; a paused camera brings no other. */
function drawAgain() {
  picture.draw();
  scene?.update();
}

function updateControls() {
  const available = Boolean(live.available);
  const pause = byId("pause");
  pause.querySelector("span").textContent = live.paused ? "Resume" : "Pause";
  pause.querySelector("use").setAttribute("href", live.paused ? "#i-play" : "#i-pause");
  pause.setAttribute("aria-pressed", String(live.paused));
  const record = byId("record");
  record.querySelector("span").textContent = live.recording ? "Stop recording" : "Record";
  record.querySelector("use").setAttribute("href", live.recording ? "#i-stop" : "#i-record");
  record.setAttribute("aria-pressed", String(Boolean(live.recording)));
  for (const button of [pause, record, byId("step")]) {
    button.disabled = !available || !may("operate") || (button.id === "step" && !live.paused);
    button.title = may("operate") ? "" : "Needs a token with the scope operate";
  }
  for (const id of ["picture", "scene"]) {
    if (live.available === false) showEmpty(id, "No pipeline", id === "picture" ? "This server runs alone. Start one with: object-pose run --web" : "");
    else if (live.available === null) showEmpty(id, "Connecting", "");
    else if (!live.frame) showEmpty(id, "Waiting for the camera", id === "picture" ? troubles().join(" ") : "");
    else if (id !== "scene" || scene) byId(id).querySelector(".empty").hidden = true;
  }
}

/** What the nodes complain of. @returns {string[]} */
function troubles() {
  return (live.status?.nodes ?? []).filter((node) => node.level !== "ok").map((node) => `${node.name}: ${node.message}`);
}

function showEmpty(id, title, text) {
  const empty = byId(id).querySelector(".empty");
  empty.replaceChildren(h("strong", {}, title), h("p", {}, text));
  empty.hidden = false;
}

function updateText() {
  const found = troubles(), list = byId("troubles");
  if (list.dataset.said !== found.join()) list.replaceChildren(...found.map((text) => h("li", {}, text)));
  list.dataset.said = found.join();
  list.hidden = !found.length || !live.frame;
  if (!live.frame) updateControls();

  const { camera, status, model } = live;
  const said = [camera && `${camera.size_wh[0]} × ${camera.size_wh[1]}`, camera?.frame_id, model && `model ${model}`, status?.load !== undefined && status.load !== null && `load ${fixed(status.load, 1)}`];
  setText(byId("frame-text"), said.filter(Boolean).join(" · "));
}

/** Send a command, then ask for the state that it left. @param {string} path @param {any} [body] */
async function command(path, body) {
  if (!live.available || !may("operate")) return;
  try {
    await post(path, body);
    await live.refresh();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, "bad");
  }
}

export const togglePause = () => command(live.paused ? "/v1/live/resume" : "/v1/live/pause");

export async function step() {
  if (live.paused) await command("/v1/live/step");
}

export async function toggleRecording() {
  const stopped = live.recording;
  await command("/v1/live/recording", { action: stopped ? "stop" : "start" });
  if (stopped && !live.recording) toast(`Recorded ${stopped}; jobs take it as recording:${stopped}.`);
}

export const resetView = () => scene?.home();
