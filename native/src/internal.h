/* Declarations shared by the sources of the library. */
#ifndef FER_EDGE_INTERNAL_H
#define FER_EDGE_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "fer_edge.h"

enum {
    SIDE = FER_CROP_SIZE,
    CROP_ROW = SIDE * 3,         /* bytes of a row of a crop */
    CROP_BYTES = SIDE * CROP_ROW,
    MAX_SIGNATURE_BYTES = 64 << 10,
    REDUCED_SIDE = 256           /* a reduced square has fewer pixels per side, see align.c */
};

/* Square of a frame that a face box selects. */
typedef struct region {
    int left, top, side;                    /* pixels; left and top are negative if it extends beyond the frame */
    int x0, y0, x1, y1;                     /* part inside the frame */
    double face_width, face_height, share;  /* see fer_quality */
} region;

/* Rotation, uniform scale and shift: x' = a x - b y + c, y' = b x + a y + d. */
typedef struct similarity {
    double a, b, c, d;
} similarity;

/* Pixels of a frame or of a part of it. */
typedef struct view {
    const uint8_t *pixels;
    ptrdiff_t stride;
    int width, height;
    int step;        /* bytes of a pixel */
    int channels[3]; /* offsets of red, green and blue in a pixel */
} view;

/* Memory of the resampling functions, reused from face to face. */
typedef struct scratch {
    int32_t *weights; /* of the samples below each pixel of a crop's row, SIDE x taps */
    size_t capacity;  /* number of weights that fit */
    int32_t sums[CROP_BYTES];
    uint8_t reduced[REDUCED_SIDE * REDUCED_SIDE * 3];
} scratch;

static const uint64_t MAX_BUNDLE_BYTES = (uint64_t)4 << 30;

/* Checked bundle in the memory of the caller. */
typedef struct bundle {
    const uint8_t *model; /* model.onnx */
    size_t model_size;
    json_t *manifest;
    const json_t *labels;
    int max_batch;
} bundle;

/* Bundle that is not checked yet, and its signature. */
typedef struct signed_file {
    const char *name, *signature_name; /* for messages */
    const uint8_t *data, *signature;
    size_t size, signature_size;
    bool has_path; /* the name is a path */
} signed_file;

typedef struct session session; /* defined by each engine */

/* An engine; the only interface between the recognizer and the library that runs the model. */
typedef struct engine {
    const char *name; /* as in manifests */
    fer_status (*open)(session **result, const bundle *source, int threads, bool batches, fer_message *message);
    /* images: count crops; probabilities: array for count x labels values. */
    fer_status (*run)(session *opened, uint8_t *images, size_t count, float *probabilities, size_t labels,
                      fer_message *message);
    void (*close)(session *opened);
} engine;

extern const engine fer_onnxruntime_engine, fer_openvino_engine;

#if defined(__GNUC__) && !defined(_WIN32)
__attribute__((format(printf, 3, 4)))
#endif
fer_status fer_fail(fer_message *message, fer_status status, const char *format, ...);

/* Read a regular file of at most `limit` bytes. */
fer_status fer_read_file(const char *path, uint64_t limit, uint8_t **data, size_t *size, fer_message *message);
fer_status fer_check_signature(const signed_file *file, const char *public_key, fer_message *message);
fer_status fer_read_bundle(const char *name, const uint8_t *data, size_t size, bundle *result, fer_message *message);
bool fer_bundle_lists(const bundle *source, const char *engine_name);

fer_status fer_view_frame(const fer_frame *frame, view *result, fer_message *message);
fer_status fer_find_region(const view *frame, const fer_face *face, region *result, fer_message *message);
fer_status fer_write_crop(const view *frame, const fer_face *face, const region *square, scratch *memory, uint8_t *crop,
                          fer_message *message);
bool fer_find_alignment(const fer_face *face, similarity *to_frame);
void fer_align(const view *frame, const similarity *to_frame, scratch *memory, uint8_t *crop);

fer_quality fer_measure_quality(const region *square, const uint8_t *crop);
int32_t fer_find_warnings(const fer_quality *quality);

#endif
