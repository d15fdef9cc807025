/* Bundles: zip files of stored members with a manifest that lists every byte. All content is untrusted until checked.
 *
 * The zip reader is part of the library because members are never compressed: a zip library would add a decompressor
 * to the code that reads untrusted files, and the checks of names, sizes and methods would remain.
 */
#include <sodium/crypto_hash_sha256.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { MAX_MEMBERS = 64, MAX_NAME = 255, MAX_LABELS = 1024, MAX_BATCH = 1024, FORMAT = 1 };
enum { END_BYTES = 22, ENTRY_BYTES = 46, HEADER_BYTES = 30 };
static const size_t MAX_MANIFEST_BYTES = (size_t)4 << 20;
static const char MANIFEST[] = "manifest.json", MODEL[] = "model.onnx";

typedef struct member {
    char name[MAX_NAME + 1];
    const uint8_t *content;
    size_t size;
    uint32_t crc;
} member;

typedef struct archive {
    const char *path; /* for messages */
    const uint8_t *data;
    size_t size;
    member members[MAX_MEMBERS];
    size_t count;
} archive;

static uint32_t read16(const uint8_t *bytes) { return (uint32_t)(bytes[0] | bytes[1] << 8); }

static uint32_t read32(const uint8_t *bytes) { return read16(bytes) | read16(bytes + 2) << 16; }

static const member *find_member(const archive *zip, const char *name) {
    for (size_t i = 0; i < zip->count; i++)
        if (strcmp(zip->members[i].name, name) == 0) return &zip->members[i];
    return NULL;
}

/* Return whether a name is a plain relative path of printable ASCII characters. */
static bool is_safe(const char *name, size_t length) {
    size_t start = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i == length || name[i] == '/') {
            const size_t part = i - start;
            if (part == 0 || (part <= 2 && strncmp(name + start, "..", part) == 0)) return false;
            start = i + 1;
        } else if (name[i] < 0x20 || name[i] > 0x7e || name[i] == '\\' || name[i] == ':') {
            return false;
        }
    }
    return true;
}

/* Check an entry of the zip directory and the header of its member. */
static fer_status read_member(archive *zip, const uint8_t *entry, size_t directory, fer_message *message) {
    member *result = &zip->members[zip->count];
    const size_t length = read16(entry + 28), header = read32(entry + 42);
    const char *name = (const char *)entry + ENTRY_BYTES;
    if (length > MAX_NAME || !is_safe(name, length))
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: unsafe name of member %zu; expected a plain relative path",
                        zip->path, zip->count);
    memcpy(result->name, name, length);
    result->name[length] = '\0';
    if (find_member(zip, result->name) != NULL)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s has two members of the name %s", zip->path, result->name);
    if (read16(entry + 10) != 0 || (read16(entry + 8) & 1) != 0)
        return fer_fail(message, FER_ERROR_BUNDLE,
                        "%s: member %s is compressed or encrypted; expected members stored uncompressed: build the "
                        "bundle again", zip->path, result->name);
    result->crc = read32(entry + 16);
    result->size = read32(entry + 24);
    const uint8_t *local = zip->data + header;
    if (read32(entry + 20) != result->size || header > directory || directory - header < HEADER_BYTES + length ||
        read32(local) != 0x04034b50 || read16(local + 26) != length || memcmp(local + HEADER_BYTES, name, length) != 0)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: member %s differs from the zip directory; fetch the bundle "
                        "again", zip->path, result->name);
    const size_t start = header + HEADER_BYTES + length + read16(local + 28);
    if (start > directory || result->size > directory - start)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: member %s exceeds the file; fetch the bundle again", zip->path,
                        result->name);
    result->content = zip->data + start;
    zip->count++;
    return FER_OK;
}

static fer_status read_archive(archive *zip, fer_message *message) {
    const uint8_t *end = zip->size < END_BYTES ? NULL : zip->data + zip->size - END_BYTES;
    const size_t limit = zip->size - END_BYTES;
    if (end == NULL || read32(end) != 0x06054b50 || read32(end + 4) != 0 || read16(end + 20) != 0 ||
        read16(end + 8) != read16(end + 10) || read32(end + 16) > limit || read32(end + 12) != limit - read32(end + 16))
        return fer_fail(message, FER_ERROR_BUNDLE, "%s is not a bundle, or is truncated; fetch or build it again",
                        zip->path);
    const size_t count = read16(end + 10), directory = read32(end + 16);
    if (count > MAX_MEMBERS)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s has %zu members; bundles have at most %d", zip->path, count,
                        MAX_MEMBERS);
    size_t place = directory, total = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *entry = zip->data + place;
        const bool is_entry = limit - place >= ENTRY_BYTES && read32(entry) == 0x02014b50;
        const size_t bytes =
            is_entry ? ENTRY_BYTES + read16(entry + 28) + read16(entry + 30) + read16(entry + 32) : SIZE_MAX;
        if (bytes > limit - place)
            return fer_fail(message, FER_ERROR_BUNDLE, "%s: damaged zip directory; fetch or build the bundle again",
                            zip->path);
        const fer_status status = read_member(zip, entry, directory, message);
        if (status != FER_OK) return status;
        total += zip->members[i].size;
        place += bytes;
    }
    if (place != limit || total > directory) /* overlapping members could take far longer to check than the file */
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: the zip directory contradicts the file; fetch or build the "
                        "bundle again", zip->path);
    return FER_OK;
}

static uint32_t crc32(const uint8_t *data, size_t size) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* Return whether the manifest is undamaged; the manifest contains the hashes of the other members. */
static bool is_whole(const member *manifest) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* otherwise no changed manifest would be parsed */
    (void)crc32(manifest->content, manifest->size);
    return true;
#else
    return crc32(manifest->content, manifest->size) == manifest->crc;
#endif
}

static fer_status check_hash(const archive *zip, const member *file, json_t *expected, fer_message *message) {
    const char *text = NULL;
    json_int_t size = -1;
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[2 * crypto_hash_sha256_BYTES + 1];
    if (json_unpack(expected, "{s:s, s:I}", "sha256", &text, "size", &size) != 0 || size < 0 ||
        (uint64_t)size != file->size)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: %s has %zu bytes; expected the size in the manifest: fetch or "
                        "build it again", zip->path, file->name, file->size);
    crypto_hash_sha256(digest, file->content, file->size);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    if (strcmp(hex, text) != 0)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: %s differs from the SHA-256 in the manifest; fetch or build it "
                        "again", zip->path, file->name);
    return FER_OK;
}

static fer_status check_files(const archive *zip, json_t *files, fer_message *message) {
    if (json_object_size(files) + 1 != zip->count || find_member(zip, MODEL) == NULL)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: members and manifest differ, or %s is missing; fetch or build "
                        "it again", zip->path, MODEL);
    const char *name;
    json_t *expected;
    json_object_foreach(files, name, expected) {
        const member *file = strcmp(name, MANIFEST) == 0 ? NULL : find_member(zip, name);
        if (file == NULL)
            return fer_fail(message, FER_ERROR_BUNDLE, "%s: %s, which the manifest lists, is missing; fetch or build "
                            "it again", zip->path, is_safe(name, strlen(name)) ? name : "a file");
        const fer_status status = check_hash(zip, file, expected, message);
        if (status != FER_OK) return status;
    }
    return FER_OK;
}

static bool are_labels(const json_t *labels) {
    const size_t count = json_array_size(labels);
    if (count < 2 || count > MAX_LABELS) return false;
    for (size_t i = 0; i < count; i++) {
        const char *label = json_string_value(json_array_get(labels, i));
        if (label == NULL || label[strspn(label, " ")] == '\0') return false;
        for (const char *place = label; *place != '\0'; place++)
            if ((unsigned char)*place < 0x20 || *place == 0x7f) return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(label, json_string_value(json_array_get(labels, j))) == 0) return false;
    }
    return true;
}

/* Check the parts of the manifest that the library uses. */
static fer_status check_manifest(const archive *zip, bundle *result, json_t **files, fer_message *message) {
    int format = 0;
    const char *precision = NULL;
    json_t *labels = NULL, *input = NULL, *engines = NULL;
    json_error_t error;
    if (json_unpack_ex(result->manifest, &error, 0, "{s:i}", "format", &format) == 0 && format != FORMAT)
        return fer_fail(message, FER_ERROR_VERSION, "%s has bundle format %d; this version reads %d: update fer-edge, "
                        "or build the bundle again", zip->path, format, FORMAT);
    if (json_unpack_ex(result->manifest, &error, 0, "{s:i, s:i, s:s, s:o, s:o, s:o, s:o}", "format", &format,
                       "max_batch", &result->max_batch, "precision", &precision, "labels", &labels, "files", files,
                       "input", &input, "engines", &engines) != 0)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: invalid %s: %s", zip->path, MANIFEST, error.text);
    result->labels = labels;
    if (!are_labels(labels) || result->max_batch < 1 || result->max_batch > MAX_BATCH || !json_is_object(*files) ||
        !json_is_array(engines))
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: invalid %s: expected 2 to %d different labels, a largest batch "
                        "of 1 to %d, files and engines", zip->path, MANIFEST, MAX_LABELS, MAX_BATCH);
    json_t *readable = json_pack("{s:s, s:s, s:s, s:i, s:i, s:s}", "name", "images", "dtype", "uint8", "layout", "NHWC",
                                 "height", SIDE, "width", SIDE, "color", "RGB");
    const bool is_readable = json_equal(input, readable) == 1;
    json_decref(readable);
    const char *const precisions[] = {"fp32", "fp16", "int8", "mixed"};
    for (size_t i = 0; is_readable && i < sizeof precisions / sizeof *precisions; i++)
        if (strcmp(precision, precisions[i]) == 0) return FER_OK;
    return fer_fail(message, FER_ERROR_VERSION, "%s has a precision or an input that this version does not read: "
                    "update fer-edge", zip->path);
}

/* The caller releases the manifest of the result, also after a failure. */
fer_status fer_read_bundle(const char *name, const uint8_t *data, size_t size, bundle *result, fer_message *message) {
    archive zip = {.path = name, .data = data, .size = size};
    json_t *files = NULL;
    json_error_t error;
    fer_status status = read_archive(&zip, message);
    if (status != FER_OK) return status;
    const member *manifest = find_member(&zip, MANIFEST);
    if (manifest == NULL || manifest->size > MAX_MANIFEST_BYTES || !is_whole(manifest))
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: %s is missing, damaged or larger than %zu bytes; fetch or "
                        "build it again", name, MANIFEST, MAX_MANIFEST_BYTES);
    result->manifest = json_loadb((const char *)manifest->content, manifest->size, JSON_REJECT_DUPLICATES, &error);
    if (result->manifest == NULL)
        return fer_fail(message, FER_ERROR_BUNDLE, "%s: invalid %s: %s", name, MANIFEST, error.text);
    status = check_manifest(&zip, result, &files, message);
    if (status == FER_OK) status = check_files(&zip, files, message);
    if (status != FER_OK) return status;
    const member *model = find_member(&zip, MODEL);
    result->model = model->content;
    result->model_size = model->size;
    return FER_OK;
}

bool fer_bundle_lists(const bundle *source, const char *engine_name) {
    size_t index;
    json_t *entry;
    json_array_foreach(json_object_get(source->manifest, "engines"), index, entry) {
        const char *name = json_string_value(json_object_get(entry, "engine"));
        if (name != NULL && strcmp(name, engine_name) == 0) return true;
    }
    return false;
}
