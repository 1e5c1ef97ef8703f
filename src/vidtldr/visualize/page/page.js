// The page itself: what is chosen, and who draws when it changes.

const element = (id) => document.getElementById(id);
const state = {
  layer: DATA.shownLayer,
  picture: 0,
  view: "groups",
  method: 0,
  patch: null,
  isPinned: false,
};

const panels = [...document.querySelectorAll("canvas[data-view]")].map((canvas) => ({
  canvas,
  view: canvas.dataset.view,
  method: Number(canvas.dataset.method),
  picture: canvas.dataset.picture === undefined ? undefined : Number(canvas.dataset.picture),
}));

let isWaiting = false;

function draw() {
  isWaiting = false;
  panels.forEach((panel) => drawPanel(panel, state));
}

function redraw() {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(draw);
}

// The frames beside and the other layers are drawn while nothing else happens: sliders then copy.
const whenIdle =
  window.requestIdleCallback ?? ((work) => setTimeout(() => work({ timeRemaining: () => 8 }), 50));
let ahead = [];
let isPreparing = false;

function prepare() {
  const near = [1, -1, 2].map((step) => state.picture + step).filter((one) => pictures[one]);
  const large = panels.filter((panel) => panel.picture === undefined);
  const others = METHODS[0].layers.map((_, layer) => layer).filter((one) => one !== state.layer);
  ahead = [
    ...near.flatMap((picture) => large.map((panel) => [panel, state.layer, picture])),
    ...others.flatMap((layer) => panels.map((panel) => [panel, layer, state.picture])),
  ];
  if (!isPreparing) whenIdle(prepareSome);
  isPreparing = true;
}

function prepareSome(deadline) {
  while (ahead.length > 0 && deadline.timeRemaining() > 4) {
    const [{ canvas, view, method, picture }, layer, chosen] = ahead.shift();
    underneath(canvas, view, method, layer, picture ?? chosen);
  }
  isPreparing = ahead.length > 0;
  if (isPreparing) whenIdle(prepareSome);
}

// Patches of a very wide or very tall clip are drawn stretched, so that they can be seen.
const FLATTEST = 0.4;
const TALLEST = 2.5;

function fit() {
  const natural = pictures[0].naturalHeight / pictures[0].naturalWidth;
  const proportion = Math.min(Math.max(natural, FLATTEST), TALLEST);
  panels.forEach(({ canvas }) => {
    const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    const height = Math.max(1, Math.round(width * proportion));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
  });
  draw(); // at once: a canvas of another size is empty
  prepare();
}

const viewNames = {
  picture: "the picture",
  saliency: "saliency",
  background: "background mask",
  groups: "merged groups",
  unmergedFeatures: "features, unmerged",
  mergedFeatures: "features, merged and given back to every patch",
};

/** Behind the word "Frame", which a label says. */
function pictureText(picture) {
  const seconds = DATA.seconds[picture];
  return seconds === null ? `${picture}` : `${picture}, ${seconds} s`;
}

function layerText() {
  const layer = METHODS[0].layers[state.layer];
  const span = `${layer.tokensBefore} → ${layer.tokens} tokens`;
  return `${layer.layer} (of 0 to ${DATA.depth - 1}): ${span}`;
}

function describe() {
  element("layer-value").textContent = layerText();
  element("frame-value").textContent = pictureText(state.picture);
  element("layer").setAttribute("aria-valuetext", layerText());
  element("frame").setAttribute("aria-valuetext", pictureText(state.picture));
  panels.forEach(({ canvas, view, method, picture }) => {
    const where = `frame ${pictureText(picture ?? state.picture)}`;
    const layer = METHODS[method].layers[state.layer];
    const after = view.endsWith("Features") ? "" : `, layer ${layer.layer}, ${METHODS[method].name}`;
    canvas.setAttribute("aria-label", `${viewNames[view]} of ${where}${after}`);
  });
  document.querySelectorAll(".strip li").forEach((item, picture) => {
    item.classList.toggle("is-chosen", picture === state.picture);
  });
}

function choose(change) {
  Object.assign(state, change);
  if ("picture" in change || "view" in change) prepare();
  element("layer").value = state.layer;
  element("frame").value = state.picture;
  describe();
  inspect();
  redraw();
}

function inspect() {
  const list = element("facts");
  list.hidden = state.patch === null;
  element("facts-hint").hidden = state.patch !== null;
  element("facts-method").textContent = state.patch === null ? "" : METHODS[state.method].name;
  element("facts-held").hidden = !state.isPinned;
  if (state.patch !== null) showFacts(list, factsOf(state.method, state.layer, state.patch));
}

function patchAt(panel, event) {
  const box = panel.canvas.getBoundingClientRect();
  const column = Math.floor(((event.clientX - box.left) / box.width) * GRID.columns);
  const row = Math.floor(((event.clientY - box.top) / box.height) * GRID.rows);
  const isInside = row >= 0 && row < GRID.rows && column >= 0 && column < GRID.columns;
  const frame = gridFrame(panel.picture ?? state.picture);
  return isInside ? frame * PATCHES_A_FRAME + row * GRID.columns + column : null;
}

function look(method, patch) {
  if (patch === state.patch && method === state.method) return;
  choose({ method, patch });
}

// A page that moves under a pointer at rest is no pointing: what the keys chose stays.
const pointer = { x: null, y: null, hasWalkedAway: false };

function isPointing(event) {
  const isAtRest = event.screenX === pointer.x && event.screenY === pointer.y;
  if (!isAtRest) pointer.hasWalkedAway = false;
  [pointer.x, pointer.y] = [event.screenX, event.screenY];
  return !state.isPinned && !pointer.hasWalkedAway;
}

panels.forEach((panel) => {
  const { canvas, method } = panel;
  canvas.addEventListener("pointermove", (event) => {
    if (isPointing(event)) look(method, patchAt(panel, event));
  });
  canvas.addEventListener("pointerleave", (event) => {
    if (isPointing(event)) look(method, null);
  });
  canvas.addEventListener("click", (event) => {
    if (panel.picture !== undefined) {
      choose({ picture: panel.picture });
      return;
    }
    const patch = patchAt(panel, event);
    const isSame = state.isPinned && state.patch === patch && state.method === method;
    choose({ method, patch, isPinned: !isSame && patch !== null });
  });
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  pointer.hasWalkedAway = true;
  choose({ patch: null, isPinned: false });
});

// With the keyboard: arrows walk over the patches of a large panel.
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
document.querySelectorAll("canvas[tabindex]").forEach((canvas) => {
  const method = Number(canvas.dataset.method);
  canvas.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const frame = gridFrame(state.picture);
    const isHere =
      state.patch !== null && state.method === method && place(state.patch).frame === frame;
    const from = isHere ? place(state.patch) : { row: 0, column: -step[1] };
    if (!isHere && step[0]) from.row = -step[0];
    const row = Math.min(Math.max(from.row + step[0], 0), GRID.rows - 1);
    const column = Math.min(Math.max(from.column + step[1], 0), GRID.columns - 1);
    pointer.hasWalkedAway = true;
    choose({
      method,
      patch: frame * PATCHES_A_FRAME + row * GRID.columns + column,
      isPinned: false,
    });
  });
});

element("layer").addEventListener("input", (event) => choose({ layer: Number(event.target.value) }));
element("frame").addEventListener("input", (event) => {
  choose({ picture: Number(event.target.value) });
});
document.querySelectorAll("input[name=view]").forEach((input) => {
  input.addEventListener("change", () => {
    panels.forEach((panel) => {
      if (panel.picture !== undefined) panel.view = input.value;
    });
    choose({ view: input.value });
  });
});

/** What to look at to begin with: of the token of the largest mass the patch that adds most. */
function anExample() {
  const layer = METHODS[0].layers[state.layer];
  const most = layer.mass.indexOf(Math.max(...layer.mass));
  return layer.group.reduce((best, token, patch) => {
    const isMore = best === null || layer.weight[patch] > layer.weight[best];
    return token === most && isMore ? patch : best;
  }, null);
}

Promise.all(pictures.map((picture) => picture.decode())).then(() => {
  const patch = anExample();
  choose({ patch, picture: place(patch).frame * GRID.framesPerToken });
  fit();
  new ResizeObserver(fit).observe(document.body); // there is nothing to draw before
  document.documentElement.dataset.ready = "yes";
});
