"""What is wrong in an open page, a sentence each: a check takes a `Visit` and returns a list, empty if all is well."""

from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from bs4 import BeautifulSoup

from .visits import HOST, Visit

GRAVE = {"serious", "critical"}

# A picture that a program of the page has just put there may still be on its way: it is waited for.
IMAGES = """async () => {
  const images = [...document.images];
  await Promise.all(images.map(image => image.decode().catch(() => {})));
  return images.map(image => ({
    source: image.getAttribute("src") ?? "", alt: image.getAttribute("alt") ?? "",
    loaded: image.complete && image.naturalWidth > 0,
  }));
}"""

# Equations that MathJax left alone, those it could not read, and text that looks like one and never reached it.
MATHS = r"""() => {
  const unset = [...document.querySelectorAll(".math")].filter(it => !it.querySelector("mjx-container"));
  const unread = [...document.querySelectorAll("mjx-merror, mjx-container [style*='color: red']")];
  const texts = document.createTreeWalker(document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
  const typed = [];
  while (texts.nextNode()) {
    if (texts.currentNode.parentElement.closest("pre, code, script, style")) continue;
    const equation = texts.currentNode.data.match(/\$[^$\n]+\$|\\\(.+?\\\)|\\\[.+?\\\]/);
    if (equation) typed.push(equation[0]);
  }
  return {unset: unset.map(it => it.textContent.trim()), unread: unread.map(it => it.textContent), typed};
}"""

# One span stands for all of its class in the same surroundings: what a rule says of one it says of thousands.
THIN_OUT_CODE = """() => {
  const seen = new Set();
  for (const span of document.querySelectorAll("pre span:not(:has(*))")) {
    let kind = "";
    for (let it = span; it; it = it.parentElement) kind += `${it.className} ${it.style.cssText}/`;
    if (seen.has(kind)) span.replaceWith(span.textContent);
    seen.add(kind);
  }
}"""

# Of texts in the same colours, size and surroundings one has the contrast of all, which takes long to find out.
# What is not drawn, and a single letter, which axe-core does not judge, stand for no other.
THIN_OUT_TEXTS = """() => {
  const seen = new Set(), numbers = new Map(), looks = new Map();
  const style = ["color", "fill", "backgroundColor", "backgroundImage", "opacity", "fontSize", "fontWeight", "position",
    "display", "visibility", "textShadow", "filter", "mixBlendMode"];
  const look = it => {
    if (!it || looks.has(it)) return looks.get(it);
    const its = getComputedStyle(it);
    const all = [look(it.parentElement), it.tagName, it.getAttribute("class"), it.disabled, it.ariaDisabled,
      ...style.map(name => its[name])].join();
    if (!numbers.has(all)) numbers.set(all, numbers.size);
    looks.set(it, numbers.get(all));
    return looks.get(it);
  };
  for (const text of document.querySelectorAll("body :not(:has(*))")) {
    text.removeAttribute("data-alike");
    if (text.textContent.trim().length < 2 || !text.getClientRects().length) continue;
    text.toggleAttribute("data-alike", seen.has(look(text)));
    seen.add(look(text));
  }
}"""
ONE_OF_ALL = "axe.configure({rules: [{id: 'color-contrast', selector: '*:not([data-alike])'}]})"

# What reaches past the right edge with no box around it to scroll in, furthest first: boxes, and words without a break.
# What is fixed to the window, as the drawers of the theme are, widens no page.
OVERHANG = """() => {
  const held = node => {
    for (let box = node.parentElement; box && box !== document.body; box = box.parentElement)
      if (getComputedStyle(box).overflowX !== "visible" || getComputedStyle(box).position === "fixed") return true;
    return node.nodeType === Node.ELEMENT_NODE && getComputedStyle(node).position === "fixed";
  };
  const range = document.createRange();  // one for all: the browser keeps each up to date with the page
  const found = [];
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  while (nodes.nextNode()) {
    const node = nodes.currentNode, element = node.tagName ? node : node.parentElement;
    range.selectNode(node);
    const right = (node.tagName ? node : range).getBoundingClientRect().right;
    if (right > window.innerWidth + 0.5 && !held(node) && element.checkVisibility())
      found.push({tag: element.cloneNode().outerHTML.slice(0, 100), text: node.textContent.trim().slice(0, 60), right});
  }
  return found.sort((a, b) => b.right - a.right);
}"""
WIDTHS = "() => [document.documentElement.scrollWidth, window.innerWidth]"


def requests_to_others(visit: Visit) -> list[str]:
    """Requests to another host than this machine's own server; `file:` and `data:` name no host."""
    hosts = {address: urlsplit(address).hostname for address in visit.asked}
    return [
        f"asks {host} for {address}; ship a copy in book/_static"
        for address, host in hosts.items()
        if host not in (None, "", HOST)
    ]


def complaints(visit: Visit) -> list[str]:
    """Requests that failed, and what the page logged as an error or a warning."""
    return [f"a request failed: {it}" for it in visit.failed] + [f"the console says {it}" for it in visit.logged]


def blind_images(visit: Visit) -> list[str]:
    """Images that have no description, and images that did not load."""
    found = []
    for image in visit.page.evaluate(IMAGES):
        if not image["alt"].strip():
            found.append(f"the image {image['source'][:80]!r} has no alt text")
        if not image["loaded"]:
            found.append(f"the image {image['source'][:80]!r} did not load")
    return found


def unset_maths(visit: Visit) -> list[str]:
    """Equations that stand on the page as they were typed, or as an error."""
    found = visit.page.evaluate(MATHS)
    return [
        *(f"MathJax did not set {text!r}" for text in found["unset"]),
        *(f"MathJax cannot read {text!r}; mend it, or ship the extension that it needs" for text in found["unread"]),
        *(f"{text!r} stands on the page as it was typed" for text in found["typed"]),
    ]


def barriers(visit: Visit) -> list[str]:
    """The serious and critical findings of axe-core, all rules on, each with the first elements that it concerns."""
    for step in (THIN_OUT_CODE, THIN_OUT_TEXTS, AXE_SCRIPT, ONE_OF_ALL):
        visit.page.evaluate(step)
    # Preloading asks for imported style sheets at wrong addresses, which would count as failed requests of the page.
    findings = visit.page.evaluate("axe.run({resultTypes: ['violations'], preload: false})")["violations"]
    return [described(finding) for finding in findings if finding["impact"] in GRAVE]


def described(finding: dict) -> str:
    """A finding of axe-core as one sentence, with the first five elements that it concerns."""
    nodes = finding["nodes"]
    first = " | ".join(f"{node['target'][0]}: {' '.join(node['failureSummary'].split())}" for node in nodes[:5])
    return f"{finding['impact']}, {finding['id']}: {finding['help']}; {len(nodes)} elements, first {first}"


def overhang(visit: Visit) -> list[str]:
    """The element that reaches furthest past the right edge, whether the page scrolls there or is cut off."""
    content, window = visit.page.evaluate(WIDTHS)
    widest = visit.page.evaluate(OVERHANG)[:1]
    if content > window and not widest:
        return [f"the page is {content} px wide in a window of {window} px"]
    return [
        f"{it['tag']} reaches to {it['right']:.0f} px in a window of {window} px, {it['text']!r}; let its box scroll"
        for it in widest
    ]


def dead_links(visit: Visit, folder: Path) -> list[str]:
    """Links that lead to no file of the site, which is served from `folder`, or to no element of one of its pages."""
    here = urlsplit(visit.page.url)
    # In a drawing `href` is an object, and no link.
    written_and_read = "all => all.filter(it => it.href.at).map(it => [it.getAttribute('href'), it.href])"
    links = visit.page.eval_on_selector_all("[href]", written_and_read)
    found = []
    for written, address in sorted(set(map(tuple, links))):
        to = urlsplit(address)
        if (to.scheme, to.netloc) != (here.scheme, here.netloc):
            continue
        file = folder / unquote(to.path).lstrip("/")
        if file.is_dir():
            file /= "index.html"
        if not file.is_file():
            found.append(f"the link {written!r} leads to no file")
        elif to.fragment and unquote(to.fragment) not in anchors(file):
            found.append(f"the link {written!r} leads to no element of {file.relative_to(folder)}")
    return found


@cache
def anchors(file: Path) -> frozenset[str]:
    """The ids of a page."""
    soup = BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
    return frozenset(element["id"] for element in soup.find_all(id=True))
