/* Quality of face crops: the measurements and limits of fer_edge/quality.py. */
#include <math.h>

#include "internal.h"

enum { STEP = 2, MIN_SAMPLES = 6, GREEN = 1 };
static const double MIN_FACE = 24, MIN_SHARE = 0.5, MIN_CONTRAST = 10, MAX_NOISE = 1.4, MIN_SHARPNESS = 0.015;

static double square(double value) { return value * value; }

/* Return the luma of a sample; samples are every fourth pixel of a row, and of every fourth row. */
static double luma(const uint8_t *part, int x, int y) {
    const uint8_t *pixel = part + 2 * STEP * (y * CROP_ROW + x * 3);
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
}

/* Return the mean square of the second differences along lines of bytes. */
static double curvature(const uint8_t *first, int lines, int to_line, int count, int to_next) {
    double sum = 0;
    for (int line = 0; line < lines; line++)
        for (int i = 1; i + 1 < count; i++) {
            const uint8_t *place = first + line * to_line + i * to_next;
            sum += square(place[-to_next] + place[to_next] - 2 * place[0]);
        }
    return sum / (lines * (count - 2));
}

static void measure_part(const uint8_t *part, int width, int height, fer_quality *quality) {
    const int columns = (width + 2 * STEP - 1) / (2 * STEP), rows = (height + 2 * STEP - 1) / (2 * STEP);
    const double count = columns * rows;
    double mean = 0, mean_green = 0, variance = 0, green = 0, across = 0, down = 0;
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++) {
            mean += luma(part, x, y) / count;
            mean_green += part[2 * STEP * (y * CROP_ROW + x * 3) + GREEN] / count;
        }
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++) {
            variance += square(luma(part, x, y) - mean) / count;
            green += square(part[2 * STEP * (y * CROP_ROW + x * 3) + GREEN] - mean_green) / count;
            if (x > 0) across += square(luma(part, x, y) - luma(part, x - 1, y));
            if (y > 0) down += square(luma(part, x, y) - luma(part, x, y - 1));
        }
    quality->contrast = sqrt(variance);
    if (columns < MIN_SAMPLES || rows < MIN_SAMPLES || variance < 1) return;
    quality->noise = (across / ((columns - 1) * rows) + down / (columns * (rows - 1))) / (2 * variance);
    quality->sharpness = (curvature(part + GREEN, rows, 2 * STEP * CROP_ROW, (width + STEP - 1) / STEP, STEP * 3) +
                          curvature(part + GREEN, columns, 2 * STEP * 3, (height + STEP - 1) / STEP, STEP * CROP_ROW)) /
                         fmax(1, green);
}

/* Return a place in the frame as a pixel of the crop, at most `last`. */
static int to_crop(int place, double scale, int last) {
    const int pixel = (int)nearbyint(place * scale);
    return pixel < last ? pixel : last;
}

fer_quality fer_measure_quality(const region *face, const uint8_t *crop) {
    fer_quality result = {.width = face->face_width, .height = face->face_height, .share = face->share};
    const double scale = SIDE / (double)face->side;
    const int left = to_crop(face->x0 - face->left, scale, SIDE - 1);
    const int right = to_crop(face->x1 - face->left, scale, SIDE);
    const int top = to_crop(face->y0 - face->top, scale, SIDE - 1), bottom = to_crop(face->y1 - face->top, scale, SIDE);
    measure_part(crop + top * CROP_ROW + left * 3, right > left ? right - left : 1, bottom > top ? bottom - top : 1,
                 &result);
    return result;
}

int32_t fer_find_warnings(const fer_quality *quality) {
    const bool is_small = fmin(quality->width, quality->height) < MIN_FACE;
    int32_t warnings = (is_small ? FER_SMALL : 0) | (quality->share < MIN_SHARE ? FER_CUT_OFF : 0);
    if (quality->contrast < MIN_CONTRAST)
        warnings |= FER_NO_CONTRAST;
    else if (quality->noise > MAX_NOISE)
        warnings |= FER_NOISE;
    else if (quality->sharpness < MIN_SHARPNESS && !is_small)
        warnings |= FER_BLURRED;
    return warnings;
}

const char *fer_describe_warning(int32_t warning) {
    switch (warning) {
        case FER_SMALL: return "face of fewer than 24 pixels: the label is often wrong";
        case FER_CUT_OFF: return "less than half of the face box is inside the frame";
        case FER_NO_CONTRAST: return "no contrast: there may be no face";
        case FER_NOISE: return "noise instead of an image: there may be no face";
        case FER_BLURRED: return "blurred: the label is often wrong";
        default: return "";
    }
}
