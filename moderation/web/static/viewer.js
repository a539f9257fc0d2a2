// The picture on its stage: all of it, or real pixels to move about in; grey and blur, which stay.

const stage = document.getElementById("stage");
const image = document.getElementById("picture");
const words = document.getElementById("stage-words");
const scaleShown = document.getElementById("scale");
const zoomButton = document.getElementById("zoom");
const LEVELS = [1, 2, 4, 8]; // screen pixels for each of the picture's
const LARGEST_FIT = 4; // small pictures are enlarged so far, or they would be stamps
const DRAG_PX = 5; // less is a click

let size = { width: 1, height: 1 };
let level = 0; // 0: all of it
let realPixels = null; // fetches the original where a smaller one is shown

export function show(picture, description, fetchOriginal) {
  size = picture;
  realPixels = picture.isOriginal ? null : fetchOriginal;
  image.src = picture.url;
  image.alt = description;
  image.hidden = false;
  words.hidden = true;
  setLevel(0);
  return image.decode().catch(() => {});
}

export function say(text) {
  image.hidden = true;
  image.removeAttribute("src");
  words.textContent = text;
  words.hidden = false;
  scaleShown.textContent = "";
}

export function isZoomed() {
  return level > 0;
}

export function toggleZoom(at) {
  setLevel(level ? 0 : LEVELS.find((each) => each > fitScale() * 1.01) ?? LEVELS.at(-1), at);
}

export function step(direction) {
  const current = level || fitScale();
  const next = direction > 0 ? LEVELS.find((each) => each > current * 1.01) : LEVELS.findLast((each) => each < current * 0.99);
  if (direction < 0 && (!next || next <= fitScale())) setLevel(0);
  else if (next) setLevel(next);
}

export function pan(x, y) {
  stage.scrollBy({ left: x * stage.clientWidth * 0.25, top: y * stage.clientHeight * 0.25 });
}

// `at`: the point of the picture, in 0..1, that stays in the middle.
function setLevel(next, at = middle()) {
  if (image.hidden) return;
  level = next;
  if (level && realPixels) swapForOriginal();
  draw();
  stage.scrollTo(at.x * stage.scrollWidth - stage.clientWidth / 2, at.y * stage.scrollHeight - stage.clientHeight / 2);
}

function draw() {
  const scale = level || fitScale();
  image.style.width = `${(size.width * scale) / devicePixelRatio}px`;
  image.style.height = `${(size.height * scale) / devicePixelRatio}px`;
  image.classList.toggle("sharp", level >= 2);
  stage.classList.toggle("zoomed", level > 0);
  zoomButton.setAttribute("aria-pressed", String(level > 0));
  scaleShown.textContent = `${Math.round(scale * 100)} %`;
}

async function swapForOriginal() {
  const fetchOriginal = realPixels;
  realPixels = null;
  const shown = image.src;
  const original = await fetchOriginal();
  if (original && image.src === shown) image.src = original.url; // else the next picture is up already
}

function fitScale() {
  const fit = Math.min(stage.clientWidth / size.width, stage.clientHeight / size.height);
  return Math.min(LARGEST_FIT, fit * devicePixelRatio);
}

function middle() {
  return level
    ? {
        x: (stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth,
        y: (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight,
      }
    : { x: 0.5, y: 0.5 };
}

// A mouse drags; a finger scrolls by itself. A click zooms in on its point.
let drag = null;
stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || image.hidden) return;
  drag = { x: event.clientX, y: event.clientY, left: stage.scrollLeft, top: stage.scrollTop, moved: false };
});
addEventListener("pointermove", (event) => {
  if (!drag || event.pointerType !== "mouse") return;
  const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
  drag.moved ||= Math.hypot(x, y) > DRAG_PX;
  if (drag.moved) stage.scrollTo(drag.left - x, drag.top - y);
});
addEventListener("pointercancel", () => (drag = null));
addEventListener("pointerup", (event) => {
  const clicked = drag && !drag.moved && event.target === image && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) <= DRAG_PX;
  drag = null;
  if (!clicked) return;
  const box = image.getBoundingClientRect();
  toggleZoom({ x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
});

new ResizeObserver(() => image.hidden || draw()).observe(stage);

// Grey and blur are kept in this browser.
export function toggleFilter(name) {
  setFilter(name, localStorage.getItem(`filter-${name}`) !== "on");
}

function setFilter(name, isOn) {
  localStorage.setItem(`filter-${name}`, isOn ? "on" : "off");
  document.documentElement.classList.toggle(name, isOn);
  document.getElementById(name).setAttribute("aria-pressed", String(isOn));
}

for (const name of ["grey", "blur"]) {
  setFilter(name, localStorage.getItem(`filter-${name}`) === "on");
  document.getElementById(name).addEventListener("click", () => toggleFilter(name));
}
zoomButton.addEventListener("click", () => toggleZoom());
