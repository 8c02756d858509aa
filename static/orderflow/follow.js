"use strict";
// Brings #followed up to date as long as the page says that it is unfinished. Without this script
// the page is loaded anew instead.
const follow = async () => {
  try {
    const response = await fetch(window.location.href);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const news = page.getElementById("followed");
    if (!news || !("unfinished" in news.dataset)) {
      window.location.reload();
      return;
    }
    document.getElementById("followed").replaceWith(news);
  } catch {
    // The server is not there for a moment.
  }
  setTimeout(follow, 1000);
};
setTimeout(follow, 1000);
