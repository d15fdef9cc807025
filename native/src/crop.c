/* Resampling of upright squares: the pixels of Pillow's bilinear filter, horizontally and then vertically. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { BITS = 22 }; /* of a weight's fraction, as in Pillow */

/* Samples of the square below one pixel of the crop, and their weights. */
typedef struct samples {
    int start, count;
} samples;

static double triangle(double distance) {
    distance = fabs(distance);
    return distance < 1 ? 1 - distance : 0;
}

/* Compute the weights of a row of the crop; its columns have the same. */
static bool find_weights(int side, scratch *memory, samples *places, int *taps) {
    const double scale = side / (double)SIDE, support = scale < 1 ? 1 : scale, inverse = 1 / support;
    *taps = (int)ceil(support) * 2 + 1;
    const size_t needed = (size_t)*taps * SIDE;
    if (memory->capacity < needed) {
        int32_t *weights = realloc(memory->weights, needed * sizeof *weights);
        if (weights == NULL) return false;
        memory->weights = weights;
        memory->capacity = needed;
    }
    for (int i = 0; i < SIDE; i++) {
        const double centre = (i + 0.5) * scale;
        int start = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        if (start < 0) start = 0;
        if (end > side) end = side;
        double total = 0;
        for (int x = start; x < end; x++) total += triangle((x - centre + 0.5) * inverse);
        for (int x = start; x < end; x++)
            memory->weights[i * *taps + x - start] =
                (int32_t)(0.5 + triangle((x - centre + 0.5) * inverse) / total * (1 << BITS));
        places[i] = (samples){start, end - start};
    }
    return true;
}

/* Resample one row of the square to the width of the crop; pixels beyond the frame are black. */
static void resample_row(const view *frame, const region *square, int y, const int32_t *weights, int taps,
                         const samples *places, uint8_t *row) {
    const int red = frame->channels[0], green = frame->channels[1], blue = frame->channels[2], step = frame->step;
    const uint8_t *pixels = frame->pixels + y * frame->stride;
    const int first = square->x0 - square->left, last = square->x1 - square->left;
    for (int i = 0; i < SIDE; i++, row += 3) {
        const int start = places[i].start, end = start + places[i].count;
        const int32_t *weight = weights + i * taps;
        int32_t sums[3] = {1 << (BITS - 1), 1 << (BITS - 1), 1 << (BITS - 1)};
        for (int x = start > first ? start : first; x < (end < last ? end : last); x++) {
            const uint8_t *pixel = pixels + (ptrdiff_t)(square->left + x) * step;
            sums[0] += weight[x - start] * pixel[red];
            sums[1] += weight[x - start] * pixel[green];
            sums[2] += weight[x - start] * pixel[blue];
        }
        for (int c = 0; c < 3; c++) row[c] = (uint8_t)(sums[c] >> BITS);
    }
}

/* Rows are added to the sums of the crop's rows below them, so that memory does not depend on the frame. */
static bool resample_square(const view *frame, const region *square, scratch *memory, uint8_t *crop) {
    samples places[SIDE];
    uint8_t row[CROP_ROW];
    int taps;
    if (!find_weights(square->side, memory, places, &taps)) return false;
    for (int i = 0; i < CROP_BYTES; i++) memory->sums[i] = 1 << (BITS - 1);
    for (int y = square->y0, first = 0; y < square->y1; y++) {
        const int place = y - square->top;
        resample_row(frame, square, y, memory->weights, taps, places, row);
        while (first < SIDE && places[first].start + places[first].count <= place) first++;
        for (int i = first; i < SIDE && places[i].start <= place; i++) {
            const int32_t weight = memory->weights[i * taps + place - places[i].start];
            int32_t *sums = memory->sums + i * CROP_ROW;
            for (int x = 0; x < CROP_ROW; x++) sums[x] += weight * row[x];
        }
    }
    for (int i = 0; i < CROP_BYTES; i++) crop[i] = (uint8_t)(memory->sums[i] >> BITS);
    return true;
}

fer_status fer_write_crop(const view *frame, const fer_face *face, const region *square, scratch *memory, uint8_t *crop,
                          fer_message *message) {
    similarity to_frame;
    if (face->kind == FER_POINTS) {
        for (int i = 0; i < 5; i++)
            if (!isfinite(face->points[i][0]) || !isfinite(face->points[i][1]))
                return fer_fail(message, FER_ERROR_ARGUMENT, "point %d of the face is not finite; expected x, y in "
                                "pixels", i);
        if (fer_find_alignment(face, &to_frame)) {
            fer_align(frame, &to_frame, memory, crop);
            return FER_OK;
        }
    }
    if (!resample_square(frame, square, memory, crop))
        return fer_fail(message, FER_ERROR_MEMORY, "not enough memory to resample a face of %d pixels", square->side);
    return FER_OK;
}
