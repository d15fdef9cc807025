/* Expression of a face in a PPM image: recognize_ppm edge.fer photo.ppm [x y width height] */
#include <fer_edge.h>
#include <stdio.h>
#include <stdlib.h>

/* Read a binary PPM image of 8 bits; NULL pixels after a failure. */
static fer_frame read_ppm(const char *path) {
    fer_frame frame = {0};
    FILE *file = fopen(path, "rb");
    int width, height;
    if (file == NULL) return frame;
    if (fscanf(file, "P6 %d %d 255", &width, &height) == 2 && fgetc(file) != EOF && width > 0 && height > 0 &&
        width <= FER_MAX_SIDE && height <= FER_MAX_SIDE) {
        const size_t bytes = (size_t)width * (size_t)height * 3;
        uint8_t *pixels = malloc(bytes);
        if (pixels != NULL && fread(pixels, 1, bytes, file) == bytes)
            frame = (fer_frame){.pixels = pixels, .width = width, .height = height, .format = FER_RGB};
        else
            free(pixels);
    }
    fclose(file);
    return frame;
}

int main(int count, char **arguments) {
    if (count != 3 && count != 7) {
        fprintf(stderr, "usage: %s BUNDLE IMAGE.ppm [X Y WIDTH HEIGHT]\n", arguments[0]);
        return 2;
    }
    fer_message message;
    fer_recognizer *recognizer;
    fer_expression expression;
    fer_face face = {.kind = FER_WHOLE_FRAME};
    if (count == 7)
        face = (fer_face){.kind = FER_BOX, .x = atof(arguments[3]), .y = atof(arguments[4]),
                          .width = atof(arguments[5]), .height = atof(arguments[6])};
    const fer_frame frame = read_ppm(arguments[2]);
    // --8<-- [start:recognize]
    fer_status status = fer_open(arguments[1], NULL, &recognizer, &message);
    if (status == FER_OK) status = fer_recognize(recognizer, &frame, &face, 1, &expression, NULL, &message);
    if (status == FER_OK) {
        printf("%s, score %.3f\n", fer_label(recognizer, expression.label), (double)expression.score);
        for (int warning = FER_SMALL; warning <= FER_BLURRED; warning *= 2)
            if (expression.warnings & warning) printf("warning: %s\n", fer_describe_warning(warning));
    } else {
        fprintf(stderr, "%s\n", message.text);
    }
    fer_close(recognizer);
    // --8<-- [end:recognize]
    free((void *)frame.pixels);
    return status == FER_OK ? 0 : 1;
}
