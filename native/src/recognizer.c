/* Recognizer: the functions of the header. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { MAX_THREADS = 1024 };
_Static_assert(sizeof(fer_face) == 120 && sizeof(fer_expression) == 72, "FerEdge.cs declares the same sizes");

static const engine *const ENGINES[] = {
#ifdef FER_EDGE_ONNXRUNTIME
    &fer_onnxruntime_engine,
#endif
#ifdef FER_EDGE_OPENVINO
    &fer_openvino_engine,
#endif
};
static const size_t ENGINE_COUNT = sizeof ENGINES / sizeof *ENGINES;

struct fer_recognizer {
    bundle source; /* its model is only valid while the recognizer is opened */
    const engine *engine;
    session *session;
    size_t labels, batch;
    uint8_t *images;      /* batch crops */
    float *probabilities; /* of a batch */
    size_t *faces;        /* index of the face of each crop */
    scratch *memory;
};

uint32_t fer_abi_version(void) { return FER_ABI_VERSION; }

const char *fer_version(void) { return FER_EDGE_VERSION; }

static void free_scratch(scratch *memory) {
    if (memory != NULL) free(memory->weights);
    free(memory);
}

void fer_close(fer_recognizer *recognizer) {
    if (recognizer == NULL) return;
    if (recognizer->session != NULL) recognizer->engine->close(recognizer->session);
    json_decref(recognizer->source.manifest);
    free(recognizer->images);
    free(recognizer->probabilities);
    free(recognizer->faces);
    free_scratch(recognizer->memory);
    free(recognizer);
}

static fer_status choose_engine(const bundle *source, const char *name, const char *wanted, const engine **result,
                                fer_message *message) {
    for (size_t i = 0; i < ENGINE_COUNT; i++)
        if ((wanted == NULL || strcmp(wanted, ENGINES[i]->name) == 0) && fer_bundle_lists(source, ENGINES[i]->name)) {
            *result = ENGINES[i];
            return FER_OK;
        }
    return fer_fail(message, FER_ERROR_BUNDLE, "%s has no engine %s that this library is built with; add one with: "
                    "fer-edge bundle add-engine", name, wanted == NULL ? "" : wanted);
}

/* Run a batch of crops. */
static fer_status run(fer_recognizer *recognizer, size_t count, fer_message *message) {
    const size_t values = count * recognizer->labels;
    const fer_status status = recognizer->engine->run(recognizer->session, recognizer->images, count,
                                                      recognizer->probabilities, recognizer->labels, message);
    if (status != FER_OK) return status;
    for (size_t i = 0; i < values; i++)
        if (!isfinite(recognizer->probabilities[i]))
            return fer_fail(message, FER_ERROR_VALUES, "the model's probabilities are NaN or infinite for crop %zu of "
                            "the batch; build the bundle in fp32", i / recognizer->labels);
    return FER_OK;
}

/* Load the model of a checked bundle and run it, which also shows its real number of labels. */
static fer_status load(fer_recognizer *recognizer, const char *name, const fer_options *options, fer_message *message) {
    const int32_t batch = options->batch == 0 ? 1 : options->batch;
    if (options->threads < 0 || options->threads > MAX_THREADS || batch < 1 || batch > recognizer->source.max_batch)
        return fer_fail(message, FER_ERROR_ARGUMENT, "threads are %d and batch is %d; expected 0 to %d threads and a "
                        "batch of 1 to %d, the bundle's largest", (int)options->threads, (int)batch, MAX_THREADS,
                        recognizer->source.max_batch);
    recognizer->labels = json_array_size(recognizer->source.labels);
    recognizer->batch = (size_t)batch;
    recognizer->images = calloc(recognizer->batch, CROP_BYTES);
    recognizer->probabilities = calloc(recognizer->batch * recognizer->labels, sizeof(float));
    recognizer->faces = calloc(recognizer->batch, sizeof(size_t));
    recognizer->memory = calloc(1, sizeof(scratch));
    if (recognizer->images == NULL || recognizer->probabilities == NULL || recognizer->faces == NULL ||
        recognizer->memory == NULL)
        return fer_fail(message, FER_ERROR_MEMORY, "%s: not enough memory for batches of %d", name, (int)batch);
    fer_status status = choose_engine(&recognizer->source, name, options->engine, &recognizer->engine, message);
    if (status == FER_OK)
        status = recognizer->engine->open(&recognizer->session, &recognizer->source, options->threads, batch > 1,
                                          message);
    if (status == FER_OK) status = run(recognizer, 1, message);
    if (status == FER_OK && batch > 1) status = run(recognizer, recognizer->batch, message);
    recognizer->source.model = NULL;
    return status;
}

static fer_status open_bundle(const char *name, const void *data, size_t size, const fer_options *options,
                              fer_recognizer **result, fer_message *message) {
    const fer_options defaults = {NULL, 0, 0};
    fer_recognizer *recognizer = calloc(1, sizeof *recognizer);
    if (recognizer == NULL) return fer_fail(message, FER_ERROR_MEMORY, "%s: not enough memory", name);
    fer_status status = fer_read_bundle(name, data, size, &recognizer->source, message);
    if (status == FER_OK) status = load(recognizer, name, options == NULL ? &defaults : options, message);
    if (status == FER_OK)
        *result = recognizer;
    else
        fer_close(recognizer);
    return status;
}

fer_status fer_open_memory(const void *data, size_t size, const fer_options *options, fer_recognizer **recognizer,
                           fer_message *message) {
    if (recognizer == NULL || data == NULL)
        return fer_fail(message, FER_ERROR_ARGUMENT, "data or recognizer is NULL; expected the bytes of a bundle");
    *recognizer = NULL;
    return open_bundle("the bundle", data, size, options, recognizer, message);
}

fer_status fer_open(const char *path, const fer_options *options, fer_recognizer **recognizer, fer_message *message) {
    uint8_t *data = NULL;
    size_t size = 0;
    if (recognizer == NULL || path == NULL)
        return fer_fail(message, FER_ERROR_ARGUMENT, "path or recognizer is NULL; expected the path of a bundle");
    *recognizer = NULL;
    fer_status status = fer_read_file(path, MAX_BUNDLE_BYTES, &data, &size, message);
    if (status == FER_OK) status = open_bundle(path, data, size, options, recognizer, message);
    free(data);
    return status;
}

static fer_status open_signed(const signed_file *file, const char *public_key, const fer_options *options,
                              fer_recognizer **recognizer, fer_message *message) {
    const fer_status status = fer_check_signature(file, public_key, message);
    return status == FER_OK ? open_bundle(file->name, file->data, file->size, options, recognizer, message) : status;
}

fer_status fer_open_signed_memory(const void *data, size_t size, const void *signature, size_t signature_size,
                                  const char *public_key, const fer_options *options, fer_recognizer **recognizer,
                                  fer_message *message) {
    if (recognizer == NULL || data == NULL || signature == NULL || public_key == NULL)
        return fer_fail(message, FER_ERROR_ARGUMENT, "data, signature, public_key or recognizer is NULL");
    *recognizer = NULL;
    if (signature_size > MAX_SIGNATURE_BYTES)
        return fer_fail(message, FER_ERROR_SIGNATURE, "the signature has more than %d bytes; expected the signature of "
                        "one bundle", MAX_SIGNATURE_BYTES);
    const signed_file file = {.name = "the bundle", .signature_name = "the signature", .data = data, .size = size,
                              .signature = signature, .signature_size = signature_size};
    return open_signed(&file, public_key, options, recognizer, message);
}

/* Read the signature beside a bundle; its name is path with ".sig". */
static fer_status read_signature(const char *path, const char *name, uint8_t **data, size_t *size,
                                 fer_message *message) {
    const fer_status status = fer_read_file(name, MAX_SIGNATURE_BYTES, data, size, NULL);
    if (status == FER_ERROR_BUNDLE)
        return fer_fail(message, FER_ERROR_SIGNATURE, "%s has more than %d bytes; expected the signature of one bundle",
                        name, MAX_SIGNATURE_BYTES);
    if (status == FER_ERROR_FILE)
        return fer_fail(message, FER_ERROR_SIGNATURE, "%s is not signed: %s cannot be read; fetch the signature too, "
                        "or sign the bundle with: fer-edge bundle sign", path, name);
    return status == FER_OK ? FER_OK : fer_fail(message, status, "%s: not enough memory to read it", name);
}

fer_status fer_open_signed(const char *path, const char *public_key, const fer_options *options,
                           fer_recognizer **recognizer, fer_message *message) {
    uint8_t *data = NULL, *signature = NULL;
    signed_file file = {.name = path, .has_path = true};
    if (recognizer == NULL || path == NULL || public_key == NULL)
        return fer_fail(message, FER_ERROR_ARGUMENT, "path, public_key or recognizer is NULL");
    *recognizer = NULL;
    const size_t length = strlen(path);
    char *name = malloc(length + sizeof ".sig");
    if (name == NULL) return fer_fail(message, FER_ERROR_MEMORY, "%s: not enough memory", path);
    memcpy(name, path, length);
    memcpy(name + length, ".sig", sizeof ".sig");
    fer_status status = read_signature(path, name, &signature, &file.signature_size, message);
    if (status == FER_OK) status = fer_read_file(path, MAX_BUNDLE_BYTES, &data, &file.size, message);
    file.signature_name = name;
    file.data = data;
    file.signature = signature;
    if (status == FER_OK) status = open_signed(&file, public_key, options, recognizer, message);
    free(signature);
    free(data);
    free(name);
    return status;
}

int32_t fer_label_count(const fer_recognizer *recognizer) {
    return recognizer == NULL ? 0 : (int32_t)recognizer->labels;
}

const char *fer_label(const fer_recognizer *recognizer, int32_t index) {
    if (recognizer == NULL || index < 0) return NULL;
    return json_string_value(json_array_get(recognizer->source.labels, (size_t)index));
}

const char *fer_engine(const fer_recognizer *recognizer) {
    return recognizer == NULL ? NULL : recognizer->engine->name;
}

/* Crop a face and measure it. */
static fer_status prepare(const view *frame, const fer_face *face, scratch *memory, uint8_t *crop, fer_quality *quality,
                          fer_message *message) {
    region square;
    fer_status status = fer_find_region(frame, face, &square, message);
    if (status == FER_OK) status = fer_write_crop(frame, face, &square, memory, crop, message);
    if (status == FER_OK && quality != NULL) *quality = fer_measure_quality(&square, crop);
    return status;
}

/* Run the prepared crops, and write the results of their faces. */
static fer_status flush(fer_recognizer *recognizer, size_t count, fer_expression *expressions, float *probabilities,
                        fer_message *message) {
    const size_t labels = recognizer->labels;
    const fer_status status = count == 0 ? FER_OK : run(recognizer, count, message);
    for (size_t i = 0; status == FER_OK && i < count; i++) {
        const float *row = recognizer->probabilities + i * labels;
        fer_expression *result = &expressions[recognizer->faces[i]];
        for (size_t label = 1; label < labels; label++)
            if (row[label] > row[result->label]) result->label = (int32_t)label;
        result->score = row[result->label];
        result->warnings = fer_find_warnings(&result->quality);
        result->certain = result->score >= FER_MIN_SCORE && result->warnings == 0;
        if (probabilities != NULL) memcpy(probabilities + recognizer->faces[i] * labels, row, labels * sizeof *row);
    }
    return status;
}

fer_status fer_recognize(fer_recognizer *recognizer, const fer_frame *frame, const fer_face *faces, size_t count,
                         fer_expression *expressions, float *probabilities, fer_message *message) {
    view pixels;
    fer_status refused = FER_OK;
    if (recognizer == NULL || (count > 0 && (faces == NULL || expressions == NULL)))
        return fer_fail(message, FER_ERROR_ARGUMENT, "recognizer, faces or expressions are NULL");
    fer_status status = fer_view_frame(frame, &pixels, message);
    for (size_t i = 0, crops = 0; status == FER_OK && i < count; i++) {
        expressions[i] = (fer_expression){.status = FER_OK};
        fer_message reason;
        status = prepare(&pixels, &faces[i], recognizer->memory, recognizer->images + crops * CROP_BYTES,
                         &expressions[i].quality, &reason);
        if (status == FER_ERROR_ARGUMENT) {
            expressions[i].status = (int32_t)status;
            if (probabilities != NULL)
                memset(probabilities + i * recognizer->labels, 0, recognizer->labels * sizeof *probabilities);
            if (refused == FER_OK)
                refused = fer_fail(message, status, "face %zu of %zu (counted from 0): %.400s", i, count, reason.text);
            status = FER_OK;
        } else if (status == FER_OK) {
            recognizer->faces[crops++] = i;
        } else {
            fer_fail(message, status, "%s", reason.text);
        }
        if (status == FER_OK && (crops == recognizer->batch || i + 1 == count)) {
            status = flush(recognizer, crops, expressions, probabilities, message);
            crops = 0;
        }
    }
    return status == FER_OK ? refused : status;
}

fer_status fer_crop(const fer_frame *frame, const fer_face *face, uint8_t *crop, fer_message *message) {
    view pixels;
    if (face == NULL || crop == NULL)
        return fer_fail(message, FER_ERROR_ARGUMENT, "face or crop is NULL; expected a face and an array of %d bytes",
                        CROP_BYTES);
    fer_status status = fer_view_frame(frame, &pixels, message);
    if (status != FER_OK) return status;
    scratch *memory = calloc(1, sizeof *memory);
    if (memory == NULL) return fer_fail(message, FER_ERROR_MEMORY, "not enough memory to resample a face");
    status = prepare(&pixels, face, memory, crop, NULL, message);
    free_scratch(memory);
    return status;
}
