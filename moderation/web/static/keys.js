// Single keys, for hands that stay where they are. They can be turned off, for those whose tools use the same keys.

import * as viewer from "./viewer.js";

const help = document.getElementById("help");
const note = document.getElementById("note");
const keysOn = document.getElementById("keys-on");
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function bindKeys(acts) {
  const keys = {
    r: () => acts.answer("real"),
    f: () => acts.answer("fake"),
    u: () => acts.answer("unsure"),
    s: acts.skip,
    e: acts.escalate,
    b: acts.undo,
    q: acts.pause,
    z: () => viewer.toggleZoom(),
    "+": () => viewer.step(1),
    "-": () => viewer.step(-1),
    g: () => viewer.toggleFilter("grey"),
    h: () => viewer.toggleFilter("blur"),
    n: () => note.focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target === note) {
      if (event.key === "Escape") document.getElementById("stage").focus();
      return;
    }
    if (event.key === "?") return take(event, openHelp);
    if (!keysOn.checked) return;
    const act = keys[event.key.toLowerCase()] ?? chip(event.key) ?? arrow(event.key);
    if (act) take(event, act);
  });
}

function take(event, act) {
  event.preventDefault();
  if (!event.repeat || event.key in ARROWS) act();
}

function chip(key) {
  const box = /^[1-9]$/.test(key) && document.querySelectorAll("#evidence input")[Number(key) - 1];
  return box ? () => (box.checked = !box.checked) : null;
}

function arrow(key) {
  return key in ARROWS && viewer.isZoomed() ? () => viewer.pan(...ARROWS[key]) : null;
}

function openHelp() {
  help.showModal();
}

keysOn.checked = localStorage.getItem("keys") !== "off";
keysOn.addEventListener("change", () => localStorage.setItem("keys", keysOn.checked ? "on" : "off"));
document.getElementById("help-open").addEventListener("click", openHelp);
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
help.addEventListener("keydown", (event) => {
  if (event.key !== "?" || !help.open) return; // closed, it may keep the focus for a moment
  event.preventDefault();
  event.stopPropagation(); // or it would be opened again
  help.close();
});
