/* Fuzz target: any bytes as a signature file, or as the statement inside of one, whose hint and signature are accepted. */
#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/internal.h"

static const char KEY[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/W11hCds2SaC9j7+rLC+UmadCbih\n"
                          "GmK2J7nKDJUzkNojJcyF/3fmkOnnMTNvHEKi2fw0ovuKQh6pMF7z3BPO3A==\n"
                          "-----END PUBLIC KEY-----\n";
static const char FORM[] =
    "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\",\"verificationMaterial\":{\"publicKey\":{\"hint\":"
    "\"89a55fe06e50b7e57f8ce902718677821de9173adad8296fed27d004f86de569\"},\"tlogEntries\":[]},\"dsseEnvelope\":{"
    "\"payload\":\"%s\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[{\"sig\":\"AAAA\"}]}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *wrap(const uint8_t *statement, size_t size) {
    const size_t length = sodium_base64_ENCODED_LEN(size, sodium_base64_VARIANT_ORIGINAL);
    char *payload = malloc(length), *text = malloc(length + sizeof FORM);
    if (payload == NULL || text == NULL) abort();
    sodium_bin2base64(payload, length, statement, size, sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, length + sizeof FORM, FORM, payload);
    free(payload);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fer_message message;
    signed_file file = {.name = "model.fer", .signature_name = "model.fer.sig", .has_path = true,
                        .data = (const uint8_t *)"fer-edge\n", .size = 9, .signature = data, .signature_size = size};
    char *text = NULL;
    if (size > 0 && data[0] != '{') { /* a statement behind one byte */
        text = wrap(data + 1, size - 1);
        file.signature = (const uint8_t *)text;
        file.signature_size = strlen(text);
    }
    fer_check_signature(&file, KEY, &message);
    free(text);
    return 0;
}
