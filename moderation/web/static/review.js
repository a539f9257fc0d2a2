// Review: one picture after the other. The next one is leased and loaded while the reviewer looks at this one.

import { call, closeWindow, fetchPicture, Refused } from "./api.js";
import { bindKeys } from "./keys.js";
import * as panel from "./panel.js";
import * as viewer from "./viewer.js";

const find = (id) => document.getElementById(id);
const LEASE_MS = Number(document.querySelector('meta[name="lease-seconds"]').content) * 1000;
const BEAT_MS = Math.min(LEASE_MS / 3, 60_000);
const LOOK_AGAIN_MS = 15_000;
const KEPT = 4; // pictures in memory
const NEEDS_PICTURE = new Set(["answer", "skip", "escalate"]);
const DONE_WORDS = {
  skip: "Left to others.",
  escalate: "Handed to a senior.",
  undo: "Your last answer is taken back: its picture is here again.",
};

let task = null;
let isReady = false; // a picture is up, and may be answered
let isBusy = false; // the server was asked
let isPaused = false;
let shownAt = 0;
let activeAt = Date.now();
let underWay = Promise.resolve(); // what the server was asked last
const pictures = new Map(); // address: promise of a picture

function ask(name, body) {
  const coming = call(name, body);
  underWay = coming.catch(() => {});
  return coming;
}

// One step at a time: a second key while the server answers would hit a picture nobody has seen.
async function step(name, body) {
  if (isBusy || (NEEDS_PICTURE.has(name) && !isReady)) return;
  setBusy(true);
  try {
    const found = await ask(name, body);
    if (DONE_WORDS[name]) panel.showWords(DONE_WORDS[name]);
    hideNotice();
    await arrive(found);
  } catch (problem) {
    await recover(problem);
  } finally {
    setBusy(false);
  }
}

async function recover(problem) {
  notice(problem.message);
  if (problem.kind === "lease_lost") {
    task = null;
    await ask("next").then(arrive).catch(said);
  }
}

async function arrive(found) {
  isPaused = isReady = false;
  if (found.answered) panel.showAnswered(found.answered);
  panel.showProgress(found.progress);
  task = found.task;
  clearInputs();
  if (!task) return showEmpty(found.progress);
  panel.showTask(task);
  await showPicture(task);
}

async function showPicture(mine) {
  try {
    if (!pictures.has(mine.picture)) viewer.say("Loading…");
    const picture = await load(mine.picture);
    if (task !== mine) return;
    await viewer.show(picture, `Picture to judge: ${mine.image_id}`, () => load(`${mine.picture}/original`).catch(said));
    panel.addSize(picture);
  } catch (problem) {
    if (task !== mine) return;
    viewer.say(`${problem.message} You can skip or escalate it.`);
    if (problem.kind === "offline") return;
  }
  isReady = true;
  shownAt = performance.now();
  lookAhead(mine);
}

async function lookAhead(mine) {
  try {
    const found = await call("ahead", held(mine));
    if (task === mine && found.picture) await load(found.picture);
  } catch {
    // It is asked for again when its turn comes, and then told.
  }
}

function load(address) {
  if (!pictures.has(address)) {
    const coming = fetchPicture(address);
    coming.catch(() => pictures.delete(address));
    pictures.set(address, coming);
    for (const old of [...pictures.keys()].slice(0, -KEPT)) {
      pictures.get(old).then((picture) => URL.revokeObjectURL(picture.url)).catch(() => {});
      pictures.delete(old);
    }
  }
  return pictures.get(address);
}

function showEmpty(progress) {
  panel.clear();
  viewer.say(progress.done ? `Nothing is left for you. ${progress.done} done, thank you. New ones appear here.` : "Nothing is left for you now. New pictures appear here.");
}

function held(each) {
  return { task_id: each.task_id, version: each.version };
}

function answer(choice) {
  if (task && find("picture").hidden) return notice("There is no picture to judge. Skip it or escalate it.");
  const evidence = [...document.querySelectorAll("#evidence input:checked")].map((box) => box.value);
  const seconds = Math.min(86_400, (performance.now() - shownAt) / 1000);
  return step("answer", { ...held(task ?? {}), answer: choice, evidence, note: find("note").value, seconds });
}

function leave() {
  closeWindow();
  task = null;
  isReady = false;
}

// An answer that is on its way is stored first: what this window has is given back, and what comes with it, too.
async function pause() {
  if (isPaused) return step("next");
  for (let heard = null; heard !== underWay; ) await (heard = underWay);
  if (isPaused) return;
  leave();
  isPaused = true;
  panel.clear();
  viewer.say("Paused. Others may have the picture. Press q to go on.");
}

function escalate() {
  if (!isReady) return;
  find("reason").value = "";
  find("escalate-box").showModal();
}

function clearInputs() {
  for (const box of document.querySelectorAll("#evidence input")) box.checked = false;
  find("note").value = "";
  if (document.activeElement === find("note")) find("note").blur();
}

function setBusy(value) {
  isBusy = value;
  find("actions").setAttribute("aria-busy", String(value));
}

function notice(text, tone = "problem") {
  const box = find("notice");
  if (!box.hidden && box.textContent === text) return; // told already: not once more to who listens
  box.textContent = text;
  box.className = `notice ${tone}`;
  box.hidden = false;
}

function hideNotice() {
  find("notice").hidden = true;
}

function said(problem) {
  notice(problem.message);
}

// The lease is renewed while somebody is there, and a lost one is told before the answer is thought out in vain.
async function beat() {
  if (!task || !isReady || isBusy || document.hidden || Date.now() - activeAt > LEASE_MS) return;
  const mine = task;
  try {
    await call("renew", held(mine));
  } catch (problem) {
    if (problem instanceof Refused && problem.kind === "lease_lost" && task === mine && !isBusy) {
      setBusy(true);
      await recover(problem);
      setBusy(false);
    }
  }
}

setInterval(beat, BEAT_MS);
setInterval(() => !task && !isPaused && !document.hidden && step("next"), LOOK_AGAIN_MS);
document.addEventListener("visibilitychange", beat);
for (const kind of ["keydown", "pointermove", "pointerdown", "wheel"]) {
  addEventListener(kind, () => (activeAt = Date.now()), { passive: true });
}
addEventListener("pagehide", leave);
addEventListener("pageshow", (event) => event.persisted && location.reload());

for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", () => answer(button.dataset.answer));
find("undo").addEventListener("click", () => step("undo"));
find("skip").addEventListener("click", () => step("skip", held(task ?? {})));
find("escalate").addEventListener("click", escalate);
find("escalate-cancel").addEventListener("click", () => find("escalate-box").close());
find("escalate-form").addEventListener("submit", () => step("escalate", { ...held(task ?? {}), reason: find("reason").value }));
bindKeys({ answer, escalate, pause, skip: () => step("skip", held(task ?? {})), undo: () => step("undo") });
step("next");
