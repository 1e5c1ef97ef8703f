// Drawing a frame on a canvas, each way that it can be looked at.

const HEAT_WORDS = Array.from({ length: 256 }, (_, step) => css(HEAT, step, SALIENCY_ALPHA));
const FEATURE_WORDS = FEATURES.map((colours) =>
  Array.from({ length: colours.length / 3 }, (_, patch) => css(colours, patch)),
);
const BACKGROUND_ALPHA = 205 / 255;
const DROPPED_ALPHA = 110 / 255;

const pictures = DATA.pictures.map((source) => {
  const picture = new Image();
  picture.src = source;
  return picture;
});

function hatch(context, size) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const lines = tile.getContext("2d");
  lines.fillStyle = `rgba(20, 22, 30, ${DROPPED_ALPHA})`;
  lines.fillRect(0, 0, size, size);
  lines.strokeStyle = "rgba(235, 235, 240, 0.75)";
  lines.lineWidth = Math.max(1, size / 6);
  lines.beginPath();
  for (const shift of [-size / 2, size / 2, (3 * size) / 2]) {
    lines.moveTo(shift - size, size + size / 2);
    lines.lineTo(shift + size, -size / 2);
  }
  lines.stroke();
  return context.createPattern(tile, "repeat");
}

/** The edges of a patch on a canvas: whole pixels, so that neighbours touch. */
function cell(canvas, row, column) {
  const left = Math.round((column * canvas.width) / GRID.columns);
  const top = Math.round((row * canvas.height) / GRID.rows);
  return {
    left,
    top,
    width: Math.round(((column + 1) * canvas.width) / GRID.columns) - left,
    height: Math.round(((row + 1) * canvas.height) / GRID.rows) - top,
  };
}

function eachPatch(canvas, frame, visit) {
  let patch = frame * PATCHES_A_FRAME;
  for (let row = 0; row < GRID.rows; row += 1) {
    for (let column = 0; column < GRID.columns; column += 1, patch += 1) {
      visit(patch, cell(canvas, row, column), row, column);
    }
  }
}

/** Draw the sides of a patch on whose other side something else begins. */
function drawSides(context, box, patch, row, column, line, isSame) {
  const { left, top, width, height } = box;
  const differs = (isThere, neighbour) => !isThere || !isSame(neighbour);
  if (differs(row > 0, patch - GRID.columns)) context.fillRect(left, top, width, line);
  if (differs(row < GRID.rows - 1, patch + GRID.columns)) {
    context.fillRect(left, top + height - line, width, line);
  }
  if (differs(column > 0, patch - 1)) context.fillRect(left, top, line, height);
  if (differs(column < GRID.columns - 1, patch + 1)) {
    context.fillRect(left + width - line, top, line, height);
  }
}

function lineOf(canvas) {
  return Math.max(1, Math.round(Math.min(canvas.width, canvas.height) / 170));
}

const VIEWS = {
  picture() {},
  saliency(context, layer, frame) {
    eachPatch(context.canvas, frame, (patch, box) => {
      context.fillStyle = HEAT_WORDS[Math.round((layer.saliency[patch] * 255) / 65535)];
      context.fillRect(box.left, box.top, box.width, box.height);
    });
  },
  background(context, layer, frame) {
    const line = lineOf(context.canvas);
    eachPatch(context.canvas, frame, (patch, box, row, column) => {
      if (layer.foreground[patch]) {
        context.fillStyle = `rgb(${DATA.foreground.join()})`;
        const isSame = (other) => layer.foreground[other];
        drawSides(context, box, patch, row, column, line, isSame);
        return;
      }
      context.fillStyle = `rgba(${DATA.background.join()}, ${BACKGROUND_ALPHA})`;
      context.fillRect(box.left, box.top, box.width, box.height);
    });
  },
  groups(context, layer, frame) {
    const line = lineOf(context.canvas);
    const dropped = hatch(context, 6 * line);
    eachPatch(context.canvas, frame, (patch, box, row, column) => {
      if (isDropped(layer, patch)) {
        context.fillStyle = dropped;
        context.fillRect(box.left, box.top, box.width, box.height);
      } else if (isShared(layer, patch)) {
        context.fillStyle = layer.tints[layer.group[patch]];
        context.fillRect(box.left, box.top, box.width, box.height);
        context.fillStyle = layer.outlines[layer.group[patch]];
        const isSame = (other) => areTogether(layer, patch, other);
        drawSides(context, box, patch, row, column, line, isSame);
      }
    });
  },
  unmergedFeatures(context, _layer, frame) {
    drawFeatures(context, FEATURE_WORDS[0], frame);
  },
  mergedFeatures(context, _layer, frame) {
    drawFeatures(context, FEATURE_WORDS[1], frame);
  },
};

function drawFeatures(context, colours, frame) {
  eachPatch(context.canvas, frame, (patch, box) => {
    context.fillStyle = colours[patch];
    context.fillRect(box.left, box.top, box.width, box.height);
  });
}

// What is under a highlight changes seldom: it is kept, so that hovering copies and draws little.
const kept = new Map();
const MOST_KEPT = 200;

function underneath(canvas, view, method, layerIndex, picture) {
  const layerOfKey = view === "picture" || view.endsWith("Features") ? "any" : layerIndex;
  const key = [view, method, layerOfKey, picture, canvas.width, canvas.height].join();
  let under = kept.get(key);
  if (under === undefined) {
    under = document.createElement("canvas");
    under.width = canvas.width;
    under.height = canvas.height;
    const context = under.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(pictures[picture], 0, 0, under.width, under.height);
    VIEWS[view](context, METHODS[method].layers[layerIndex], gridFrame(picture));
    if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value);
  } else {
    kept.delete(key);
  }
  kept.set(key, under);
  return under;
}

/** Draw a panel, and around the patches of the token that is looked at a double line. */
function drawPanel(panel, state) {
  const { canvas, view, method } = panel;
  const picture = panel.picture ?? state.picture;
  const context = canvas.getContext("2d");
  context.drawImage(underneath(canvas, view, method, state.layer, picture), 0, 0);
  if (state.patch === null || state.method !== method) return;
  const layer = METHODS[method].layers[state.layer];
  const line = lineOf(canvas) + 1;
  const isSame = (other) => areTogether(layer, state.patch, other);
  eachPatch(canvas, gridFrame(picture), (patch, box, row, column) => {
    if (!isSame(patch)) return;
    context.fillStyle = "#ffffff";
    drawSides(context, box, patch, row, column, 2 * line, isSame);
    context.fillStyle = "#000000";
    drawSides(context, box, patch, row, column, line, isSame);
  });
}
