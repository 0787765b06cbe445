// Search runs in a worker, and browsers start none for a page on a disk. There a hidden frame does its work.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "<!doctype html><title>search</title>";
      frame.addEventListener("load", () => {
        const inside = frame.contentWindow;
        inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        const script = frame.contentDocument.createElement("script");
        script.src = String(address);
        script.addEventListener("load", () => {
          this.send = (data) => inside.dispatchEvent(new MessageEvent("message", { data }));
          this.waiting.forEach(this.send);
        });
        frame.contentDocument.body.append(script);
      }, { once: true });
      (document.body || document.documentElement).append(frame);
    }

    postMessage(data) {
      if (this.send) this.send(data);
      else this.waiting.push(data);
    }
  };
}
