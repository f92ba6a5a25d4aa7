/* What every page of the book can do: show all folded code, enlarge a figure, say a source. Nothing here draws or computes. */

const CODE = "details.hide.above-input";
const KEY = "show-all-code";

/** A switch above a chapter that opens or closes all folded code; its state is kept for every page. */
function addCodeSwitch(article) {
  const folded = [...article.querySelectorAll(CODE)];
  const title = article.querySelector("h1");
  if (!folded.length || !title) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "code-switch";
  const set = (open) => {
    folded.forEach((details) => { details.open = open; });
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Hide code" : "Show all code";
  };
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    set(open);
    try { localStorage.setItem(KEY, String(open)); } catch { /* private windows keep nothing */ }
  });
  let open = false;
  try { open = localStorage.getItem(KEY) === "true"; } catch { /* as above */ }
  set(open);
  title.after(button);
}

/** A click or Enter on a figure shows it as large as the window; Escape, or another click, closes it. */
function addEnlarging(article) {
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  let picture = null;
  dialog.append(close);
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  for (const image of article.querySelectorAll(".cell_output img")) {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.setAttribute("aria-haspopup", "dialog");
    const enlarge = () => {
      picture?.remove();
      picture = document.createElement("img");
      picture.src = image.currentSrc || image.src;
      picture.alt = image.alt;
      // At its own size at least: on a phone it is wider than the window, and scrolls.
      picture.style.minWidth = `${image.getAttribute("width") || image.naturalWidth}px`;
      dialog.append(picture);
      dialog.showModal();
    };
    image.addEventListener("click", enlarge);
    image.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge();
    });
  }
}

/** A citation shows its source to who points at it, by a pointer or by the keyboard; without this its title does. */
function addSources(article) {
  const shown = document.createElement("div");
  shown.className = "source";
  shown.id = "source";
  shown.setAttribute("role", "tooltip");
  shown.hidden = true;
  document.body.append(shown);
  const hide = () => { shown.hidden = true; };
  for (const link of article.querySelectorAll("a.cited[title]")) {
    const source = link.title;
    link.removeAttribute("title");
    link.setAttribute("aria-describedby", shown.id);
    const show = () => {
      shown.textContent = source;
      shown.hidden = false;
      const { left, bottom } = link.getClientRects()[0];
      const room = document.documentElement.clientWidth - shown.offsetWidth - 12;
      shown.style.left = `${window.scrollX + Math.max(12, Math.min(left, room))}px`;
      shown.style.top = `${window.scrollY + bottom + 4}px`;
    };
    link.addEventListener("pointerenter", show);
    link.addEventListener("focus", show);
    link.addEventListener("pointerleave", hide);
    link.addEventListener("blur", hide);
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector("article.bd-article");
  if (!article) return;
  addCodeSwitch(article);
  addEnlarging(article);
  addSources(article);
});
