/* Frames, face boxes, and the square of a frame that a box selects: the rules of fer_edge/boxes.py. */
#include <math.h>
#include <stdlib.h>

#include "internal.h"

static const double MIN_SIDE = 4, MAX_RATIO = 8, MAX_FRACTION = 1.5, MIN_INSIDE = 0.4;
static const double MAX_WIDE = 1.5, MAX_TALL = 2.0, MIN_FACE_RATIO = 0.8, MAX_FACE_RATIO = 1.6;

fer_status fer_view_frame(const fer_frame *frame, view *result, fer_message *message) {
    static const struct {
        int step, channels[3];
    } formats[] = {{3, {0, 1, 2}}, {3, {2, 1, 0}}, {4, {0, 1, 2}}, {4, {2, 1, 0}}, {1, {0, 0, 0}}};
    if (frame == NULL || frame->pixels == NULL)
        return fer_fail(message, FER_ERROR_ARGUMENT, "the frame or its pixels are NULL; expected an image");
    if (frame->width < 1 || frame->height < 1 || frame->width > FER_MAX_SIDE || frame->height > FER_MAX_SIDE)
        return fer_fail(message, FER_ERROR_ARGUMENT, "the frame has %d x %d pixels; expected sides of 1 to %d",
                        (int)frame->width, (int)frame->height, FER_MAX_SIDE);
    if (frame->format < FER_RGB || frame->format > FER_GREY)
        return fer_fail(message, FER_ERROR_ARGUMENT, "the frame has format %d; expected FER_RGB, FER_BGR, FER_RGBA, "
                        "FER_BGRA or FER_GREY", (int)frame->format);
    const int step = formats[frame->format].step;
    const ptrdiff_t row = (ptrdiff_t)frame->width * step, stride = frame->stride == 0 ? row : frame->stride;
    if (stride < row && stride > -row)
        return fer_fail(message, FER_ERROR_ARGUMENT, "the frame has a stride of %td bytes; expected at least %td, the "
                        "bytes of its rows, or 0", stride, row);
    const int *channels = formats[frame->format].channels;
    *result = (view){frame->pixels, stride, frame->width, frame->height, step,
                     {channels[0], channels[1], channels[2]}};
    return FER_OK;
}

/* Refuse a box; problem: the end of the message. */
static fer_status refuse(const fer_face *box, const char *problem, fer_message *message) {
    return fer_fail(message, FER_ERROR_ARGUMENT, "box (%.6g, %.6g, %.6g, %.6g) %s", box->x, box->y, box->width,
                    box->height, problem);
}

static bool are_corners(double left, double top, double right, double bottom, const view *frame) {
    const double w = right - left, h = bottom - top;
    return left >= 0 && top >= 0 && right <= frame->width + 1 && bottom <= frame->height + 1 &&
           fmin(w, h) >= MIN_SIDE && h / w >= MIN_FACE_RATIO && h / w <= MAX_FACE_RATIO;
}

/* Return whether a box is mostly outside the frame, or far wider or taller than a face. */
static bool is_implausible(const fer_face *box, const view *frame) {
    const double x = box->x, y = box->y, w = box->width, h = box->height;
    const double inside = fmax(0, fmin(frame->width, x + w) - fmax(0, x)) *
                          fmax(0, fmin(frame->height, y + h) - fmax(0, y));
    return inside < MIN_INSIDE * w * h || (w >= MAX_WIDE * h && y > 1 && y + h < frame->height - 1) ||
           (h >= MAX_TALL * w && x > 1 && x + w < frame->width - 1);
}

/* Refuse a box that is almost certainly not x, y, width, height in pixels. */
static fer_status check_plausible(const fer_face *box, const view *frame, fer_message *message) {
    const double x = box->x, y = box->y, w = box->width, h = box->height, smaller = fmin(w, h);
    if (smaller <= 0) return FER_OK; /* fer_find_region refuses it */
    if (fmax(fmax(fabs(x), fabs(y)), fmax(w, h)) <= MAX_FRACTION)
        return refuse(box, "looks like fractions of the frame; expected pixels: multiply them by its width and height",
                      message);
    if (smaller < MIN_SIDE)
        return refuse(box, "is smaller than 4 pixels; expected the box of a face: x, y, width, height in pixels",
                      message);
    if (is_implausible(box, frame) && (are_corners(x, y, w, h, frame) || are_corners(h, x, y, w, frame)))
        return refuse(box, "looks like corners; expected x, y, width, height in pixels", message);
    return FER_OK;
}

static region find_square(int left, int top, int right, int bottom, const view *frame) {
    const int w = right - left, h = bottom - top, side = w > h ? w : h;
    left -= (side - w) / 2;
    top -= (side - h) / 2;
    return (region){.left = left, .top = top, .side = side,
                    .x0 = left > 0 ? left : 0, .x1 = left + side < frame->width ? left + side : frame->width,
                    .y0 = top > 0 ? top : 0, .y1 = top + side < frame->height ? top + side : frame->height,
                    .face_width = frame->width, .face_height = frame->height, .share = 1};
}

fer_status fer_find_region(const view *frame, const fer_face *face, region *result, fer_message *message) {
    const double x = face->x, y = face->y, w = face->width, h = face->height;
    if (face->kind == FER_WHOLE_FRAME) {
        *result = find_square(0, 0, frame->width, frame->height, frame);
        return FER_OK;
    }
    if (face->kind != FER_BOX && face->kind != FER_POINTS)
        return fer_fail(message, FER_ERROR_ARGUMENT, "the kind of the face is %d; expected FER_WHOLE_FRAME, FER_BOX or "
                        "FER_POINTS", (int)face->kind);
    if (!isfinite(x) || !isfinite(y) || !isfinite(w) || !isfinite(h))
        return refuse(face, "is not finite; expected x, y, width, height in pixels", message);
    if (face->kind == FER_BOX) {
        const fer_status status = check_plausible(face, frame, message);
        if (status != FER_OK) return status;
    }
    if (w <= 0 || h <= 0) return refuse(face, "is empty; expected a positive width and height in pixels", message);
    if (fmax(w, h) > MAX_RATIO * fmax(frame->width, frame->height))
        return refuse(face, "is more than 8 times as large as the frame; expected pixels of one face", message);
    const double inside_w = fmin(frame->width, x + w) - fmax(0, x), inside_h = fmin(frame->height, y + h) - fmax(0, y);
    if (inside_w <= 0 || inside_h <= 0) return refuse(face, "is outside of the frame; expected pixels of it", message);
    *result = find_square((int)floor(x), (int)floor(y), (int)ceil(x + w), (int)ceil(y + h), frame);
    result->face_width = inside_w;
    result->face_height = inside_h;
    result->share = inside_w / w * (inside_h / h);
    return FER_OK;
}
