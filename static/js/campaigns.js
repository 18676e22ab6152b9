// Launching: only the fields of the chosen time.

const launchForm = document.querySelector("[data-launch]");
if (launchForm) showChosenTime(launchForm);

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
