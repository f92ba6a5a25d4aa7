/**
 * The page Look: three recorded models in the reader's browser, on the reader's own picture. Here the parts are put
 * together; each does its own work.
 */

import {Experiments} from "./experiments.js";
import {Erase} from "./experiments-erase.js";
import {Remove} from "./experiments-remove.js";
import {Shuffle} from "./experiments-shuffle.js";
import {Weights} from "./experiments-weights.js";
import {loadModel, openRuntime, readModels, supported} from "./runtime.js";
import {later, part, percent, spoken, strongest} from "./dom.js";
import {FRESH, createState, fromAddress, toAddress} from "./state.js";
import {Session} from "./session.js";
import {Card} from "./view-card.js";
import {Heads} from "./view-heads.js";
import {Input} from "./view-input.js";
import {Scale} from "./view-scale.js";
import {Steps} from "./view-steps.js";

const BASE = new URL(".", import.meta.url).href;
const REST = 900; // milliseconds without a change before a screen reader is told the answers
const POINTING = ["heads", "steps"]; // the tools in which a patch under the pointer asks

// Records that read the same trunk share a card.
const cardsOf = entries => {
  const cards = new Map();
  for (const entry of entries) cards.set(entry.chapter, [...(cards.get(entry.chapter) ?? []), entry]);
  return [...cards.values()];
};

// How a picture answers the pointer and the keyboard: an open eraser paints, everything else pins a patch.
const handOf = (state, tool, grid) => ({
  press: patch => {
    if (tool().press) tool().press(patch, grid);
    else state.set({pin: state.now.pin === patch ? null : patch, hover: null});
  },
  hover: patch => {
    const points = state.now.pin === null && POINTING.includes(state.now.tool);
    if (points && state.now.hover !== patch) state.set({hover: patch});
  },
  brush: () => tool().brush?.() ?? null,
});

const inWords = (cards, session) => cards.map(card => [card.entry(), session.of(card.entry().name).probabilities])
  .filter(([, found]) => found)
  .map(([{title, classes}, found]) => `${title}: ${spoken(classes[strongest(found)])}, ${percent(Math.max(...found))}.`)
  .join(" ");

// Every part, and what they all are given; `draw` shows what has changed since, once a frame.
const assemble = (root, entries, samples, session, say) => {
  const state = createState(), {grid} = entries[0].layers[0];
  const panel = name => root.querySelector(`[data-panel="${name}"]`);
  const wanted = name => session.fetch(name).catch(error => say(error.message));
  const shared = {state, session, say, wanted, hand: handOf(state, () => tools.now(), grid)};
  const cards = cardsOf(entries).map(group => new Card(root, group, shared));
  const input = new Input(root, samples, BASE, shared), scale = new Scale(root, cards, shared);
  const shuffle = new Shuffle(panel("shuffle"), session), erase = new Erase(panel("erase"), session, entries[0].mean);
  const weights = new Weights(panel("weights"), cards, shared), remove = new Remove(panel("remove"), cards, shared);
  const heads = new Heads(panel("heads"), cards, shared), steps = new Steps(panel("steps"), shared);
  const tools = new Experiments(root, {heads, steps, erase, remove, shuffle, weights}, grid[1], shared);
  session.changes.push(shuffle, erase, weights, remove);
  let asked = 0;
  const draw = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      for (const view of [input, scale, ...cards, tools]) view.draw();
      part(root, "page").setAttribute("aria-busy", Boolean(session.working || remove.working));
    });
  };
  return {state, cards, input, draw, wanted};
};

const start = async root => {
  const say = sentence => {
    part(root, "notice").textContent = sentence;
    part(root, "notice").hidden = !sentence;
  };
  if (!supported()) {
    part(root, "without").hidden = false;
    return;
  }
  const runtime = openRuntime(BASE);
  runtime.catch(error => say(error.message));
  const [entries, samples] = await Promise.all([
    readModels(BASE), fetch(new URL("samples/samples.json", BASE)).then(response => response.json()),
  ]);
  const session = new Session(entries, async (entry, options) => {
    await runtime;
    return loadModel(entry, options);
  });
  const {state, cards, input, draw, wanted} = assemble(root, entries, samples, session, say);
  const announce = later(() => {
    const said = inWords(cards, session);
    if (part(root, "status").textContent !== said) part(root, "status").textContent = said;
  }, REST);
  const write = later(() => {
    const address = toAddress(state.now);
    if (location.hash || address !== toAddress(FRESH)) history.replaceState(null, "", address);
  }, 200);
  const read = () => state.set({...fromAddress(location.hash, entries, samples.length), hover: null});

  session.listen(() => {
    draw();
    announce();
  });
  state.listen(change => {
    draw();
    if (Object.keys(change).join() !== "hover") write();
    if (change.image !== undefined && change.image !== null) input.takeSample(change.image);
    if (change.model && session.picture && !session.of(change.model).model) wanted(change.model);
  });
  addEventListener("hashchange", read);
  addEventListener("keydown", event => { if (event.key === "Escape") state.set({pin: null, hover: null}); });

  part(root, "page").hidden = false;
  state.set({image: FRESH.image, ...fromAddress(location.hash, entries, samples.length)});
  // One after the other: the first model has drawn its map before the second one is asked for.
  for (const card of cards) await wanted(card.entries[0].name);
  if (!session.of(state.now.model).model) await wanted(state.now.model);
  root.dataset.ready = "";
};

for (const root of document.querySelectorAll(".look")) {
  start(root).catch(error => {
    part(root, "notice").textContent = `The page could not start: ${error.message}`;
    part(root, "notice").hidden = false;
    throw error;
  });
}
