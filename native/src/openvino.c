/* OpenVINO through its C API, on the CPU. */
#include <openvino/c/openvino.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct session {
    ov_infer_request_t *single, *batches; /* one image, and any number of them */
};

/* The Core of the process, which is never freed: OpenVINO's CPU plugin gives the creating thread an alternate signal
 * stack, and if Cores are not destroyed in reverse order, the next signal crashes the process. */
static _Atomic(ov_core_t *) process_core;

static fer_status check(ov_status_e status, const char *action, fer_message *message) {
    if (status == OK) return FER_OK;
    const char *cause = ov_get_last_err_msg();
    fer_fail(message, FER_ERROR_ENGINE, "OpenVINO %s: %s", action,
             cause != NULL && *cause != '\0' ? cause : ov_get_error_info(status));
    ov_free(cause);
    return FER_ERROR_ENGINE;
}

static ov_status_e find_core(ov_core_t **core) {
    *core = atomic_load(&process_core);
    if (*core != NULL) return OK;
    ov_core_t *created = NULL;
    const ov_status_e status = ov_core_create(&created);
    if (status != OK) return status;
    if (atomic_compare_exchange_strong(&process_core, core, created))
        *core = created;
    else
        ov_core_free(created); /* another thread was first */
    return OK;
}

/* The settings of fer_edge/engines/openvino/engine.py, which explains them. */
static ov_status_e compile(const ov_core_t *core, const ov_model_t *model, int threads, ov_compiled_model_t **result) {
    char count[16];
    snprintf(count, sizeof count, "%d", threads);
    const size_t arguments = threads > 0 ? 10 : 8;
    return ov_core_compile_model(core, model, "CPU", arguments, result, "PERFORMANCE_HINT", "LATENCY", "NUM_STREAMS",
                                 "1", "INFERENCE_PRECISION_HINT", "f32", "ENABLE_CPU_PINNING", "NO",
                                 "INFERENCE_NUM_THREADS", count);
}

static ov_status_e create_request(const ov_core_t *core, const bundle *source, int threads, bool single,
                                  ov_infer_request_t **request) {
    ov_model_t *model = NULL;
    ov_compiled_model_t *compiled = NULL;
    const int64_t sides[] = {1, SIDE, SIDE, 3};
    ov_status_e status = ov_core_read_model_from_memory_buffer(core, (const char *)source->model, source->model_size,
                                                               NULL, &model);
    if (status == OK && single) { /* for a fixed batch, shapes and memory are planned once instead of in every call */
        ov_partial_shape_t shape;
        status = ov_partial_shape_create_static(4, sides, &shape);
        if (status == OK) status = ov_model_reshape_input_by_name(model, "images", shape);
        ov_partial_shape_free(&shape);
    }
    if (status == OK) status = compile(core, model, threads, &compiled);
    if (status == OK) status = ov_compiled_model_create_infer_request(compiled, request);
    ov_compiled_model_free(compiled);
    ov_model_free(model);
    return status;
}

static void close_session(session *opened) {
    ov_infer_request_free(opened->single);
    ov_infer_request_free(opened->batches);
    free(opened);
}

static fer_status open_session(session **result, const bundle *source, int threads, bool batches,
                               fer_message *message) {
    ov_core_t *core;
    fer_status status = check(find_core(&core), "does not start", message);
    if (status != FER_OK) return status;
    session *opened = calloc(1, sizeof *opened);
    if (opened == NULL) return fer_fail(message, FER_ERROR_MEMORY, "not enough memory for OpenVINO");
    ov_status_e created = create_request(core, source, threads, true, &opened->single);
    if (created == OK && batches) created = create_request(core, source, threads, false, &opened->batches);
    status = check(created, "refused the model", message);
    if (status == FER_OK)
        *result = opened;
    else
        close_session(opened);
    return status;
}

/* Copy the output of a request, after a check of its shape. */
static fer_status copy_output(const ov_infer_request_t *request, size_t count, float *probabilities, size_t labels,
                              fer_message *message) {
    ov_tensor_t *output = NULL;
    ov_shape_t shape = {0, NULL};
    void *values = NULL;
    ov_element_type_e type = DYNAMIC;
    ov_status_e status = ov_infer_request_get_tensor(request, "probabilities", &output);
    if (status == OK) status = ov_tensor_get_shape(output, &shape);
    if (status == OK) status = ov_tensor_get_element_type(output, &type);
    if (status == OK) status = ov_tensor_data(output, &values);
    fer_status result = check(status, "returned no probabilities", message);
    if (result == FER_OK && (shape.rank != 2 || shape.dims[0] != (int64_t)count || shape.dims[1] != (int64_t)labels ||
                             type != F32))
        result = fer_fail(message, FER_ERROR_BUNDLE, "the probabilities of the model are not %zu x %zu float values; "
                          "build the bundle again", count, labels);
    if (result == FER_OK) memcpy(probabilities, values, count * labels * sizeof *probabilities);
    if (shape.dims != NULL) ov_shape_free(&shape);
    ov_tensor_free(output);
    return result;
}

static fer_status run(session *opened, uint8_t *images, size_t count, float *probabilities, size_t labels,
                      fer_message *message) {
    ov_infer_request_t *request = count == 1 ? opened->single : opened->batches;
    int64_t sides[] = {(int64_t)count, SIDE, SIDE, 3};
    const ov_shape_t shape = {4, sides};
    ov_tensor_t *input = NULL;
    ov_status_e status = ov_tensor_create_from_host_ptr(U8, shape, images, &input);
    if (status == OK) status = ov_infer_request_set_tensor(request, "images", input);
    if (status == OK) status = ov_infer_request_infer(request);
    const fer_status result = check(status, "failed on a batch", message);
    ov_tensor_free(input);
    return result == FER_OK ? copy_output(request, count, probabilities, labels, message) : result;
}

const engine fer_openvino_engine = {"openvino", open_session, run, close_session};
