// Runs before the first paint, so that a chosen theme does not flash, and says so where the page itself cannot start.
document.documentElement.dataset.theme = localStorage.getItem("object_pose.theme") ?? "";

window.addEventListener("error", ({ target }) => {
  if (!(target instanceof HTMLScriptElement)) return;
  const banner = document.getElementById("banner");
  banner.textContent = "The page's libraries are missing on the server: run scripts/vendor_web in its checkout (make setup does), or install the wheel.";
  banner.hidden = false;
}, true);
