"use strict";
// Brings the parts of a page that are .followed up to date as long as one says that it is
// unfinished. Without this script the page is loaded anew instead.
const follow = async () => {
  try {
    const response = await fetch(window.location.href);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!page.querySelector(".followed[data-unfinished]")) {
      window.location.reload();
      return;
    }
    const news = page.querySelectorAll(".followed");
    document.querySelectorAll(".followed").forEach((part, i) => {
      // A screen reader tells anew whatever is put in, even the same.
      if (!part.isEqualNode(news[i])) {
        part.replaceChildren(...news[i].childNodes);
      }
    });
  } catch {
    // The server is not there for a moment.
  }
  setTimeout(follow, 1000);
};
setTimeout(follow, 1000);
