// What is said of the patch that is looked at.

const share = (value) => (value / 65535).toFixed(2);
const weightText = (value) => {
  const isTiny = value > 0 && value / 65535 < 0.01;
  return isTiny ? "less than 0.01" : share(value);
};
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function framesText(frames) {
  const names = frames.map((frame) => {
    const first = frame * GRID.framesPerToken;
    const last = first + GRID.framesPerToken - 1;
    return first === last ? `${first}` : `${first}–${last}`;
  });
  return `${frames.length === 1 && GRID.framesPerToken === 1 ? "frame" : "frames"} ${names.join(", ")}`;
}

function framesOf(layer, patch) {
  const frames = new Set();
  layer.group.forEach((_, other) => {
    if (areTogether(layer, patch, other)) frames.add(place(other).frame);
  });
  return [...frames];
}

/** Names and values of everything known about a patch after a layer. */
function factsOf(method, layerIndex, patch) {
  const layer = METHODS[method].layers[layerIndex];
  const { frame, row, column } = place(patch);
  const facts = [["Patch", `row ${row}, column ${column}, ${framesText([frame])}`]];
  if (layer.saliency) {
    const side = layer.foreground[patch] ? "foreground" : "background";
    facts.push(["Saliency", `${share(layer.saliency[patch])}, ${side}`]);
  } else {
    facts.push(["Saliency", "not used: all tokens count alike"]);
  }
  const token = layer.group[patch];
  if (isDropped(layer, patch)) {
    const when = METHODS[method].layers.find((one) => isDropped(one, patch)).layer;
    const heir = place(layer.firstPatch[token]);
    facts.push(["Token", `none: it was background and merged with weight 0 in layer ${when}`]);
    facts.push([
      "In its place",
      `the token of row ${heir.row}, column ${heir.column}, ${framesText([heir.frame])}`,
    ]);
    return facts;
  }
  const count = layer.members[token];
  facts.push([
    "Token",
    count === 1 ? "one of its own" : `shared by ${plural(count, "patch").replace("patchs", "patches")}`,
  ]);
  facts.push(["Mass", `${layer.mass[token].toFixed(2)}; this patch adds ${weightText(layer.weight[patch])}`]);
  facts.push(["Spans", framesText(framesOf(layer, patch))]);
  return facts;
}

function showFacts(list, facts) {
  list.replaceChildren(
    ...facts.map(([name, value]) => {
      const pair = document.createElement("div");
      const term = document.createElement("dt");
      const description = document.createElement("dd");
      term.textContent = name;
      description.textContent = value;
      pair.append(term, description);
      return pair;
    }),
  );
}
