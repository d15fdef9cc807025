/* ONNX Runtime through its C API. Compiled against any header, it runs with every library from version 1.17 on. */
#define _POSIX_C_SOURCE 200809L
#include <onnxruntime_c_api.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "internal.h"

enum { API_VERSION = 17 };
static const char NO_TELEMETRY[] = "ORT_DISABLE_TELEMETRY";

typedef const OrtApiBase *(ORT_API_CALL *get_base)(void);

/* Return the entry point of ONNX Runtime, which is never unloaded.
 *
 * The library is loaded on opening, since Linux libraries of ONNX Runtime have versioned symbols: a linked program
 * would only start with the version it was linked with. A library that the app has loaded before is used, so that an
 * app never has two of them. FER_EDGE_LINKED is for systems without shared libraries. */
static get_base find_base(void) {
    /* From 1.29 on, Linux packages write a device id and events into the home folder, and send them. */
#ifdef _WIN32
    if (GetEnvironmentVariableA(NO_TELEMETRY, NULL, 0) == 0) SetEnvironmentVariableA(NO_TELEMETRY, "1");
#else
    setenv(NO_TELEMETRY, "1", 0);
#endif
#if defined(FER_EDGE_LINKED)
    return OrtGetApiBase;
#elif defined(_WIN32)
    const HMODULE library = LoadLibraryW(L"onnxruntime.dll");
    return library == NULL ? NULL : (get_base)(void (*)(void))GetProcAddress(library, "OrtGetApiBase");
#else
#ifdef __APPLE__
    static const char *const names[] = {"libonnxruntime.dylib", "@rpath/libonnxruntime.dylib"};
#else
    static const char *const names[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
#endif
    void *library = dlopen(names[0], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) library = dlopen(names[1], RTLD_NOW | RTLD_LOCAL);
    return library == NULL ? NULL : (get_base)dlsym(library, "OrtGetApiBase");
#endif
}

struct session {
    const OrtApi *api;
    OrtEnv *environment;
    OrtSession *session;
    OrtMemoryInfo *memory;
};

static fer_status check(const OrtApi *api, OrtStatus *status, const char *action, fer_message *message) {
    if (status == NULL) return FER_OK;
    fer_fail(message, FER_ERROR_ENGINE, "ONNX Runtime %s: %s", action, api->GetErrorMessage(status));
    api->ReleaseStatus(status);
    return FER_ERROR_ENGINE;
}

static void close_session(session *opened) {
    if (opened->memory != NULL) opened->api->ReleaseMemoryInfo(opened->memory);
    if (opened->session != NULL) opened->api->ReleaseSession(opened->session);
    if (opened->environment != NULL) opened->api->ReleaseEnv(opened->environment);
    free(opened);
}

/* Return whether a key is in the metadata of a model; a session returns them only after its optimizers have run. */
static bool contains(const bundle *source, const char *key) {
    const uint8_t *place = source->model, *end = source->model + source->model_size;
    const size_t length = strlen(key);
    for (; (place = memchr(place, key[0], (size_t)(end - place))) != NULL; place++)
        if ((size_t)(end - place) >= length && memcmp(place, key, length) == 0) return true;
    return false;
}

static OrtStatus *set_options(const OrtApi *api, OrtSessionOptions *options, const bundle *source, int threads) {
    /* The settings of fer_edge/engines/onnxruntime.py, which explains the optimizers. */
    const char *disabled = contains(source, "fer_edge.half_scales")
                               ? "CommonSubexpressionElimination;WeightBiasQuantization"
                               : "CommonSubexpressionElimination";
    OrtStatus *status = api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL);
    if (status == NULL) status = api->SetInterOpNumThreads(options, 1);
    if (status == NULL && threads > 0) status = api->SetIntraOpNumThreads(options, threads);
    if (status == NULL)
        status = api->AddSessionConfigEntry(options, "optimization.disable_specified_optimizers", disabled);
    return status;
}

static fer_status load(session *opened, const bundle *source, int threads, fer_message *message) {
    const OrtApi *api = opened->api;
    OrtSessionOptions *options = NULL;
    OrtStatus *status = api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "fer-edge", &opened->environment);
    if (status == NULL) status = api->DisableTelemetryEvents(opened->environment);
    if (status == NULL) status = api->CreateSessionOptions(&options);
    if (status == NULL) status = set_options(api, options, source, threads);
    if (status == NULL)
        status = api->CreateSessionFromArray(opened->environment, source->model, source->model_size, options,
                                             &opened->session);
    if (status == NULL) status = api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &opened->memory);
    if (options != NULL) api->ReleaseSessionOptions(options);
    return check(api, status, "refused the model", message);
}

static fer_status open_session(session **result, const bundle *source, int threads, bool batches,
                               fer_message *message) {
    (void)batches; /* one session runs batches of any size */
    const get_base base = find_base();
    if (base == NULL)
        return fer_fail(message, FER_ERROR_ENGINE, "ONNX Runtime cannot be loaded; put its library "
                        "(libonnxruntime.so.1, libonnxruntime.dylib or onnxruntime.dll) beside that of fer-edge");
    const OrtApi *api = base()->GetApi(API_VERSION);
    if (api == NULL)
        return fer_fail(message, FER_ERROR_ENGINE, "ONNX Runtime %s is too old; expected 1.%d or newer",
                        base()->GetVersionString(), API_VERSION);
    session *opened = calloc(1, sizeof *opened);
    if (opened == NULL) return fer_fail(message, FER_ERROR_MEMORY, "not enough memory for ONNX Runtime");
    opened->api = api;
    const fer_status status = load(opened, source, threads, message);
    if (status == FER_OK)
        *result = opened;
    else
        close_session(opened);
    return status;
}

static fer_status run(session *opened, uint8_t *images, size_t count, float *probabilities, size_t labels,
                      fer_message *message) {
    static const char *const inputs[] = {"images"}, *const outputs[] = {"probabilities"};
    const OrtApi *api = opened->api;
    const int64_t shape[] = {(int64_t)count, SIDE, SIDE, 3}, rows[] = {(int64_t)count, (int64_t)labels};
    OrtValue *input = NULL, *output = NULL;
    OrtStatus *status = api->CreateTensorWithDataAsOrtValue(
        opened->memory, images, count * CROP_BYTES, shape, 4, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &input);
    if (status == NULL)
        status = api->CreateTensorWithDataAsOrtValue(opened->memory, probabilities, count * labels * sizeof(float),
                                                     rows, 2, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &output);
    /* A model with another number of labels fails here, since the output has a shape already. */
    if (status == NULL)
        status = api->Run(opened->session, NULL, inputs, (const OrtValue *const *)&input, 1, outputs, 1, &output);
    if (output != NULL) api->ReleaseValue(output);
    if (input != NULL) api->ReleaseValue(input);
    return check(api, status, "failed on a batch", message);
}

const engine fer_onnxruntime_engine = {"onnxruntime", open_session, run, close_session};
