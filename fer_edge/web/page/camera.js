// Camera of the browser: permission, choice, and reasons why there is none.

const FRAME = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
// State of the page by the name of the browser's error.
const STATES = {
  NotAllowedError: "refused", SecurityError: "refused", NotFoundError: "none", OverconstrainedError: "none",
  NotReadableError: "busy", AbortError: "busy",
};

// Return the stream of a camera; raise an error whose `state` is refused, none or busy.
export async function openCamera(deviceId) {
  const choice = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { ...FRAME, ...choice }, audio: false });
  } catch (error) {
    throw Object.assign(new Error(error.message), { state: STATES[error.name] || "busy" });
  }
}

export function closeCamera(stream) {
  for (const track of stream.getTracks()) track.stop();
}

// Return id, name and choice of the cameras; names need the permission.
export async function listCameras(stream) {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const current = settingsOf(stream).deviceId;
  return devices
    .filter((device) => device.kind === "videoinput" && device.deviceId)
    .map((device, index) => ({ id: device.deviceId, name: device.label || `Camera ${index + 1}`, current: device.deviceId === current }));
}

// Return whether the camera looks at its user, who expects a mirror.
export function facesUser(stream) {
  return settingsOf(stream).facingMode !== "environment";
}

const settingsOf = (stream) => stream.getVideoTracks()[0].getSettings();
