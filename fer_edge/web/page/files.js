// Files of the page that the recognition needs: loaded with progress, and compared with the hashes of site.json.

const HEX = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// Return the description of the page and its model, and the content of each file in `load` by its role.
export async function loadFiles(base, onProgress) {
  const site = await (await request(new URL("site.json", base))).json();
  const roles = Object.entries(site.load);
  const total = roles.reduce((sum, [, name]) => sum + site.files[name].size, 0);
  const loading = new AbortController(); // ends the other requests when one fails
  let loaded = 0;
  const count = (length) => {
    loaded += length;
    if (!loading.signal.aborted) onProgress(loaded, total);
  };
  const load = async ([role, name]) => [role, await loadFile(base, name, site.files[name], count, loading.signal)];
  try {
    return { site, files: Object.fromEntries(await Promise.all(roles.map(load))) };
  } catch (error) {
    loading.abort();
    throw error;
  }
}

async function request(url, signal) {
  let response;
  try {
    response = await fetch(url, { cache: "no-cache", signal }); // asks the server whether a stored copy is the present file
  } catch {
    throw new Error(`the file ${nameOf(url)} cannot be loaded: the server does not answer; load the page again`);
  }
  if (!response.ok) {
    throw new Error(`the file ${nameOf(url)} cannot be loaded: the server answers ${response.status}; copy the whole folder to it`);
  }
  return response;
}

async function loadFile(base, name, { size, sha256 }, count, signal) {
  const response = await request(new URL(name, base), signal);
  const content = new Uint8Array(size);
  let length = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > size) throw damaged(name, `more than ${size} bytes`, size);
    content.set(value, length);
    length += value.length;
    count(value.length);
  }
  if (length !== size) throw damaged(name, `${length} bytes`, size);
  const hash = HEX(await crypto.subtle.digest("SHA-256", content));
  if (hash !== sha256) throw damaged(name, `SHA-256 ${hash.slice(0, 12)}…`, `${sha256.slice(0, 12)}…`);
  return content;
}

function damaged(name, present, expected) {
  return new Error(`the file ${name} is damaged: it has ${present}, expected ${expected}; write the page again with fer-edge web`);
}

const nameOf = (url) => url.pathname.split("/").pop();
