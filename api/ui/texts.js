// Every word that the page shows, in one place.

export const TEXTS = {
  skip: "Skip to the plates",
  cameras: "Cameras",
  sightings: "Plates",
  close: "Close",
  emptyTry: "Or post one yourself and watch it arrive:",
  link: { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting" },
  states: {
    connecting: "Connecting",
    live: "Live",
    degraded: "Degraded",
    frozen: "Frozen",
    lost: "Lost",
    ended: "Ended",
    paused: "Paused",
  },
  phases: { provisional: "reading", revised: "reading", final: "" },
  origins: { camera: "", ingest: "posted", upload: "upload" },
  noPicture: "No picture",
  noCrop: "no crop",
  waitingForFrame: "Waiting for the first frame",
  noCameras: "No camera is configured. Plates that are posted to /alpr_data still appear here.",
  noEngine: "The engine does not answer. What it has already read is still shown.",
  parked: "parked",
  unknown: "–",
  emptyTitle: "No plates yet",
  emptyHint: (cameras) =>
    cameras === 0
      ? "No camera is configured: add one to config.toml."
      : `Watching ${cameras} ${cameras === 1 ? "camera" : "cameras"}. A plate appears here as soon as one is read.`,
  camerasLive: (live, all) => `${live} of ${all} live`,
  shown: (count) => (count === 0 ? "" : `${count} shown`),
  missed: (count) =>
    count === null ? "Some events were missed while away" : `${count} ${count === 1 ? "event" : "events"} missed while away`,
  rates: (camera) => {
    const parts = [`${camera.fps.toFixed(1)} fps`];
    if (camera.dropped_fps > 0) parts.push(`${camera.dropped_fps.toFixed(1)} dropped/s`);
    parts.push(`${camera.sightings} ${camera.sightings === 1 ? "plate" : "plates"}`);
    return parts.join("  ·  ");
  },
  confidence: (percent) => `${Math.round(percent)} %`,
  confidenceLabel: (percent) => `Confidence ${Math.round(percent)} percent`,
  announce: (plate, camera) => `${plate}, ${camera}`,
  openLabel: (plate) => `Evidence of ${plate}`,
  snapshotOf: (camera) => `What ${camera} sees now`,
  cropOf: (plate) => `Crop of the plate ${plate}`,
  frameOf: (plate) => `The frame in which ${plate} was read best`,
  clipOf: (plate) => `The seconds around ${plate}, as the camera sent them`,
  facts: {
    camera: "Camera",
    seen: "Seen",
    confidence: "Confidence",
    region: "Region",
    reads: "Read in",
    candidates: "Also possible",
    recognizer: "Recognizer",
    node: "Machine",
    id: "Sighting",
  },
  frames: (count) => `${count} ${count === 1 ? "frame" : "frames"}`,
};
