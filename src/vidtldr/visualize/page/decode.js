"use strict";
// Arrays of the page's data. Little-endian, as every browser's machine is.

const DATA = JSON.parse(document.getElementById("data").textContent);
const GRID = DATA.grid;
const GROUP_ALPHA = 120 / 255;
const SALIENCY_ALPHA = 178 / 255;
const PATCHES_A_FRAME = GRID.rows * GRID.columns;

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

const COLOURS = bytes(DATA.colours);
const HEAT = bytes(DATA.heat);
const FEATURES = DATA.features.map(bytes);

function css(colours, index, alpha = 1) {
  const [red, green, blue] = colours.subarray(3 * index, 3 * index + 3);
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
}

function decodeLayer(raw) {
  const group = new Uint32Array(bytes(raw.group).buffer);
  const weight = new Uint16Array(bytes(raw.weight).buffer);
  const members = new Uint32Array(raw.tokens);
  group.forEach((token, patch) => {
    if (weight[patch] > 0) members[token] += 1;
  });
  const firstPatch = new Uint32Array(bytes(raw.firstPatch).buffer);
  return {
    layer: raw.layer,
    tokensBefore: raw.tokensBefore,
    tokens: raw.tokens,
    saliency: raw.saliency && new Uint16Array(bytes(raw.saliency).buffer),
    foreground: raw.foreground && bytes(raw.foreground),
    group,
    weight,
    members,
    mass: new Float32Array(bytes(raw.mass).buffer),
    firstPatch,
    // Words for a canvas are slow to make: they are made once.
    tints: Array.from(firstPatch, (patch) => css(COLOURS, patch, GROUP_ALPHA)),
    outlines: Array.from(firstPatch, (patch) => css(COLOURS, patch)),
  };
}

const METHODS = DATA.methods.map((method) => ({
  name: method.name,
  layers: method.layers.map(decodeLayer),
}));

function isDropped(layer, patch) {
  return layer.weight[patch] === 0;
}

function isShared(layer, patch) {
  return !isDropped(layer, patch) && layer.members[layer.group[patch]] > 1;
}

/** Whether two patches live on in the same token. */
function areTogether(layer, one, other) {
  if (one === other) return true;
  return (
    layer.group[one] === layer.group[other] && !isDropped(layer, one) && !isDropped(layer, other)
  );
}

/** The frame of the grid that a picture belongs to. */
function gridFrame(picture) {
  return Math.floor(picture / GRID.framesPerToken);
}

function place(patch) {
  const within = patch % PATCHES_A_FRAME;
  return {
    frame: Math.floor(patch / PATCHES_A_FRAME),
    row: Math.floor(within / GRID.columns),
    column: within % GRID.columns,
  };
}
