"use strict";
document.addEventListener("DOMContentLoaded", () => {
  // Each connector has fields of its own.
  const type = document.getElementById("id_connector_type");
  type?.addEventListener("change", () => {
    const org = document.getElementById("id_org").value;
    location.search = new URLSearchParams({ org, connector_type: type.value });
  });
  // Shows the fields of the chosen mode. Those of the others are disabled, so that they are not sent.
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
