// Camera of the browser: permission, choice, and reasons why there is none.

const FRAME = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
// State of the page by the name of the browser's error.
const STATES = {
  NotAllowedError: "refused", SecurityError: "refused", NotFoundError: "none", OverconstrainedError: "none",
  NotReadableError: "busy", AbortError: "busy",
};
let stream = null;

// Ask for a camera and return its stream; raise an error whose `state` is refused, none or busy.
export async function openCamera(deviceId) {
  closeCamera();
  const choice = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { ...FRAME, ...choice }, audio: false });
  } catch (error) {
    throw Object.assign(new Error(error.message), { state: STATES[error.name] || "busy" });
  }
  return stream;
}

export function closeCamera() {
  for (const track of stream ? stream.getTracks() : []) track.stop();
  stream = null;
}

// Return id, name and choice of the cameras; names need the permission.
export async function listCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const current = stream && stream.getVideoTracks()[0].getSettings().deviceId;
  return devices
    .filter((device) => device.kind === "videoinput" && device.deviceId)
    .map((device, index) => ({ id: device.deviceId, name: device.label || `Camera ${index + 1}`, current: device.deviceId === current }));
}

// Return whether the camera looks at its user, who expects a mirror.
export function facesUser() {
  return stream.getVideoTracks()[0].getSettings().facingMode !== "environment";
}
