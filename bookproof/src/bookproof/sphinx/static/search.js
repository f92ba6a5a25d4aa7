/* The search of a book: sections that hold all words of a query, while it is typed; and, on the page that a result
   leads to, the words marked in its section. The index is asked for when somebody searches. */

(() => {
  const SHOWN = 8; // results in the window of the search; its page shows all
  const AROUND = 70; // letters of a section before and after the word that was found
  const root = document.documentElement.dataset.content_root;
  const program = document.currentScript;

  /** Text in small letters without accents, of the same length, so that places in one are places in the other. */
  const folded = (text) => text.replace(/[^\x00-\x7f]/g, (sign) => sign.normalize("NFD")[0]).toLowerCase();

  /** A pattern that finds any of `words` at the beginning of a word, in folded text. */
  function pattern(words) {
    const safe = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return new RegExp(`(?<![\\p{L}\\p{N}])(?:${safe.join("|")})`, "gu");
  }

  let index = null;
  const loaded = () => (index ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = new URL("search-index.js", program.src);
    script.onload = () => {
      const { pages, sections, synonyms } = window.searchIndex;
      done({
        pages,
        // The longest first: "saliency map" is one thing, not saliency and a map.
        synonyms: Object.entries(synonyms).map((pair) => pair.map(folded)).sort(([a], [b]) => b.length - a.length),
        sections: sections.map(([page, anchor, title, text]) => (
          { page, anchor, title, text, folds: [title, pages[page][1], text].map(folded) })),
      });
    };
    script.onerror = () => { index = null; failed(new Error("the index did not load")); };
    document.head.append(script);
  }));

  /** The words of a query, each with what else it may be called: [["saliency", "attention map"], ["token"]]. */
  function wanted(query, synonyms) {
    let rest = ` ${folded(query).replace(/\s+/g, " ").trim()} `;
    const groups = [];
    for (const [word, meant] of synonyms) {
      if (!rest.includes(` ${word} `)) continue;
      groups.push([word, meant]);
      rest = rest.replace(` ${word} `, " ");
    }
    for (const word of rest.trim().split(" ").filter(Boolean)) {
      // What is still being typed may become a word that has another name.
      const known = synonyms.find(([long]) => word.length > 3 && long.startsWith(word));
      groups.push(known ? [word, known[1]] : [word]);
    }
    return groups;
  }

  /** The sections in which each group of words is found, the best first. A word in a title counts most. */
  function found(groups, sections) {
    const patterns = groups.map((words) => words.map((word) => pattern([word])));
    const count = (text, one) => [...text.matchAll(one)].length;
    const scored = [];
    for (const section of sections) {
      const [title, page, text] = section.folds;
      let score = 0, here = false;
      const all = patterns.every((words, group) => {
        const points = words.map((one, name) => {
          const inTitle = count(title, one), inText = count(text, one);
          here ||= inTitle + inText > 0;
          const whole = inTitle && title.length < groups[group][name].length + 3 ? 40 : 0;
          return whole + 40 * Math.min(inTitle, 1) + 10 * Math.min(count(page, one), 1) + Math.min(inText, 6);
        });
        score += Math.max(...points);
        return Math.max(...points) > 0;
      });
      if (all && here) scored.push({ section, score });
    }
    return scored.sort((a, b) => b.score - a.score).map(({ section }) => section);
  }

  /** `text` with what matches in <mark>, as nodes. */
  function marked(text, words) {
    const parts = [];
    let place = 0;
    for (const { 0: match, index: start } of folded(text).matchAll(words)) {
      const mark = document.createElement("mark");
      mark.textContent = text.slice(start, start + match.length);
      parts.push(text.slice(place, start), mark);
      place = start + match.length;
    }
    return [...parts, text.slice(place)];
  }

  /** A result: where it stands, its title, and the place in it that says the word. */
  function item(section, pages, groups) {
    const words = pattern(groups.flat());
    const [address, name] = pages[section.page];
    const link = document.createElement("a");
    const query = new URLSearchParams({ mark: groups.flat().join("|") });
    link.href = `${root}${address}?${query}#${section.anchor}`;
    const title = document.createElement("strong");
    title.append(...marked(section.title, words));
    const page = document.createElement("small");
    if (name !== section.title) page.textContent = name;
    const first = Math.max(section.folds[2].search(words), 0);
    const from = first > AROUND ? section.text.lastIndexOf(" ", first - AROUND) + 1 : 0;
    const end = section.text.indexOf(" ", first + 2 * AROUND);
    const piece = section.text.slice(from, end < 0 ? undefined : end);
    const text = document.createElement("span");
    text.append(from ? "… " : "", ...marked(piece, words), end > 0 ? " …" : "");
    link.append(title, " ", page, text);
    const entry = document.createElement("li");
    entry.append(link);
    return entry;
  }

  /** Let a form of the page show what it finds below it. `limit`: how many results at most. */
  function live(form, limit) {
    const input = form.querySelector("input[name=q]");
    const told = document.createElement("p"), list = document.createElement("ol"), box = document.createElement("div");
    told.setAttribute("role", "status");
    box.className = "search-found";
    box.hidden = true;
    box.append(told, list);
    form.after(box);
    const search = async () => {
      const query = input.value;
      box.hidden = !query.trim();
      if (box.hidden) return;
      let known;
      try { known = await loaded(); } catch { told.textContent = "The index of the book did not load; try again."; return; }
      if (query !== input.value) return; // typed on meanwhile
      const groups = wanted(query, known.synonyms);
      const all = found(groups, known.sections);
      list.replaceChildren(...all.slice(0, limit).map((section) => item(section, known.pages, groups)));
      told.textContent = all.length ? `${all.length} section${all.length > 1 ? "s" : ""}` : "No section has all these words.";
      if (all.length > limit) {
        const more = document.createElement("a");
        more.href = `${root}search.html?${new URLSearchParams({ q: query })}`;
        more.textContent = "show all";
        told.append(", the best of them below; ", more);
      }
    };
    input.addEventListener("focus", () => loaded().catch(() => {}), { once: true });
    input.addEventListener("input", search);
    // Up and down move through input and results; Escape closes the window, as the browser does it.
    box.parentElement.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const stops = [input, ...list.querySelectorAll("a")];
      const at = stops.indexOf(document.activeElement);
      if (!step || at < 0 || box.hidden) return;
      event.preventDefault();
      stops[Math.min(Math.max(at + step, 0), stops.length - 1)].focus();
    });
    return { input, search };
  }

  /** Mark the words that were looked for in the section that a result led to, and open what folds them away. */
  function markWords(section, words) {
    const texts = document.createTreeWalker(section, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (texts.nextNode()) {
      const parent = texts.currentNode.parentElement;
      if (!parent.closest("pre, script, style, button, .math, .cell_input")) nodes.push(texts.currentNode);
    }
    for (const node of nodes) {
      const parts = marked(node.data, words);
      if (parts.length === 1) continue;
      for (let fold = node.parentElement.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
      node.replaceWith(...parts);
    }
  }

  for (const form of document.querySelectorAll("form.bd-search")) {
    const inWindow = form.closest("dialog") !== null;
    const { input, search } = live(form, inWindow ? SHOWN : Infinity);
    const asked = new URLSearchParams(location.search).get("q");
    if (inWindow || document.documentElement.querySelector("#search") === null) continue;
    input.focus();
    if (asked) { input.value = asked; search(); }
  }
  const looked = new URLSearchParams(location.search).get("mark");
  const target = looked && location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) markWords(target.tagName === "DT" ? target.parentElement : target, pattern(looked.split("|")));
})();
