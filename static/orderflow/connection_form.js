"use strict";
// Shows the fields of the chosen mode. Those of the others are disabled, so that they are not sent.
document.addEventListener("DOMContentLoaded", () => {
  const mode = document.getElementById("id_config_mode");
  if (!mode) {
    return;
  }
  const show = () => {
    for (const fieldset of document.querySelectorAll("fieldset.for-modes")) {
      const isOther = !fieldset.classList.contains(`for-mode-${mode.value}`);
      fieldset.hidden = isOther;
      fieldset.disabled = isOther;
    }
  };
  mode.addEventListener("change", show);
  show();
});
