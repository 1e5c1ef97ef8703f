// The page is ready when its plots are there to be seen.

Promise.all([...document.images].map((image) => image.decode())).then(() => {
  document.documentElement.dataset.ready = "yes";
});
