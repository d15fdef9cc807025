/* Fuzz target: any bytes as a bundle, up to the decision to load its model. */
#include "../src/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bundle source = {0};
    fer_message message;
    if (fer_read_bundle("fuzz.fer", data, size, &source, &message) == FER_OK) fer_bundle_lists(&source, "onnxruntime");
    json_decref(source.manifest);
    return 0;
}
