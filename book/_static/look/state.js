/**
 * What the reader has chosen, and the address that says it: a view can be linked. As everywhere in the book, layers,
 * heads, slots and queries count from 0; pictures, rows and columns from 1.
 */

const OPACITY = 0.65; // of the map over the picture, as in the book's figures
const TOOLS = ["heads", "steps", "erase", "remove", "shuffle", "weights"];
const NO_VIEW = {layer: null, head: null, query: null}; // the model's one map; all heads; the query that fits best

/**
 * image: number of a sample, null for the reader's own; model: the one that the tools speak of; views: by model, which
 * of its maps is shown; pin: the patch that was chosen; hover: the patch under the pointer; tool: what is open below.
 */
export const FRESH = {
  image: 0, model: "vit", views: {}, pin: null, hover: null, opacity: OPACITY, scale: "relative", tool: "heads",
};

export const createState = () => {
  const listeners = new Set();
  const state = {
    now: structuredClone(FRESH),
    view: model => state.now.views[model] ?? NO_VIEW,
    patch: () => state.now.pin ?? state.now.hover,
    set(change) {
      Object.assign(state.now, change);
      for (const listener of listeners) listener(change);
    },
    look(model, change) {
      state.set({model, views: {...state.now.views, [model]: {...state.view(model), ...change}}});
    },
    listen: listener => listeners.add(listener),
  };
  return state;
};

const written = index => (index === null ? "" : String(index));

/** "#image=3&model=vit&layer=2&head=1&patch=3.4"; what is as at the beginning is left out. */
export const toAddress = (now, columns = 8) => {
  const parts = new URLSearchParams();
  if (now.image !== null) parts.set("image", String(now.image + 1));
  parts.set("model", now.model);
  for (const [model, view] of Object.entries(now.views)) {
    if (model === now.model) {
      for (const name of ["layer", "head", "query"]) if (view[name] !== null) parts.set(name, view[name]);
    } else if (view.layer !== null || view.query !== null) {
      parts.set(model, [view.layer, view.head, view.query].map(written).join("."));
    }
  }
  if (now.pin !== null) parts.set("patch", `${Math.floor(now.pin / columns) + 1}.${(now.pin % columns) + 1}`);
  if (now.tool !== FRESH.tool) parts.set("try", now.tool);
  if (now.scale !== FRESH.scale) parts.set("scale", now.scale);
  if (now.opacity !== OPACITY) parts.set("map", String(Math.round(100 * now.opacity)));
  return `#${parts}`;
};

// The index that a text means, where the first of `length` is called `first`; null if it means none.
const index = (text, length, first = 0) => {
  const value = Number(text) - first;
  return text && Number.isInteger(value) && value >= 0 && value < length ? value : null;
};

const viewIn = (entry, [layer, head, query]) => {
  const at = index(layer, entry.layers.length);
  // Without a layer a query still has a meaning where the one map has several: one for each class.
  const of = entry.layers[at ?? entry.layers.length - 1];
  const queries = of.kind === "external" ? of.keys : of.kind === "pooling" ? of.queries : 0;
  return {layer: at, head: at === null ? null : index(head, of.heads), query: index(query, queries)};
};

/** The change that an address asks for; what it says of things that are not there is passed over. */
export const fromAddress = (hash, entries, images, [rows, columns] = [8, 8]) => {
  const said = new URLSearchParams(hash.replace(/^#/, "")), change = {};
  const model = entries.find(entry => entry.name === said.get("model"));
  const image = index(said.get("image"), images, 1);
  if (image !== null) change.image = image;
  change.views = {};
  for (const entry of entries) {
    if (said.has(entry.name)) change.views[entry.name] = viewIn(entry, said.get(entry.name).split("."));
  }
  if (model) {
    change.model = model.name;
    change.views[model.name] = viewIn(model, ["layer", "head", "query"].map(name => said.get(name)));
  }
  const [row, column] = (said.get("patch") ?? "").split(".");
  const at = [index(row, rows, 1), index(column, columns, 1)];
  change.pin = at.includes(null) ? null : at[0] * columns + at[1];
  if (TOOLS.includes(said.get("try"))) change.tool = said.get("try");
  change.scale = said.get("scale") === "fixed" ? "fixed" : "relative";
  const opacity = Number(said.get("map"));
  change.opacity = said.has("map") && opacity >= 0 && opacity <= 100 ? opacity / 100 : OPACITY;
  return change;
};
