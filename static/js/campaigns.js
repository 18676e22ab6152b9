// Launching: only the fields of the chosen time, and one click only.

const launchForm = document.querySelector("[data-launch]");
if (launchForm) showChosenTime(launchForm);

// A form that must be sent once: a second click finds its button disabled.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-once]")) return;
  const buttons = event.target.querySelectorAll("button[type=submit]");
  // Not before the browser has taken the form's values.
  setTimeout(() => buttons.forEach((button) => { button.disabled = true; }));
  addEventListener("pageshow", (shown) => {
    // Come back to by the browser's Back button, the page is as it was left.
    if (shown.persisted) buttons.forEach((button) => { button.disabled = false; });
  });
});

// Only what belongs to the choice between now and later.
function showChosenTime(form) {
  const show = () => {
    form.querySelectorAll("[data-when]").forEach((part) => {
      part.hidden = part.dataset.when !== form.elements.when.value;
    });
  };
  form.addEventListener("change", show);
  show();
}
