/* Fuzz target: any numbers as a face in small frames of any size, format and direction of the rows. */
#include <stdlib.h>
#include <string.h>

#include "../src/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t result[CROP_BYTES];
    fer_face face;
    fer_message message;
    if (size != sizeof face + 4) return -1;
    memcpy(&face, data, sizeof face);
    face.kind = data[sizeof face] % 3;
    const int format = data[sizeof face + 1] % 5, step = format == FER_GREY ? 1 : format < FER_RGBA ? 3 : 4;
    const int width = 1 + data[sizeof face + 2], height = 1 + data[sizeof face + 3];
    uint8_t *pixels = calloc((size_t)(width * height), (size_t)step); /* exact, so that reads beyond it are reported */
    if (pixels == NULL) return -1;
    fer_frame frame = {pixels, 0, width, height, format};
    if (data[sizeof face] & 128) {
        frame.stride = -(ptrdiff_t)(width * step);
        frame.pixels = pixels + (height - 1) * width * step;
    }
    fer_crop(&frame, &face, result, &message);
    free(pixels);
    return 0;
}
