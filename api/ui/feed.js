// The live events: EventSource with a memory. It reconnects by itself and resumes by id; where the
// browser gives up (an HTTP error), a new one continues behind the last id that was seen.

const AGAIN_MS = 3000;

export class Feed {
  #url;
  #handlers;
  #lastId = "";
  #source = null;

  // handlers: sighting(object), gap(object), camera(object), state("live" | "reconnecting")
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
  }

  open() {
    const since = this.#lastId ? `&since=${encodeURIComponent(this.#lastId)}` : "";
    const source = new EventSource(this.#url + since);
    this.#source = source;
    source.onopen = () => this.#handlers.state("live");
    source.onmessage = (event) => {
      this.#lastId = event.lastEventId || this.#lastId;
      this.#handlers.sighting(JSON.parse(event.data));
    };
    source.addEventListener("gap", (event) => {
      this.#lastId = event.lastEventId || this.#lastId;
      this.#handlers.gap(JSON.parse(event.data));
    });
    source.addEventListener("camera", (event) => this.#handlers.camera(JSON.parse(event.data)));
    source.onerror = () => {
      this.#handlers.state("reconnecting");
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.open(), AGAIN_MS);
    };
  }

  close() {
    this.#source?.close();
  }
}
