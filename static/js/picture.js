// Crop: the frame on the picture and the fields of the form say the same.

const form = document.querySelector("[data-crop]");
if (form) {
  const fields = form.elements;
  const cropper = new Cropper(form.querySelector("[data-crop-image]"), {
    viewMode: 1,
    autoCropArea: 1,
    movable: false,
    zoomable: false,
    rotatable: false,
    scalable: false,
    // The picture comes from this very site and is already upright.
    checkCrossOrigin: false,
    checkOrientation: false,
    crop: show,
  });

  function show() {
    if (document.activeElement?.closest("[data-crop] input")) return;
    const part = cropper.getData(true);
    fields.left.value = Math.max(0, part.x);
    fields.top.value = Math.max(0, part.y);
    fields.width.value = part.width;
    fields.height.value = part.height;
    fields.to_width.value = Math.min(part.width, 1200);
  }

  form.addEventListener("change", () => {
    cropper.setData({
      x: Number(fields.left.value),
      y: Number(fields.top.value),
      width: Number(fields.width.value),
      height: Number(fields.height.value),
    });
  });
}
