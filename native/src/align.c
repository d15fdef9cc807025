/* Crops aligned by eyes and corners of the mouth: the rules and pixels of fer_edge/faces/face.py and geometry.py. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* Rows of fer_face.points, and their places in a crop. */
static const int ALIGNED[4] = {0, 1, 3, 4};
static const double TARGET[4][2] = {{34.4, 42.1}, {77.6, 42.1}, {38.1, 87.7}, {73.9, 87.7}};
static const double MAX_ERROR = 0.5, MIN_BOX_RATIO = 0.5, MAX_BOX_RATIO = 2;

/* Return the scalar product of four numbers, added in the order of NumPy. On points that map to whole pixels, the last
 * bit decides whether a pixel is truncated to the level below. */
static double product(const double *x, const double *y) {
    return (x[0] * y[0] + x[2] * y[2]) + (x[1] * y[1] + x[3] * y[3]);
}

/* Compute the similarity with the smallest squared distances from the points to their places in the crop. */
static bool fit_points(const fer_face *face, similarity *to_crop) {
    double x[4], y[4], u[4], v[4], x_mean = 0, y_mean = 0, u_mean = 0, v_mean = 0;
    for (int i = 0; i < 4; i++) {
        x_mean += face->points[ALIGNED[i]][0] / 4;
        y_mean += face->points[ALIGNED[i]][1] / 4;
        u_mean += TARGET[i][0] / 4;
        v_mean += TARGET[i][1] / 4;
    }
    for (int i = 0; i < 4; i++) {
        x[i] = face->points[ALIGNED[i]][0] - x_mean;
        y[i] = face->points[ALIGNED[i]][1] - y_mean;
        u[i] = TARGET[i][0] - u_mean;
        v[i] = TARGET[i][1] - v_mean;
    }
    const double square = product(x, x) + product(y, y);
    double a = product(x, u) + product(y, v), b = product(x, v) - product(y, u);
    if (!(square > 0 && hypot(a, b) > 0)) return false;
    a /= square;
    b /= square;
    *to_crop = (similarity){a, b, u_mean - a * x_mean + b * y_mean, v_mean - b * x_mean - a * y_mean};
    return true;
}

/* Compute the similarity from the aligned crop to the frame; false if the points do not look like a face. */
bool fer_find_alignment(const fer_face *face, similarity *to_frame) {
    similarity to_crop;
    if (!fit_points(face, &to_crop)) return false;
    const double a = to_crop.a, b = to_crop.b, c = to_crop.c, d = to_crop.d;
    double error = 0;
    for (int i = 0; i < 4; i++) {
        const double x = face->points[ALIGNED[i]][0], y = face->points[ALIGNED[i]][1];
        const double right = a * x - b * y + c - TARGET[i][0], down = b * x + a * y + d - TARGET[i][1];
        error += right * right + down * down;
    }
    const double ratio = SIDE / hypot(a, b) / fmax(face->width, face->height);
    if (!(sqrt(error / 4) <= MAX_ERROR * (TARGET[1][0] - TARGET[0][0])) || !(ratio >= MIN_BOX_RATIO) ||
        !(ratio <= MAX_BOX_RATIO))
        return false;
    const double square = a * a + b * b, p = a / square, q = -b / square;
    *to_frame = (similarity){p, q, q * d - p * c, -q * c - p * d};
    return true;
}

/* Reduce a part of a frame by a whole factor; each pixel is the rounded mean of its block, as in Pillow. */
static view reduce(const view *part, int factor, uint8_t *pixels) {
    const view result = {pixels, (part->width + factor - 1) / factor * 3, (part->width + factor - 1) / factor,
                         (part->height + factor - 1) / factor, 3, {0, 1, 2}};
    for (int y = 0; y < part->height; y += factor)
        for (int x = 0; x < part->width; x += factor) {
            const int right = x + factor < part->width ? x + factor : part->width;
            const int bottom = y + factor < part->height ? y + factor : part->height;
            const uint32_t count = (uint32_t)((right - x) * (bottom - y));
            const uint32_t multiplier = (uint32_t)((float)(1 << 30) * 4 / (float)(count << 8));
            uint32_t sums[3] = {count / 2, count / 2, count / 2};
            for (int row = y; row < bottom; row++) {
                const uint8_t *pixel = part->pixels + row * part->stride + (ptrdiff_t)x * part->step;
                for (int column = x; column < right; column++, pixel += part->step)
                    for (int i = 0; i < 3; i++) sums[i] += pixel[part->channels[i]];
            }
            for (int i = 0; i < 3; i++) *pixels++ = (uint8_t)((sums[i] * multiplier) >> 24);
        }
    return result;
}

static void interpolate(const view *part, double x, double y, uint8_t *pixel) {
    if (x < 0 || x >= part->width || y < 0 || y >= part->height) {
        memset(pixel, 0, 3);
        return;
    }
    const int left = (int)floor(x - 0.5), top = (int)floor(y - 0.5);
    const double dx = x - 0.5 - left, dy = y - 0.5 - top;
    const ptrdiff_t x0 = (ptrdiff_t)(left < 0 ? 0 : left) * part->step;
    const ptrdiff_t x1 = (ptrdiff_t)(left + 1 < part->width ? left + 1 : part->width - 1) * part->step;
    const uint8_t *upper = part->pixels + (top < 0 ? 0 : top) * part->stride;
    const uint8_t *lower = part->pixels + (top + 1 < part->height ? top + 1 : top) * part->stride;
    for (int i = 0; i < 3; i++) {
        const int channel = part->channels[i];
        const double above = upper[x0 + channel] + (upper[x1 + channel] - upper[x0 + channel]) * dx;
        const double below = lower[x0 + channel] + (lower[x1 + channel] - lower[x0 + channel]) * dx;
        pixel[i] = (uint8_t)(above + (below - above) * dy);
    }
}

/* Resample a turned square of a frame, bilinear; pixels beyond the frame are black. */
void fer_align(const view *frame, const similarity *to_frame, scratch *memory, uint8_t *crop) {
    const double a = to_frame->a, b = to_frame->b, scale = hypot(a, b);
    const int factor = scale < 1 ? 1 : (int)scale, margin = 2 * factor;
    double low_x = INFINITY, low_y = INFINITY, high_x = -INFINITY, high_y = -INFINITY;
    for (int corner = 0; corner < 4; corner++) {
        const double u = corner & 1 ? SIDE : 0, v = corner & 2 ? SIDE : 0;
        const double x = a * u - b * v + to_frame->c, y = b * u + a * v + to_frame->d;
        low_x = fmin(low_x, x);
        high_x = fmax(high_x, x);
        low_y = fmin(low_y, y);
        high_y = fmax(high_y, y);
    }
    const double left = fmax(0, floor(low_x) - margin), right = fmin(frame->width, ceil(high_x) + margin);
    const double top = fmax(0, floor(low_y) - margin), bottom = fmin(frame->height, ceil(high_y) + margin);
    if (!(left < right && top < bottom)) {
        memset(crop, 0, CROP_BYTES);
        return;
    }
    view part = *frame;
    part.pixels += (ptrdiff_t)top * frame->stride + (ptrdiff_t)left * frame->step;
    part.width = (int)(right - left);
    part.height = (int)(bottom - top);
    /* A reduced square has a side below 112 * 1.5 * 1.42 + 6 pixels, since the scale is below 1.5 times the factor. */
    if (factor > 1) part = reduce(&part, factor, memory->reduced);
    const double p = a / factor, q = b / factor, x0 = (to_frame->c - left) / factor, y0 = (to_frame->d - top) / factor;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++, crop += 3)
            interpolate(&part, p * (x + 0.5) + -q * (y + 0.5) + x0, q * (x + 0.5) + p * (y + 0.5) + y0, crop);
}
