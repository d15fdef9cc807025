/* fer-edge: facial expressions of faces in frames, from a bundle (.fer).
 *
 * Every function that can fail returns a status and writes one sentence to its last argument, which may be NULL.
 * The library prints nothing, writes no file and opens no socket. Therefore the first recognizer on ONNX Runtime sets
 * the environment variable ORT_DISABLE_TELEMETRY if it is not set: set it before, or open that recognizer before other
 * threads read the environment.
 *
 * A recognizer is used by one thread at a time; different recognizers run in parallel.
 */
#ifndef FER_EDGE_H
#define FER_EDGE_H

#include <stddef.h>
#include <stdint.h>

#if defined(FER_EDGE_STATIC)
#define FER_API
#elif defined(_WIN32) && defined(FER_EDGE_BUILD)
#define FER_API __declspec(dllexport)
#elif defined(_WIN32)
#define FER_API __declspec(dllimport)
#else
#define FER_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define FER_ABI_VERSION 1    /* changes with every incompatible change of this header */
#define FER_CROP_SIZE 112    /* side of a crop in pixels; a crop is RGB, uint8, 112 x 112 x 3 */
#define FER_MAX_SIDE 16384   /* largest width and height of a frame, in pixels */
#define FER_MIN_SCORE 0.58   /* score below which a label is not certain, as in the Python package */

typedef enum fer_status {
    FER_OK = 0,
    FER_ERROR_ARGUMENT = 1, /* invalid argument, frame or face */
    FER_ERROR_FILE = 2,     /* file that cannot be read */
    FER_ERROR_BUNDLE = 3,   /* file that is not a bundle, is damaged, or has no engine of this library */
    FER_ERROR_VERSION = 4,  /* bundle format that this version does not read */
    FER_ERROR_ENGINE = 5,   /* failure of the engine */
    FER_ERROR_MEMORY = 6,   /* not enough memory */
    FER_ERROR_VALUES = 7,   /* NaN or infinity in the outputs of the model */
    FER_ERROR_SIGNATURE = 8 /* signature that is missing, invalid, by another key, or of another file */
} fer_status;

typedef struct fer_message {
    char text[512]; /* UTF-8, terminated by zero */
} fer_message;

typedef struct fer_options {
    const char *engine; /* "onnxruntime" or "openvino"; NULL: the first one of this library that the bundle lists */
    int32_t threads;    /* CPU threads of an inference, 1 to 1024; 0: the engine's default */
    int32_t batch;      /* faces of one inference, up to the bundle's largest batch; 0: 1. More faces run in turns. */
} fer_options;

typedef enum fer_format { FER_RGB = 0, FER_BGR = 1, FER_RGBA = 2, FER_BGRA = 3, FER_GREY = 4 } fer_format;

typedef struct fer_frame {
    const uint8_t *pixels; /* first pixel of the upper row; alpha is ignored */
    ptrdiff_t stride;      /* bytes from a row to the one below; negative if rows are stored bottom-up; 0: no padding */
    int32_t width, height; /* pixels, 1 to FER_MAX_SIDE */
    int32_t format;        /* fer_format */
} fer_frame;

typedef enum fer_face_kind {
    FER_WHOLE_FRAME = 0, /* the frame is a face crop */
    FER_BOX = 1,         /* face box */
    FER_POINTS = 2       /* face box and five points, by which the crop is aligned */
} fer_face_kind;

typedef struct fer_face {
    double x, y, width, height; /* face box in pixels; extended to a square, pixels beyond the frame are black */
    double points[5][2]; /* left eye, right eye, tip of the nose, left and right corner of the mouth, as in the image */
    int32_t kind;        /* fer_face_kind */
    int32_t reserved;
} fer_face;

typedef enum fer_warning { /* reasons not to trust a label; the limits are those of the Python package */
    FER_SMALL = 1,         /* a side of the face has fewer than 24 pixels */
    FER_CUT_OFF = 2,       /* less than half of the face box is inside the frame */
    FER_NO_CONTRAST = 4,   /* there may be no face */
    FER_NOISE = 8,         /* noise instead of an image */
    FER_BLURRED = 16
} fer_warning;

typedef struct fer_quality {
    double width, height; /* part of the face box inside the frame, in pixels */
    double share;         /* share of the face box's area inside the frame, 0 to 1 */
    double contrast;      /* standard deviation of luma, 0 to 128 */
    double noise;         /* 0 for a smooth image, 2 for noise */
    double sharpness;     /* 0 for a blurred image */
} fer_quality;

typedef struct fer_expression {
    fer_quality quality;
    int32_t status;   /* fer_status of this face; on FER_ERROR_ARGUMENT all other fields are zero */
    int32_t label;    /* index of the label with the highest probability */
    float score;      /* its probability, 0 to 1 */
    int32_t certain;  /* 1 if the score is at least FER_MIN_SCORE and there is no warning */
    int32_t warnings; /* sum of fer_warning */
    int32_t reserved;
} fer_expression;

typedef struct fer_recognizer fer_recognizer;

/* Return FER_ABI_VERSION of the library; compare it with that of the header. */
FER_API uint32_t fer_abi_version(void);

/* Return the version of the library, such as "0.1.0". */
FER_API const char *fer_version(void);

/* Check every member of a bundle, load its model and run it once.
 *
 * path: Path of the bundle, in UTF-8.
 * options: Options; NULL: the defaults.
 * recognizer: The new recognizer, to be closed by fer_close; NULL after a failure.
 */
FER_API fer_status fer_open(const char *path, const fer_options *options, fer_recognizer **recognizer,
                            fer_message *message);

/* Open a bundle in memory, which may be freed afterwards; for files inside packages of an app. */
FER_API fer_status fer_open_memory(const void *data, size_t size, const fer_options *options,
                                   fer_recognizer **recognizer, fer_message *message);

/* Open a bundle only if a key has signed it. The signature, "PATH.sig" beside the bundle, is verified before the bundle
 * is parsed. The library must be built with FER_EDGE_SIGNATURES; without it, every bundle is refused.
 *
 * public_key: ECDSA P-256 key: the text of its PEM file.
 */
FER_API fer_status fer_open_signed(const char *path, const char *public_key, const fer_options *options,
                                   fer_recognizer **recognizer, fer_message *message);

/* Open a bundle in memory only if a key has signed it; bundle and signature may be freed afterwards. */
FER_API fer_status fer_open_signed_memory(const void *data, size_t size, const void *signature, size_t signature_size,
                                          const char *public_key, const fer_options *options,
                                          fer_recognizer **recognizer, fer_message *message);

/* Release a recognizer; NULL is allowed. */
FER_API void fer_close(fer_recognizer *recognizer);

/* Return the number of labels of the model. */
FER_API int32_t fer_label_count(const fer_recognizer *recognizer);

/* Return a label in UTF-8, which is valid until fer_close; NULL for an index out of range. */
FER_API const char *fer_label(const fer_recognizer *recognizer, int32_t index);

/* Return the name of the engine that runs the model: "onnxruntime" or "openvino". */
FER_API const char *fer_engine(const fer_recognizer *recognizer);

/* Recognise the expressions of faces of one frame.
 *
 * faces: Faces, count of them.
 * expressions: Array for the result of each face.
 * probabilities: Array for count x labels probabilities, each row sums to 1; NULL: they are not returned.
 *
 * If some faces are refused, the status is FER_ERROR_ARGUMENT, the message describes the first of them, and the other
 * expressions are valid. After another error none is.
 */
FER_API fer_status fer_recognize(fer_recognizer *recognizer, const fer_frame *frame, const fer_face *faces,
                                 size_t count, fer_expression *expressions, float *probabilities,
                                 fer_message *message);

/* Write the crop of a face, as the model receives it: RGB, FER_CROP_SIZE x FER_CROP_SIZE x 3 bytes. */
FER_API fer_status fer_crop(const fer_frame *frame, const fer_face *face, uint8_t *crop, fer_message *message);

/* Return the description of one fer_warning; an empty text for another value. */
FER_API const char *fer_describe_warning(int32_t warning);

#ifdef __cplusplus
}
#endif

#endif
