// The page Look: three recorded models in the reader's browser, on the reader's own picture. Here the parts are put
// together; each does its own work.

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

// Records that read the same trunk share a card.
const cardsOf = entries => {
  const cards = new Map();
  for (const entry of entries) cards.set(entry.chapter, [...(cards.get(entry.chapter) ?? []), entry]);
  return [...cards.values()];
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
  const state = createState();
  const load = async (entry, options) => {
    await runtime;
    return loadModel(entry, options);
  };
  const session = new Session(entries, load), shared = {state, session, say};
  const page = part(root, "page"), panel = name => root.querySelector(`[data-panel="${name}"]`);
  const fetch_ = name => session.fetch(name).catch(error => say(error.message));

  const hand = {
    press: patch => (tools.now().press ? tools.now().press(patch, entries[0].layers[0].grid) : state.set({pin: state.now.pin === patch ? null : patch, hover: null})),
    hover: patch => { if (state.now.pin === null && state.now.hover !== patch) state.set({hover: patch}); },
    brush: () => tools.now().brush?.() ?? null,
  };
  const cards = cardsOf(entries).map(group => new Card(root, group, {...shared, hand}));
  const input = new Input(root, samples, BASE, {...shared, hand});
  const shuffle = new Shuffle(panel("shuffle"), session), erase = new Erase(panel("erase"), session, entries[0].mean);
  const weights = new Weights(panel("weights"), cards, shared), remove = new Remove(panel("remove"), cards, shared);
  session.changes.push(shuffle, erase, weights, remove);
  const heads = new Heads(panel("heads"), cards, {...shared, wanted: fetch_});
  const steps = new Steps(panel("steps"), {...shared, controls: entry => session.controlsFor(entry)});
  const grid = entries[0].layers[0].grid;
  const tools = new Experiments(root, {heads, steps, erase, remove, shuffle, weights}, grid[1], shared);
  const scale = new Scale(root, cards, shared);

  let asked = 0;
  const draw = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      for (const view of [input, scale, ...cards, tools]) view.draw();
    });
  };
  const announce = later(() => {
    const said = cards.map(card => [card.entry(), session.of(card.entry().name).probabilities]).filter(([, found]) => found)
      .map(([entry, found]) => `${entry.title}: ${spoken(entry.classes[strongest(found)])}, ${percent(Math.max(...found))}.`).join(" ");
    if (part(root, "status").textContent !== said) part(root, "status").textContent = said;
  }, REST);
  const write = later(() => {
    const address = toAddress(state.now);
    if (location.hash || address !== toAddress(FRESH)) history.replaceState(null, "", address);
  }, 200);

  session.listen(() => {
    draw();
    announce();
  });
  state.listen(change => {
    draw();
    if (!("hover" in change && Object.keys(change).length === 1)) write();
    if (change.image !== undefined && change.image !== null) input.takeSample(change.image);
    if (change.model && !session.of(change.model).model && session.picture) fetch_(change.model);
  });
  addEventListener("hashchange", () => state.set(fromAddress(location.hash, entries, samples.length)));
  addEventListener("keydown", event => { if (event.key === "Escape") state.set({pin: null, hover: null}); });

  page.hidden = false;
  state.set({image: 0, ...fromAddress(location.hash, entries, samples.length)});
  // One after the other: the first model has drawn its map before the second one is asked for.
  for (const card of cards) await fetch_(card.entries[0].name);
  if (!session.of(state.now.model).model) await fetch_(state.now.model);
  root.dataset.ready = "";
};

for (const root of document.querySelectorAll(".look")) {
  start(root).catch(error => {
    part(root, "notice").textContent = `The page could not start: ${error.message}`;
    part(root, "notice").hidden = false;
    throw error;
  });
}
